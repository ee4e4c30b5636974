"""Simulated images: cells, what the protein channel shows and does not, and each effect's switch."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from subcell.channels import CHANNELS
from subcell.sources.simulate import (
    LOCATIONS,
    VERSION,
    Effects,
    render_field,
)
from subcell.sources.simulate.cell import grow_cells, visible
from subcell.sources.simulate.compounds import MECHANISMS, Treatment
from subcell.sources.simulate.filaments import deposit, sprinkle
from subcell.sources.simulate.lines import Line, draw_line
from subcell.sources.simulate.protein import draw_protein
from subcell.sources.simulate.streams import smooth_noise, stream
from subcell.sources.simulate.treatment import change_line, change_protein
from subcell.sources.simulate.version import FROZEN, simulator_hash

LANDMARKS = CHANNELS[:3]


@pytest.fixture(scope="module")
def pictures():
    """One field a location, of the same cells, stained with the same antibody."""
    about = {"antibody": "SIM010007", "cell_line": "HeLa", "plate": "demo01", "seed": 1}
    return {
        location: render_field("demo01_A1_1", locations=(location,), cells_per_field=(7, 7), field_px=320, **about)[:3]
        for location in LOCATIONS
    }


# cells


@pytest.mark.parametrize(("line", "pixel_um", "side"), [("HeLa", 0.32, 300), ("A-431", 0.5, 200), ("PC-3", 0.2, 257)])
def test_truth_masks_hold(line, pixel_um, side):
    cells = grow_cells(stream(2, line), draw_line(line, seed=2), cells=6, field_px=side, pixel_um=pixel_um)
    nuclei, whole = visible(cells)[:2]
    ids = np.unique(whole)
    assert ids.tolist() == list(range(len(ids)))
    assert ids.tolist() == np.unique(nuclei).tolist()
    assert (whole[nuclei > 0] == nuclei[nuclei > 0]).all()
    assert all(ndimage.label(whole == number)[1] == 1 for number in ids[1:])
    areas = np.bincount(nuclei.ravel())[1:] * pixel_um**2
    assert areas.min() >= 20
    assert areas.max() < 900  # two nuclei of one cell
    assert (cells.edge_um[cells.labels == 0] == 0).all()
    assert (cells.depth_um[cells.nuclei > 0] > 0).all()
    assert not cells.nucleoli[cells.nuclei == 0].any()


def test_the_number_of_nuclei_is_kept():
    line = replace(draw_line("HeLa", seed=1), nucleus_um=4.0, radius_um=8.0)
    for wanted in (0, 1, 7):
        cells = grow_cells(stream(wanted, "count"), line, cells=wanted, field_px=300, pixel_um=0.3)
        centre = cells.centre_um[1:]
        assert ((centre >= 0) & (centre <= 90)).all(axis=1).sum() == wanted


def test_lines_look_different_and_stay_themselves():
    lines = [draw_line(name, seed=1) for name in ("U-2 OS", "A-431", "HeLa")]
    assert len(set(lines)) == 3
    assert all(isinstance(line, Line) for line in lines)
    assert draw_line("HeLa", seed=1) == lines[2]
    assert draw_line("HeLa", seed=2) != lines[2]


def test_an_empty_field_is_dark_and_has_no_cells():
    image, nuclei, cells, _, centrosomes = render_field(
        "empty_A1_1", antibody="a", locations=("Golgi apparatus",), cell_line="HeLa", plate="p", seed=1,
        cells_per_field=(0, 0), field_px=96, microscope="confocal",
    )  # fmt: skip
    assert image.max() < 20
    assert not nuclei.any()
    assert not cells.any()
    assert not centrosomes.any()


# what the protein channel shows


def test_the_protein_is_no_copy_of_a_landmark(pictures):
    for location, (image, _, cells) in pictures.items():
        inside = image[:, cells > 0].astype(float)
        for number, landmark in enumerate(LANDMARKS):
            correlation = np.corrcoef(inside[number], inside[3])[0, 1]
            assert correlation < 0.9, f"{location} against {landmark}"


def test_location_changes_nothing_but_the_protein_channel(pictures):
    first = pictures["Cytosol"]
    for image, nuclei, cells in pictures.values():
        # Read noise is drawn channel by channel after the stains, so the landmarks come out the same to the last bit.
        assert np.array_equal(image[:3], first[0][:3])
        assert np.array_equal(nuclei, first[1])
        assert np.array_equal(cells, first[2])


def test_brightness_says_little_of_the_location(pictures):
    means = {location: image[3][cells > 0].mean() for location, (image, _, cells) in pictures.items()}
    assert max(means.values()) < 1.6 * min(means.values()), means


def test_locations_lie_where_they_should(pictures):
    def enrichment(location):
        image, nuclei, cells = pictures[location]
        protein = image[3].astype(float)
        return protein[nuclei > 0].mean() / protein[(cells > 0) & (nuclei == 0)].mean()

    for location in ("Nucleoplasm", "Nucleoli", "Nuclear speckles"):
        assert enrichment(location) > 2, location
    for location in ("Cytosol", "Mitochondria", "Golgi apparatus", "Endoplasmic reticulum", "Microtubules"):
        assert enrichment(location) < 0.95, location

    image, _, cells = pictures["Plasma membrane"]
    edge = np.zeros(cells.shape, bool)
    for number in range(1, cells.max() + 1):
        edge |= (cells == number) & ~ndimage.binary_erosion(cells == number, iterations=3, border_value=1)
    assert image[3][edge].mean() > 1.5 * image[3][(cells > 0) & ~edge].mean()


def test_the_simulator_is_frozen():
    # Scores on simulated fields compare only within a version, and its difficulty is never tuned.
    changed = f"the simulator has changed: raise VERSION in version.py, and note there that it is {simulator_hash()}"
    assert FROZEN.get(VERSION) == simulator_hash(), changed


def test_odd_cells_occur_and_can_be_switched_off():
    line = replace(draw_line("HeLa", seed=1), floating=0.1)
    about = {"cells": 60, "field_px": 500, "pixel_um": 0.4}
    odd, even = (grow_cells(stream(3, "odd"), line, **about, odd=odd) for odd in (True, False))
    assert odd.mitotic.any()
    assert odd.floating.any()
    assert (odd.blurred >= odd.floating).all()
    assert not (even.mitotic | even.floating | even.blurred).any()
    sparse = {**about, "cells": 20}
    fields = [grow_cells(stream(number, "odd"), replace(line, floating=0), **sparse) for number in (8, 9)]
    pieces = [ndimage.label(f.nuclei == number)[1] for f in fields for number in range(1, f.count + 1)]
    assert max(pieces) == 2


def test_plates_differ_unless_switched_off_and_the_edge_of_a_plate_is_brighter():
    about = {"antibody": "a", "locations": ("Cytosol",), "cell_line": "HeLa", "seed": 1, "field_px": 160}

    def mean(plate, well="D6", **effects):
        return render_field("f", plate=plate, well=well, effects=Effects(**effects), **about).image[2].mean()

    assert mean("p") != mean("q")
    assert mean("p", plates=False) == mean("q", plates=False)
    assert mean("p", "A1", positions=False) == mean("p", positions=False) == mean("p")
    assert mean("p", "A1") != mean("p")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_mechanism_changes_cells_by_its_strength(mechanism):
    line = draw_line("HeLa", seed=1)
    stain = draw_protein("stain", ("Mitochondria",), seed=1)

    def changed(strength):
        treatment = Treatment(mechanism, strength=strength)
        return change_line(line, treatment, edge=0.0), change_protein(stain, treatment)

    assert changed(0.0)[0] == replace(line, spikes=changed(0.0)[0].spikes)
    assert changed(0.5) != changed(1.0) != (line, stain)


def test_a_toxic_compound_leaves_fewer_cells():
    line = draw_line("HeLa", seed=1)
    poisoned = change_line(line, Treatment(None, toxic=True, strength=1.0), edge=0.0)
    assert poisoned.density == pytest.approx(line.density / 2)
    assert poisoned.floating > line.floating


def test_nucleoli_and_centrosomes_lie_in_their_cells():
    field = render_field(
        "f_A1_1", antibody="a", locations=("Cytosol",), cell_line="HeLa", plate="p", seed=1, field_px=320
    )
    for labels in (field.nucleoli, field.centrosomes):
        assert labels.any()
        assert (labels[labels > 0] == field.cells[labels > 0]).all()
    assert (field.nuclei[field.nucleoli > 0] > 0).all()
    ids = np.unique(field.centrosomes)[1:]
    areas = np.bincount(field.centrosomes.ravel())[ids] * 0.32**2
    assert areas.max() <= np.pi * 1.2**2 * 1.2


def test_widefield_has_an_offset_and_less_detail():
    about = {
        **{"antibody": "SIM010001", "locations": ("Microtubules",), "cell_line": "HeLa"},
        **{"plate": "p", "seed": 1, "field_px": 200, "cells_per_field": (3, 3)},
    }
    confocal, _, cells = render_field("p_A1_1", **about)[:3]
    wide = render_field("p_A1_1", microscope="widefield", **about).image
    background = cells == 0
    assert (confocal[:, background] == 0).mean() > 0.2
    assert np.median(wide[:, background]) >= 5
    detail = [ndimage.laplace(image[0].astype(float))[cells > 0].std() for image in (confocal, wide)]
    assert detail[1] < 0.7 * detail[0]


# drawing


def test_points_keep_their_weight_and_place():
    image = deposit((5, 7), np.array([2.5, 0.5]), np.array([3.5, 1.0]), np.array([2.0, 1.0]))
    assert image[2, 3] == pytest.approx(2)
    assert image[0, 0] == pytest.approx(0.5)
    assert image[0, 1] == pytest.approx(0.5)
    assert image.sum() == pytest.approx(3)
    outside = deposit((5, 7), np.array([-40.0, 2.5]), np.array([2.0, 99.0]), np.ones(2))
    assert outside.sum() == 0


def test_sprinkled_places_lie_where_there_is_a_chance():
    cells = grow_cells(stream(1, "sprinkle"), draw_line("HeLa", seed=1), cells=4, field_px=200, pixel_um=0.32)
    y, x = sprinkle(stream(1, "places"), (cells.nuclei > 0).astype(float), cells, per_cell=200)
    assert (cells.nuclei[y.astype(int), x.astype(int)] > 0).all()
    present = len(np.unique(cells.nuclei)) - 1
    assert len(y) == pytest.approx(200 * present, rel=0.15)


def test_noise_has_unit_variance_and_the_asked_length():
    noise = smooth_noise(stream(1, "noise"), (256, 256), 4.0)
    assert noise.mean() == pytest.approx(0, abs=1e-3)
    assert noise.std() == pytest.approx(1, abs=1e-3)
    # A Gaussian kernel of sigma s gives a correlation of exp(-d^2 / 4 s^2).
    apart = np.corrcoef(noise[:, :-4].ravel(), noise[:, 4:].ravel())[0, 1]
    assert apart == pytest.approx(np.exp(-0.25), abs=0.05)


def test_streams_follow_names_not_order():
    assert stream(1, "a", 2).random() == stream(1, "a", 2).random()
    assert len({stream(1, "a").random(), stream(1, "b").random(), stream(2, "a").random()}) == 3
