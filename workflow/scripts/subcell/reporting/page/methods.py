"""What was done with images and maps, in sentences for a paper: from the settings of a run and what its datasets hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from subcell.channels import CHANNELS
from subcell.reporting.scores.results import counted, grouped
from subcell.segmentation.kinds import is_compact

STAINS = {"microtubules": "microtubules", "er": "ER", "nucleus": "DNA", "protein": "the protein"}
SIMULATED = "scores on it test the workflow and say nothing of biology"

Cite = Callable[[str], str]


def describe_methods(
    config: Mapping[str, Any], datasets: Sequence[Mapping[str, Any]], *, mapped: bool, cited: Mapping[str, Any]
) -> dict[str, str]:
    """Paragraphs of the methods, "" where there is nothing to say.

    Parameters
    ----------
    config : the whole configuration
    datasets : see `subcell.reporting.page.dataset_section.describe_dataset`
    mapped : whether there is any map
    cited : see `subcell.reporting.provenance.software.cited`

    Returns
    -------
    datasets, cells and map; plain text, to be escaped
    """

    def cite(key: str) -> str:
        return f" [{cited[key]['number']}]" if key in cited else ""

    sentences = [sentence for dataset in datasets for sentence in _of_dataset(dataset, cite)]
    return {
        "datasets": " ".join(sentences),
        "cells": " ".join([*_segmentation(config, datasets, cite), *_crops(config, datasets)]),
        "map": " ".join(_map(config["map"], cite)) if mapped else "",
    }


def listed(words: Sequence[str]) -> str:
    """Words as a person lists them: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _of_dataset(dataset: Mapping[str, Any], cite: Cite) -> list[str]:
    name, settings, total, source = (dataset[key] for key in ("name", "settings", "total", "source"))
    if dataset["brings"] == "vectors":
        return [f"The vectors of {name} came from elsewhere, made by {settings.get('model', 'an unnamed model')}: "
                f"{listed(_counts(total, 'cell', 'gene', 'cell_line'))}.", *_split(settings)]  # fmt: skip
    if dataset["simulated"]:
        first = f"The images of {name} were simulated (seed {settings.get('seed', 'not given')}): {_world(dataset)}; {SIMULATED}."
    elif origin := source.get("source", source.get("attribution")):
        release = f", release {source['release']}" if "release" in source else ""
        first = f"The images of {name} were taken from {origin}{release}{cite('hpa')}{_stained(dataset, ', with {}')}."
    else:
        first = f"The images of {name} were read from a sheet{_stained(dataset, ', with {}')}."
    fields, used, cells, aside, empty = (
        grouped(total.get(key))
        for key in ("fields_in_sheet", "fields_segmented", "cells", "fields_set_aside", "fields_without_cells")
    )
    if dataset["brings"] == "crops":
        second = (
            f"It came as crops of single cells with their masks: {cells} cells of {used} of {fields} fields; "
            f"{aside} fields were set aside."
        )
    else:
        second = f"Of {fields} fields, {used} were segmented into {cells} cells; {aside} were set aside and {empty} held no cell."
    return [first, second, *_camera(settings.get("camera") or {}, cite), *_split(settings)]


def _world(dataset: Mapping[str, Any]) -> str:
    """What a simulated dataset shows."""
    settings, total = dataset["settings"], dataset["total"]
    if settings.get("layout") == "perturbation":
        shown = (
            f"a screen of {counted(settings['compounds'], 'compound')} at {counted(settings['doses'], 'dose')}, "
            f"{counted(settings['negative_controls'], 'untreated well')} and "
            f"{counted(settings['positive_controls'], 'well')} of a known compound on each of "
            f"{counted(settings['plates'], 'plate')}, in {listed(_counts(total, 'cell_line'))}, with one protein stained in all"
        )
    else:
        shown = " in ".join(_counts(total, "gene", "cell_line")) or "cells"
    scope = f", {settings['microscope']} microscope" if "microscope" in settings else ""
    size = ""
    if {"field_px", "pixel_size_um"} <= set(settings):
        size = f", fields of {settings['field_px']} × {settings['field_px']} pixels at {settings['pixel_size_um']} µm a pixel"
    return f"{shown}{_stained(dataset, '; stains: {}')}{scope}{size}"


