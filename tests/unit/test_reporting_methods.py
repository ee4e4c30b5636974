"""What the methods and the table of models say is what was done, and nothing else."""

import pytest

from subcell.config.check import resolve
from subcell.reporting.page.methods import describe_methods, listed
from subcell.reporting.page.model_section import describe_model
from subcell.reporting.provenance.software import cited

TOTAL = {"fields_in_sheet": 40, "fields_segmented": 39, "fields_set_aside": 1, "fields_without_cells": 0, "cells": 359}
ALL = ["microtubules", "er", "nucleus", "protein"]


def methods(settings, *, total=None, channels=ALL, brings="fields", simulated=False, source=None, **sections):
    """The three paragraphs of one dataset `d` with these settings, all defaults filled in."""
    config = resolve({"datasets": {"d": settings}, **sections}, source="the test")
    dataset = {
        "name": "d", "settings": config["datasets"]["d"], "total": {**TOTAL, **(total or {})}, "channels": channels,
        "brings": brings, "simulated": simulated, "source": source or {},
    }  # fmt: skip
    references = cited(config, from_hpa=False, segmented=brings == "fields")
    return describe_methods(config, [dataset], mapped=True, cited=references)


def test_words_are_listed():
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_a_simulated_dataset_has_the_genes_and_stains_that_it_has():
    said = methods(
        {"source": "simulate", "genes": 72, "imaged_genes": 36, "missing_channels": ["er"], "microscope": "widefield"},
        total={"genes": 36, "cell_lines": 2}, channels=["microtubules", "nucleus", "protein"], simulated=True,
    )  # fmt: skip
    assert (
        "36 genes in 2 cell lines; stains: microtubules, DNA and the protein, widefield microscope" in said["datasets"]
    )
    assert "72" not in said["datasets"]
    assert "(d has no ER)" in said["cells"]


def test_a_drug_screen_has_compounds():
    said = methods(
        {"source": "simulate", "layout": "perturbation", "cell_lines": 1, "doses": 1}, total={"cell_lines": 1}, simulated=True
    )["datasets"]  # fmt: skip
    assert "10 compounds at 1 dose, 4 untreated wells and 1 well of a known compound on each of 3 plates" in said
    assert "in 1 cell line, with one protein stained" in said
    assert "gene" not in said.split(";")[0]


def test_corrections_of_the_camera_are_said():
    camera = {"offset": {"nucleus": 100}, "flat_field": True, "shift_px": {"er": [1, -2]}}
    said = methods({"source": "images", "sheet": "x.csv", "camera": camera})["datasets"]
    assert (
        "camera's offset was subtracted (counts: DNA 100), illumination was evened plate by plate, by BaSiC [5]" in said
    )
    assert "moved back (pixels down and right: ER by 1 and -2)" in said
    assert "0.1 percentile" in methods({"source": "images", "sheet": "x.csv"})["datasets"]
    assert "Before segmentation" not in methods({"source": "hpa"})["datasets"]


def test_a_stain_in_the_place_of_another_is_named():
    said = methods({"source": "images", "sheet": "x.csv", "channel_map": {"microtubules": "actin"}})["datasets"]
    assert "with microtubules (actin in its place), ER, DNA and the protein" in said


def test_segmentation_is_said_as_it_was_done():
    images = {"source": "images", "sheet": "x.csv"}
    said = methods(images, segmentation={"cell_body": "watershed"})["cells"]
    assert "by watershed on microtubules and ER" in said
    assert "cells in ER, microtubules and DNA" not in said
    bare = methods(images, channels=["nucleus", "protein"])["cells"]
    assert "d has no microtubules and ER: a cell is its nucleus and a rim" in bare
    assert "Cellpose-SAM" in methods(images, segmentation={"model": "cpsam_v2"})["cells"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("compact", "with a compact U-Net that predicts"),
        ("mine.safetensors", "with a compact U-Net (weights from mine.safetensors) that predicts"),
        ("cpsam_v2", "with Cellpose-SAM."),
        ("tuned/cellpose_model", "with Cellpose-SAM (tuned/cellpose_model)."),
    ],
)
def test_the_segmentation_model_is_named(model, words):
    text = " ".join(methods({"source": "images", "sheet": "x.csv"}, segmentation={"model": model}).values())
    assert f"Nuclei and cells were segmented {words}" in text.replace(" [1]", "").replace(" [2]", "")


