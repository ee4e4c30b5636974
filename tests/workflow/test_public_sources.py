"""Public collections through the workflow: from a server that speaks their addresses to crops, and never twice."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import run
from faulty_server import Site, serve, sometimes
from hpa_release import LOCATION_TABLE, colored_jpeg, small_release, zipped

from subcell.crops.store import CropStore
from subcell.imaging.ledger import read_ledger

FIELDS = {"1": ["10_A1_1", "10_A1_2", "11_A1_1"], "3": ["30_C1_1"]}


def stain(seed, shape=(512, 512)):
    """A few bright spots of the size of nuclei at 0.32 um a pixel."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    spots = sum(
        np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 300) for cy, cx in np.random.default_rng(1).uniform(90, 420, (5, 2))
    )
    return np.clip(200 * spots + rng.normal(12, 4, shape), 0, 255).astype(np.uint8)


@pytest.fixture
def atlas():
    files = {"/locations.zip": zipped(LOCATION_TABLE), "/atlas.xml": small_release()}
    for number, names in FIELDS.items():
        for name in names:
            for seed, color in enumerate(("blue", "red", "green", "yellow")):
                files[f"/images/{number}/{name}_{color}.jpg"] = colored_jpeg(stain(seed), color)
    with serve(Site(files, sometimes(0.2, faults=("500", "503", "truncated", "html")))) as site:
        yield site


def config(tmp_path, site, **more):
    dataset = {
        "source": "hpa",
        "release": "v18",
        "xml": f"{site.address}/atlas.xml",
        "location_table": f"{site.address}/locations.zip",
        "image_address": f"{site.address}/images",
        "pixel_size_um": 0.32,
        "antibodies": ["HPA000001", "HPA000003", "CAB000002"],
        "shards": 1,
    }
    text = {
        "pathvars": {"results": str(tmp_path / "results"), "logs": str(tmp_path / "logs")},
        "datasets": {"atlas": dataset | more},
        "download": {"cache": str(tmp_path / "cache"), "pause_s": 0.05},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(text))
    return path


@pytest.mark.slow
def test_fields_of_the_atlas_arrive_become_crops_and_are_not_fetched_again(project, tmp_path, atlas):
    path = config(tmp_path, atlas)
    results = tmp_path / "results" / "atlas"
    code, text = run("--cores", 1, "plan_download", "--configfile", path, cwd=project)
    assert code == 0, text
    assert "Traceback" not in text
    line = next(line for line in text.splitlines() if line.startswith("atlas "))
    assert line.split()[2:5] == ["5", "20", "0"]
    assert not any(name.startswith("/images") for name in atlas.paths())

    target = results / "crops" / "0000.h5sc"
    code, text = run("--cores", 2, target, "--configfile", path, cwd=project)
    assert code == 0, text
    ledger = read_ledger(results / "images" / "0000")
    # The server has no images of one antibody.
    assert set(ledger["field_id"][ledger["status"] == "set aside"]) == {"1843_E1_11_cr5af96f44b4a7b"}
    assert set(ledger["field_id"][ledger["status"] == "ok"]) == {name for names in FIELDS.values() for name in names}
    crops = CropStore(target)
    assert len(crops.obs) >= 4
    assert set(crops.obs["cell_line"]) <= {"U-2 OS", "A-431"}
    terms = json.loads((results / "source.json").read_text())
    assert terms["licence_url"] == "https://v18.proteinatlas.org/about/licence"

    seen = len(atlas.requests)
    path = config(tmp_path, atlas, shards=2, cell_lines=["U2OS"], antibodies=["HPA000001"])
    code, text = run(
        "--cores", 2, results / "images" / "0001", results / "images" / "0000", "--configfile", path, cwd=project
    )
    assert code == 0, text
    ledgers = pd.concat([read_ledger(results / "images" / shard) for shard in ("0000", "0001")])
    assert set(ledgers["field_id"]) == {"10_A1_1", "10_A1_2"}
    assert atlas.requests[seen:] == []


def test_a_server_that_is_down_is_said_in_one_line(project, tmp_path):
    with serve(Site({})) as site:
        pass
    path = config(tmp_path, site)
    text = yaml.safe_load(path.read_text())
    text["download"] |= {"tries": 2}
    path.write_text(yaml.safe_dump(text))
    code, text = run("--cores", 1, "plan_download", "--configfile", path, cwd=project)
    assert code != 0
    assert "read_release_atlas: 127.0.0.1" in text
    assert "brings nothing" in text
    assert "run again later" in text
    assert "Traceback" not in text
