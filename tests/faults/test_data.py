"""Bad fields, empty shards, too little memory, a worker that dies: what can be used is used, the rest is said."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chain import ROOT, copy_project, finish
from PIL import Image
from training_example import run, write_crop_file

from subcell.catalog.fields import as_fields
from subcell.errors import SubcellError
from subcell.imaging.read import read_ledger
from subcell.segmentation.run import segment_fields
from subcell.segmentation.segmenter import Segmenter
from subcell.sources.images import link_images

COLORS = {"blue": "nucleus", "red": "microtubules", "yellow": "er", "green": "protein"}


def cells(size, seed=0, number=4):
    """Some bright spots of the size of nuclei at 0.32 um a pixel."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    spots = sum(np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 400) for cy, cx in rng.uniform(30, size - 30, (number, 2)))
    return np.clip(220 * spots + rng.normal(5, 3, (size, size)), 0, 255).astype(np.uint8)


def test_a_bad_image_among_a_thousand(tmp_path, table):
    """Most fields are empty, which takes no network."""
    for color in COLORS:
        Image.fromarray(cells(96, number=1)).save(tmp_path / f"good_{color}.png")
        Image.fromarray(np.full((96, 96), 7, np.uint8)).save(tmp_path / f"empty_{color}.png")
    bad = tmp_path / "bad_blue.png"
    bad.write_bytes((tmp_path / "good_blue.png").read_bytes()[:900])
    rows = [
        {"field_id": f"f{number:04d}", "pixel_size_um": 0.32}
        | {
            channel: str(tmp_path / f"{'empty' if number % 50 else 'good'}_{color}.png")
            for color, channel in COLORS.items()
        }
        for number in range(1000)
    ]
    rows[617]["nucleus"] = str(bad)
    fields = as_fields(pd.DataFrame(rows))
    link_images(fields, tmp_path / "images")
    quality = segment_fields(
        tmp_path / "images",
        fields,
        Segmenter(),
        tmp_path / "m.zarr",
        tmp_path / "cells.parquet",
        tmp_path / "qc.parquet",
    )
    aside = quality[quality["status"] == "set aside"]
    assert list(aside["field_id"]) == ["f0617"]
    assert len(quality) == 1000
    assert "nucleus" in aside["reason"].iloc[0] or "blue" in aside["reason"].iloc[0]
    table(
        "a bad image among 1,000 fields",
        f"set aside: {aside['reason'].iloc[0].split(': ', 1)[-1]}",
        "-",
        "999 fields used",
    )


@pytest.fixture
def sheet(tmp_path):
    """Three fields of one antibody, one of them without a cell."""
    rows = []
    for number, spots in enumerate((5, 5, 0)):
        for color in COLORS:
            image = cells(256, seed=number, number=spots) if spots else np.full((256, 256), 7, np.uint8) + (number % 2)
            noisy = (
                image if spots else image + np.random.default_rng(number).integers(0, 3, image.shape, dtype=np.uint8)
            )
            Image.fromarray(noisy).save(tmp_path / f"f{number}_{color}.png")
        rows.append({"field_id": f"f{number}", "pixel_size_um": 0.32, "antibody": "HPA000001", "gene": "G1"})
    path = tmp_path / "fields.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_a_field_without_a_cell_a_shard_without_a_field_and_one_antibody(tmp_path, sheet, table):
    project = copy_project(tmp_path / "subcell")
    (project / "tests/chain/config.yaml").write_text(
        f"""
datasets:
  own: {{source: images, sheet: {sheet}, file_pattern: "{{field_id}}_{{color}}.png", shards: 6, split: {{by: none}}}}
crops: {{pixels: 48}}
models:
  vit_prots_pool:
    kind: subcell
    recipe: vit-prots-pool
    train_on: [own]
    training: {{epochs: 1, items_per_batch: 4, cells_per_item: 2, warmup_epochs: 0, validate_every: 1}}
  random_vit: {{kind: random_vit}}
map: {{seeds: 2}}
scoring: {{head_seeds: 1, bootstraps: 100}}
"""
    )
    finish(project, "--cores", 2)
    results = project / "results/own"
    quality = pd.concat([pd.read_parquet(path) for path in sorted((results / "qc").glob("*.parquet"))])
    assert dict(zip(quality["field_id"], quality["status"], strict=True))["f2"] == "no cells"
    shards = [len(read_ledger(folder)) for folder in sorted((results / "images").iterdir())]
    assert len(shards) == 6
    assert 0 in shards
    not_run = pd.read_csv(project / "results/not_run.tsv", sep="\t")
    assert len(not_run)
    table(
        "a field without a cell, shards without a field, one antibody",
        f"quality: no cells; not run: {not_run.iloc[0, -1]}",
        "-",
        "the chain ends with its report",
    )


