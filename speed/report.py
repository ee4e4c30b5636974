"""Time to first view, frames a second and size of the report, for maps of 13,000 proteins and 200,000 cells.

    make speed-report                                 # or, after make test-report has installed the browser's driver:
    PYTHONPATH=workflow/scripts:tests/unit .venv/bin/python speed/report.py [--proteins 13000] [--cells 200000]

Prints `case  ours  peer  unit  ratio`, tab separated; a ratio above 1 means ours is better. The peer of the frames is a
bare canvas of the same size in the same browser that only clears itself: the most frames that this machine can show. The
peer of the time to first view is the same browser opening an empty page. Data are generated: their scores mean nothing.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from report_example import LOCATIONS, example_config, write_crops, write_quality_inputs, write_scores
from report_example import example_fields as fields_of

from subcell.embedding.store import create_vectors
from subcell.reporting.explorer.explorer import write_explorer
from subcell.reporting.figures.canvas import save_figure, text_figure
from subcell.reporting.page.report import write_report
from subcell.reporting.quality.quality import collect_quality

ROOT = Path(__file__).parents[1]
LEVELS = (8, 20, 45, 80, 130, 200, 300)
PICTURED_CELLS = 4_000
"""Cells that get an image: drawing all would say nothing more about the page."""

FRAMES = """async ([selector, seconds]) => {
  const canvas = document.querySelector(selector), box = canvas.getBoundingClientRect();
  const fire = (type, x, y) => canvas.dispatchEvent(new PointerEvent(type, {
    clientX: box.left + x, clientY: box.top + y, button: 0, pointerId: 1, bubbles: true }));
  canvas.setPointerCapture = () => {};
  const before = Number(canvas.dataset.frames), start = performance.now();
  fire("pointerdown", 200, 200);
  let turn = 0;
  while (performance.now() - start < seconds * 1000) {
    turn += 1;
    fire("pointermove", 200 + 60 * Math.sin(turn / 9), 200 + 60 * Math.cos(turn / 9));
    await new Promise(requestAnimationFrame);
  }
  const passed = (performance.now() - start) / 1000;
  fire("pointercancel", 200, 200);
  return (Number(canvas.dataset.frames) - before) / passed;
}"""

BARE = """async ([width, height, seconds]) => {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  document.body.append(canvas);
  const context = canvas.getContext("2d"), start = performance.now();
  let frames = 0;
  while (performance.now() - start < seconds * 1000) {
    context.fillRect(0, 0, width, height);
    frames += 1;
    await new Promise(requestAnimationFrame);
  }
  return frames / ((performance.now() - start) / 1000);
}"""


def generate(folder: Path, *, proteins: int, cells: int, seed: int = 0) -> dict[str, Path]:
    """A map, its cells, and crops of some of them."""
    rng = np.random.default_rng(seed)
    genes = np.array([f"GENE{number}" for number in range(proteins)])
    home = rng.integers(0, LEVELS[-1], proteins)
    centres = rng.normal(0, 8, (LEVELS[-1], 2))
    vectors = np.column_stack([centres[home], rng.normal(0, 1, (proteins, 6))]).astype(np.float32)
    obs = pd.DataFrame({"n_cells": rng.integers(4, 90, proteins)}, index=genes)
    obs["locations"] = np.array(LOCATIONS)[home % len(LOCATIONS)]
    obs["expression"] = rng.lognormal(2, 1, proteins)
    rows = []
    for level, many in enumerate(LEVELS, start=1):
        codes = home * many // LEVELS[-1]
        obs[f"level_{level}"] = pd.Categorical(codes.astype(str))
        for cluster in range(many):
            parent = "" if level == 1 else str(cluster * LEVELS[level - 2] // many)
            rows.append({"level": level, "cluster": cluster, "parent": parent, "size": int((codes == cluster).sum()),
                         "stability": rng.uniform(0.5, 1), "members": "", "name": "generated", "resolution": level})  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "clusters.tsv", sep="\t", index=False)
    units = anndata.AnnData(X=vectors, obs=obs, uns={"unit": "gene"})
    units.obsm["X_umap"] = vectors[:, :2] + rng.normal(0, 0.4, (proteins, 2))
    units.write_h5ad(folder / "map.h5ad")

    pictured = min(PICTURED_CELLS, cells)
    fields = fields_of([f"f{number}" for number in range(pictured // 4)], gene=list(genes[: pictured // 4]))
    write_crops(folder / "crops.h5sc", fields, per_field=4, pixels=32)
    of_cell = np.concatenate([np.repeat(np.arange(pictured // 4), 4), rng.integers(0, proteins, cells - pictured)])
    ids = [f"f{n // 4}:{n % 4 + 1}" if n < pictured else f"cell{n}" for n in range(cells)]
    table = pd.DataFrame({"gene": genes[of_cell], "field_id": [name.split(":")[0] for name in ids],
                          "cell_line": np.array(["U-2 OS", "A-431", "MCF-7"])[rng.integers(0, 3, cells)],
                          "touches_border": False}, index=ids)  # fmt: skip
    with create_vectors(folder / "cells.h5ad", table, features=[f"f{n}" for n in range(8)], uns={}) as file:
        file.write("X", 0, vectors[of_cell] + rng.normal(0, 0.6, (cells, 8)).astype(np.float32))
    return {"map_h5ad": folder / "map.h5ad", "clusters_tsv": folder / "clusters.tsv"}


def write_page(folder: Path, files: dict[str, Path]) -> tuple[Path, float, float]:
    """The report with one map; with the seconds that its explorer and the page took."""
    inputs = write_quality_inputs(folder / "quality", fields_of(["a", "b", "c"]))
    outs = {"out_set_aside_tsv": folder / "set_aside.tsv", "out_quality_tsv": folder / "quality.tsv"}
    collect_quality(**inputs, **outs, dataset="generated")
    save_figure(text_figure("a picture"), folder / "picture.png")
    common = {"dataset": "generated", "model": "none"}
    start = time.perf_counter()
    write_explorer(folder / "explorer.json", **files, cells_h5ad=folder / "cells.h5ad", crops=[folder / "crops.h5sc"],
                   **common, simulated=True)  # fmt: skip
    explored = time.perf_counter()
    write_report(
        folder / "report.html",
        config=example_config({"generated": "simulate"}, {}),
        datasets=[{"name": "generated", "quality_tsv": folder / "quality.tsv", "set_aside_tsv": folder / "set_aside.tsv",
                   "gallery_png": folder / "picture.png", "crops_png": folder / "picture.png"}],
        benchmarks=[], **write_scores(folder, [], []), templates=ROOT / "workflow" / "report" / "page",
        maps=[{**common, **files, "explorer_json": folder / "explorer.json"}],
    )  # fmt: skip
    return folder / "report.html", explored - start, time.perf_counter() - explored


def first_view(page: Any, address: str, ready: str) -> float:
    """Seconds until an element is there and a frame was drawn; the median of three openings."""
    times = []
    for _ in range(3):
        page.goto("about:blank")
        start = time.perf_counter()
        page.goto(address, wait_until="commit")
        page.wait_for_selector(ready, state="attached", timeout=120_000)
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proteins", type=int, default=13_000)
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=4)
    wanted = parser.parse_args()
    sys.path.append(str(ROOT / ".cache" / "browser"))
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, explorer_s, page_s = write_page(folder, generate(folder, proteins=wanted.proteins, cells=wanted.cells))
        (folder / "empty.html").write_text("<!doctype html><p id=there>empty</p>")
        print("case", "ours", "peer", "unit", "ratio", sep="\t")
        print("data of the explorer written", f"{explorer_s:.1f}", "", "s", "", sep="\t")
        print("page written", f"{page_s:.1f}", "", "s", "", sep="\t")
        print("page", f"{path.stat().st_size / 1e6:.1f}", "15", "MB", f"{15e6 / path.stat().st_size:.2f}", sep="\t")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            ours = first_view(page, path.as_uri(), "html.ready")
            peer = first_view(page, (folder / "empty.html").as_uri(), "#there")
            print("first view", f"{ours:.2f}", f"{peer:.2f}", "s", f"{peer / ours:.2f}", sep="\t")
            page.goto(f"{path.as_uri()}#map")
            page.wait_for_selector("html.ready", state="attached")
            canvas = "[data-part=canvas]"
            size = page.evaluate(
                f"(() => {{ const c = document.querySelector('{canvas}'); return [c.width, c.height]; }})()"
            )
            bare = page.evaluate(BARE, [*size, wanted.seconds])
            for case, cells in ((f"{wanted.proteins} proteins", False), (f"{wanted.cells} cells", True)):
                page.get_by_label("Single cells").set_checked(cells)
                page.wait_for_timeout(500)
                frames = page.evaluate(FRAMES, [canvas, wanted.seconds])
                case = f"moving {case}, {size[0]} x {size[1]} px"
                print(case, f"{frames:.1f}", f"{bare:.1f}", "frames/s", f"{frames / bare:.2f}", sep="	")
            start = time.perf_counter()
            page.get_by_label("Search").fill("GENE12")
            page.keyboard.press("Enter")
            page.wait_for_selector("#pane-unit h3")
            print("search opens a page", f"{time.perf_counter() - start:.2f}", "", "s", "", sep="\t")
            browser.close()


if __name__ == "__main__":
    main()