def _counts(total: Mapping[str, float], *kinds: str) -> list[str]:
    """How many of each kind a dataset has, where that is known: "72 genes", "1 cell line"."""
    return [counted(int(total[f"{kind}s"]), kind.replace("_", " ")) for kind in kinds if f"{kind}s" in total]


def _stained(dataset: Mapping[str, Any], form: str) -> str:
    """The stains that a dataset has, and what stands in for one; "" where nothing says them."""
    channels = dataset["channels"]
    if not channels:
        return ""
    replaced = dataset["settings"].get("channel_map") or {}
    return form.format(
        listed(
            [
                STAINS[channel] + (f" ({replaced[channel]} in its place)" if channel in replaced else "")
                for channel in CHANNELS
                if channel in channels
            ]
        )
    )


def _camera(camera: Mapping[str, Any], cite: Cite) -> list[str]:
    """What was corrected of images before anything else."""
    done = []
    offset, shifts = camera.get("offset", "none"), camera.get("shift_px") or {}
    if offset == "auto":
        done.append("the 0.1 percentile of each field and channel was subtracted, unless it was stretched for display")
    elif offset != "none":
        counts = [f"{STAINS[channel]} {value:g}" for channel, value in offset.items()]
        done.append(f"the camera's offset was subtracted (counts: {', '.join(counts)})")
    if camera.get("flat_field"):
        done.append(f"illumination was evened plate by plate, by BaSiC{cite('basic')} where it had fields enough")
    if shifts:
        moved = [f"{STAINS[channel]} by {down:g} and {right:g}" for channel, (down, right) in shifts.items()]
        done.append(f"channels were moved back (pixels down and right: {', '.join(moved)})")
    return [f"Before segmentation, {listed(done)}."] if done else []


def _split(settings: Mapping[str, Any]) -> list[str]:
    split = settings.get("split") or {}
    match split.get("by"):
        case None:
            return []
        case "none":
            return ["No part was held out."]
        case "paper":
            return ["Training, validation and test part follow the published antibody lists."]
        case by:
            return [f"Training ({split['train']:.0%}), validation ({split['valid']:.0%}) and test part were split by {by}, "
                    f"so that no {by} is on two sides, unless the source gave a split."]  # fmt: skip


def _segmentation(config: Mapping[str, Any], datasets: Sequence[Mapping[str, Any]], cite: Cite) -> list[str]:
    """How nuclei and cells were found, of the datasets that are segmented here."""
    here = [dataset for dataset in datasets if dataset["brings"] == "fields"]
    if not here:
        return []
    found = config.get("segmentation") or {}
    model = found.get("model", "compact")
    if is_compact(model):
        weights = "" if model == "compact" else f" (weights from {model})"
        by = (f"Nuclei and cells were segmented with a compact U-Net{weights} that predicts the flow fields of "
              f"Cellpose{cite('cellpose')}; masks were made from them by Cellpose's own dynamics.")  # fmt: skip
    else:
        weights = "" if model == "cpsam_v2" else f" ({model})"
        by = f"Nuclei and cells were segmented with Cellpose-SAM{cite('cellpose-sam')}{weights}."
    if found.get("cell_body") == "watershed":
        bodies = "bodies of cells were grown from them by watershed on microtubules and ER"
    else:
        bodies = "cells in ER, microtubules and DNA"
    lacking = [(dataset["name"], _lacks(dataset)) for dataset in here]
    notes = [
        f"{name} has no {listed(stains)}" + (": a cell is its nucleus and a rim" if len(stains) == 2 else "")
        for name, stains in lacking
        if stains
    ]
    noted = f" ({'; '.join(notes)})" if notes else ""
    sentences = [by, f"Nuclei were found in the DNA channel, {bodies}{noted}; a cell and its nucleus share one number."]
    if "working_um_per_px" in found:
        sentences.append(
            f"Images were brought to {found['working_um_per_px']} µm a pixel for segmentation (flow threshold "
            f"{found['flow_threshold']}, probability threshold {found['cellprob_threshold']}); nuclei below "
            f"{found['min_nucleus_um2']} µm² and cells below {found['min_cell_um2']} µm² were dropped."
        )
    return sentences