OUT_OF_MEMORY = """
import resource, sys
from pathlib import Path
import pandas as pd
import torch
from subcell.catalog.fields import as_fields
from subcell.segmentation.run import segment_fields
from subcell.segmentation.segmenter import Segmenter

torch.set_num_threads(1)
folder, limit_mb = Path(sys.argv[1]), int(sys.argv[2])
fields = as_fields(pd.DataFrame({"field_id": ["large", "small"], "pixel_size_um": [0.32, 0.32]}))
segmenter = Segmenter()
segment = lambda fields, name: segment_fields(
    folder / "images", fields, segmenter, folder / f"{name}.zarr", folder / f"{name}.c", folder / f"{name}.parquet"
)
segment(fields[1:], "warm")
now_mb = int(next(l for l in open("/proc/self/status") if l.startswith("VmSize")).split()[1]) // 1024
resource.setrlimit(resource.RLIMIT_AS, ((now_mb + limit_mb) * 2**20,) * 2)
print(segment(fields, "q")[["field_id", "status", "reason"]].to_csv(index=False))
"""


def test_a_field_that_memory_does_not_suffice_for_is_set_aside(tmp_path, table):
    """The process really has no more memory than it says."""
    rows = []
    for name, size in (("large", 4000), ("small", 256)):
        for color in COLORS:
            Image.fromarray(np.tile(cells(256), (-(-size // 256),) * 2)[:size, :size]).save(
                tmp_path / f"{name}_{color}.png"
            )
        rows.append(
            {"field_id": name, "pixel_size_um": 0.32}
            | {channel: str(tmp_path / f"{name}_{color}.png") for color, channel in COLORS.items()}
        )
    link_images(as_fields(pd.DataFrame(rows)), tmp_path / "images")
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, str(tmp_path), "350"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "workflow/scripts")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "large,set aside,memory does not suffice for a field of 4000 x 4000 pixels" in done.stdout
    assert "small,ok," in done.stdout
    table(
        "out of memory in segmentation",
        "set aside: memory does not suffice for a field of 4000 x 4000 pixels",
        "that field with smaller batches, before it is set aside",
        "the other fields used",
    )


def test_a_process_that_reads_crops_dies(tmp_path, table):
    """Training stops with one line, and goes on from its last epoch to the weights of an undisturbed run."""
    crop_file = write_crop_file(tmp_path / "0.h5sc")
    undisturbed, _ = run(tmp_path / "undisturbed", crop_file, epochs=4)
    folder = tmp_path / "killed"
    killed = []

    def kill_a_worker(line):
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            # It appears when the first batch is asked for; the second line comes after that.
            if int(fields[1]) == os.getpid() and "epoch 2" in line and not killed:
                killed.append(int(path.parent.name))
                os.kill(killed[0], 9)
                time.sleep(0.5)

    with pytest.raises(SubcellError, match="a process that reads crops ahead was killed"):
        run(folder, crop_file, epochs=4, workers=1, log=kill_a_worker)
    assert killed
    said = []
    weights, _ = run(folder, crop_file, epochs=4, workers=1, log=said.append)
    assert not said[0].startswith("step 0 ")
    for name, weight in undisturbed.items():
        np.testing.assert_allclose(weights[name], weight, rtol=1e-5, atol=1e-6, err_msg=name)
    table("a worker of the data loader dies", "a process that reads crops ahead was killed ...", "the epoch", "equal")
