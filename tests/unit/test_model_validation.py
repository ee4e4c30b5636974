"""How a training is watched: labels, retrieval, spread and collapse against known answers."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from subcell.model.loop.validation import collapsed, location_table, plateau, retrieval, spread


def test_unknown_labels_are_not_taken_for_no_location() -> None:
    obs = pd.DataFrame({"locations": ["B;A", None, "C"]})
    table, known = location_table(obs, ["A", "B"])
    assert table.tolist() == [[1, 1], [0, 0], [0, 0]]
    assert known.tolist() == [True, False, True]


def test_collapse_shows_in_the_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    healthy = spread(torch.randn(400, 16, generator=generator))
    assert healthy["embedding_std"] == pytest.approx(1, abs=0.05)
    assert 14 < healthy["embedding_rank"] <= 16
    point = spread(torch.ones(400, 16) + 1e-4 * torch.randn(400, 16, generator=generator))
    assert point["embedding_std"] < 0.01
    line = spread(torch.randn(400, 1, generator=generator) * torch.ones(400, 16))
    assert line["embedding_rank"] < 1.1


def test_a_few_strong_directions_show_in_the_rank_of_variances_alone() -> None:
    """Three directions with two hundred times the variance of the other 125: singular values hardly see it."""
    deviations = torch.cat((torch.full((3,), 14.0), torch.ones(125)))
    vectors = torch.randn(2000, 128, generator=torch.Generator().manual_seed(0)) * deviations
    few = spread(vectors)
    assert few["embedding_rank"] > 40
    assert few["variance_rank"] < few["embedding_rank"] / 3
    even = spread(vectors / deviations)
    assert even["variance_rank"] > 100
    one = torch.cat((torch.full((1,), 1000.0), torch.ones(127)))
    assert "lies in " in collapsed(spread(vectors / deviations * one))


def test_a_loss_at_chance_is_said() -> None:
    """Of 128 vectors that tell nothing the loss is log(127)."""
    chance = math.log(127)
    assert plateau({"protein_specific": chance * 0.97, "loss": 9.0}, 128) == ""
    said = plateau({"cell_specific": chance * 0.5, "protein_specific": chance * 0.985}, 128)
    assert said == f"protein_specific {chance * 0.985:.3f} within 2% of chance ({chance:.3f})"


def test_uniformity_is_its_formula_and_zero_for_a_point() -> None:
    vectors = torch.randn(700, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    squared = (unit[:, None] - unit[None]).square().sum(dim=-1)
    pairs = ~torch.eye(700, dtype=torch.bool)
    expected = float((-2 * squared[pairs]).exp().mean().log())
    assert spread(vectors)["embedding_uniformity"] == pytest.approx(expected, rel=1e-9)
    assert spread(torch.ones(9, 6))["embedding_uniformity"] == pytest.approx(0, abs=1e-12)


def test_collapse_is_said_in_words() -> None:
    generator = torch.Generator().manual_seed(0)
    assert collapsed(spread(torch.randn(400, 16, generator=generator))) == ""
    assert "nearly the same vector" in collapsed(spread(torch.ones(400, 16)))
    line = torch.randn(400, 1, generator=generator) * torch.ones(400, 16)
    assert "directions only" in collapsed(spread(line))


def wells(*rows: tuple[str | None, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["antibody", "well", "cell_line"]).assign(plate="P")


def test_retrieval_finds_the_antibody_in_another_well() -> None:
    obs = wells(("a", "1", "U2"), ("a", "1", "U2"), ("b", "2", "U2"), ("a", "3", "HeLa"), ("b", "4", "HeLa"))
    # Lines lie far apart, antibodies point the same way in each.
    vectors = np.array([[9, 1, 0], [9, 1, 0], [9, -1, 0], [-9, 0, 1], [-9, -2, 1]], np.float32)
    assert retrieval(vectors, obs) == 1.0
    swapped = vectors[[0, 1, 2, 4, 3]]
    # Each profile then ranks the one right well last of three: the other line's wrong one first, its own line's second.
    assert retrieval(swapped, obs) < 0.6


def test_retrieval_needs_an_antibody_in_two_wells() -> None:
    vectors = np.eye(3, dtype=np.float32)
    assert retrieval(vectors, wells(("a", "1", "U2"), ("b", "2", "U2"), (None, "3", "U2"))) is None
    assert retrieval(vectors, pd.DataFrame({"field_id": ["x", "y", "z"]})) is None