def _lacks(dataset: Mapping[str, Any]) -> list[str]:
    """Stains of cell bodies that a dataset does not have, where its files say which it has."""
    channels = dataset["channels"]
    return [STAINS[channel] for channel in ("microtubules", "er") if channels and channel not in channels]


def _crops(config: Mapping[str, Any], datasets: Sequence[Mapping[str, Any]]) -> list[str]:
    """How cells were cut out, or published crops brought to scale."""
    crops, sources = config.get("crops") or {}, {dataset["brings"] for dataset in datasets}
    sentences = []
    if "fields" in sources:
        sentences.append(
            f"Each cell was cut out as a square of {crops['field_um']} µm, resampled to {crops['pixels']} pixels a side "
            f"({crops['field_um'] / crops['pixels']:.3g} µm a pixel), with the masks of its nucleus and of the cell."
        )
    if "crops" in sources:
        sentences.append(
            f"Published crops were cut to a square of {crops['field_um']} µm and resampled to {crops['pixels']} pixels a side; "
            "the mask of a nucleus is its DNA above Otsu's threshold."
        )
    if sentences and "border_cells" in crops:
        lost = sum(dataset["total"].get("cells_left_out_at_border", 0) for dataset in datasets)
        kept = "kept and marked" if crops["border_cells"] == "keep" else f"left out ({grouped(lost)})"
        sentences.append(f"Cells cut by the edge of a field were {kept}.")
    return sentences


def _map(settings: Mapping[str, Any], cite: Cite) -> list[str]:
    """From cells to units to levels of clusters."""
    sentences = []
    if chosen := _filters(settings.get("filters") or {}):
        sentences.append(f"The map took {listed(chosen)}.")
    if batches := settings.get("batches"):
        within = ", in each cell line by itself" if settings.get("batches_within_line") else ""
        sentences.append(
            f"Differences by {listed(batches)} were removed from the vectors with Harmony{cite('harmony')}{within}."
        )
    unit = settings["unit"] + (" and cell line" if settings.get("split_lines") else "")
    how = settings["average"].replace("_", " ")
    few = settings.get("min_cells", 1)
    left_out = f" (units with fewer than {few} cells left out)" if few > 1 else ""
    sentences.append(f"The vectors of all cells of one {unit} were summarised by their {how}{left_out}.")
    graph = f"A graph of {settings.get('neighbors')} nearest neighbours was clustered with Leiden{cite('leiden')}"
    match settings.get("method", "resolutions"):
        case "paper":
            steps = ", ".join(f"{resolution:g} and {neighbors}" for resolution, neighbors in settings["paper_levels"])
            sentences.append(f"Levels were nested as in the paper{cite('subcell')}: each cluster was clustered again by itself "
                             f"with Leiden{cite('leiden')} (resolution and neighbours of each level: {steps}).")  # fmt: skip
        case "ladder":
            ladder = settings["ladder"]
            sentences.append(f"{graph} at {ladder['rungs']} resolutions from {ladder['lowest']:g} to {ladder['highest']:g}; "
                             f"where partitions stayed the same a level was taken, {ladder['most_levels']} at most.")  # fmt: skip
        case _:
            sentences.append(f"{graph} at the resolutions {', '.join(map(str, settings['levels']))}.")
    resampled = settings.get("bootstraps") or 0
    more = (f" and, where they could be made, {resampled} on resampled {settings.get('resample', 'field')}s and as many "
            "on held-out antibodies alone, the least of which is given") if resampled else ""  # fmt: skip
    sentences.append(f"The stability of each cluster comes from {settings['seeds']} runs with other seeds{more}; "
                     f"the map was drawn with UMAP{cite('umap')}.")  # fmt: skip
    return sentences


def _filters(filters: Mapping[str, Any]) -> list[str]:
    """Which cells a map took, one entry a filter that is not at its default."""
    said = {
        "cell_lines": f"cells of {listed(filters.get('cell_lines') or [])}",
        "require_location": "antibodies with a location",
        "single_gene": "antibodies that bind the products of one gene",
        "drop_reliability": f"no evidence graded {' or '.join(filters.get('drop_reliability') or [])}",
        "best_antibody": "the best antibody of each gene",
    }
    return [words for key, words in said.items() if filters.get(key)]