def test_published_crops_were_not_segmented_here():
    said = methods({"source": "subcell_crops"}, brings="crops", channels=None)
    assert "came as crops of single cells with their masks: 359 cells of 39 of 40 fields" in said["datasets"]
    assert "segmented" not in " ".join(said.values())
    assert "Published crops were cut to a square of 51.2 µm" in said["cells"]


def test_vectors_have_no_images():
    said = methods(
        {"source": "embeddings", "file": "x.h5ad", "model": "m"}, brings="vectors", total={"genes": 1}, channels=None
    )
    assert "vectors of d came from elsewhere, made by m: 359 cells and 1 gene" in said["datasets"]
    assert said["cells"] == ""


@pytest.mark.parametrize(
    ("settings", "there", "missing"),
    [
        ({"levels": [0.1, 3]}, "15 nearest neighbours was clustered with Leiden [2] at the resolutions 0.1, 3.0.", "paper"),
        ({"method": "paper"}, "clustered again by itself with Leiden", "15 nearest neighbours"),
        ({"method": "ladder"}, "40 resolutions from 0.05 to 5;", "0.1, 0.5, 1.0, 2.0"),
        ({"batches": ["plate"], "batches_within_line": True}, "removed from the vectors with Harmony [5], in each", "no"),
        ({"filters": {"cell_lines": ["U2OS"], "single_gene": True}}, "took cells of U2OS and antibodies that bind", "graded"),
        ({"average": "mean_and_spread", "min_cells": 3}, "their mean and spread (units with fewer than 3 cells", "Harmony"),
        ({"bootstraps": 0}, "from 20 runs with other seeds; the map", "resampled"),
    ],
)  # fmt: skip
def test_the_map_is_said_as_it_was_made(settings, there, missing):
    said = methods({"source": "simulate"}, simulated=True, map=settings)["map"]
    assert there in said
    assert missing not in said


@pytest.mark.parametrize(
    ("settings", "words", "elsewhere", "licences"),
    [
        ({"kind": "subcell", "released": "auto", "recipe": "vit-prots-pool", "size": "tiny"},
         "Released SubCell network (ViT-B/16), ViT-ProtS-Pool, channels: auto", "on the Human Protein Atlas v23", ["MIT"]),
        ({"kind": "subcell", "checkpoint": "a.pth", "recipe": "mae", "size": "tiny"},
         "SubCell vision transformer, as in its checkpoint", "elsewhere (a.pth)", []),
        ({"kind": "subcell", "train_on": ["d"], "recipe": "mae", "size": "tiny"},
         "SubCell vision transformer (tiny), recipe mae", "", []),
        ({"kind": "dino4cells", "checkpoint": "d.pth"}, "DINO4Cells: vision transformer trained without labels",
         "on images of the Human Protein Atlas (d.pth)", ["see source (not confirmed)"] * 2),
        ({"kind": "bestfitting", "checkpoint": "b.pth"}, "Supervised network of the team bestfitting, of HPA's Kaggle challenge",
         "on images of the Human Protein Atlas (b.pth)", ["see source (not confirmed)"]),
        ({"kind": "timm", "architecture": "resnet50", "pretrained": True}, "resnet50 of timm", "elsewhere (timm's weights)",
         ["as its page states"]),
        ({"kind": "timm", "architecture": "resnet50"}, "resnet50 of timm, untrained", "", []),
        ({"kind": "imported"}, "A model of which the vectors alone are known", "elsewhere", []),
        ({"kind": "random_vit", "size": "tiny"}, "SubCell's network (tiny), untrained", "", []),
    ],
)  # fmt: skip
def test_a_model_is_called_what_it_is(settings, words, elsewhere, licences):
    model = describe_model("m", settings)
    assert (model["words"], model["elsewhere"]) == (words, elsewhere)
    assert [weights["licence"] for weights in model["weights"]] == licences
    assert all(weights["source"].startswith("https://") for weights in model["weights"])
