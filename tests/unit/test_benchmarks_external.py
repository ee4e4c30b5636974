"""External: classifiers trained at home are worth elsewhere what the shift leaves of them."""

import numpy as np
import pandas as pd
import pytest
from planted_cells import score, write_cells

from subcell.benchmarks.tasks import external
from subcell.catalog.fields import write_fields

PLACES = ("Cytosol", "Mitochondria", "Nucleoli", "Nucleoplasm")
SETTINGS = {"head_seeds": 1, "head_batch_size": 256, "min_test_antibodies": 2, "home": "home"}


def cells_of(rng, *, antibodies, first=0, shift=0.0, split=True):
    rows, vectors = [], []
    for number in range(first, first + antibodies):
        place = number % 4
        for cell in range(6):
            rows.append(
                {
                    "cell_id": f"{number}:{cell}",
                    "field_id": f"f{number}",
                    "antibody": f"HPA{number:05d}",
                    "gene": f"G{number:04d}",
                    "locations": PLACES[place],
                    "split": ("train", "train", "valid", "test")[(number // 4) % 4] if split else None,
                }
            )
            vector = np.eye(4)[place] * (1 - shift) + shift * np.eye(4)[(place + 1) % 4]
            vectors.append(np.concatenate([3 * vector, np.zeros(2)]) + rng.normal(0, 0.3, 6))
    return pd.DataFrame(rows).set_index("cell_id"), np.array(vectors)


def scored(folder, *, shift=0.0, first=100, antibodies=24, at_home=48, change=None, **options):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    home = write_cells(folder / "home.h5ad", *cells_of(rng, antibodies=at_home))
    obs, vectors = cells_of(rng, antibodies=antibodies, first=first, shift=shift, split=False)
    obs = change(obs) if change else obs
    return score(external, folder, obs, vectors, home_cells=home, **SETTINGS, **options)


def names(*numbers):
    return {f"HPA{number:05d}" for number in numbers}


def fields_of(folder, obs):
    """The table of fields that cells lie in."""
    folder.mkdir()
    write_fields(obs[["field_id", "antibody", "gene", "split"]].drop_duplicates(), folder / "0000.parquet")
    return folder / "0000.parquet"


def test_without_a_shift_nothing_drops(tmp_path):
    scores, result, table = scored(tmp_path, shift=0.0)
    assert next(iter(scores)) == "external_macro_ap"
    assert scores["external_macro_ap"]["value"] > 0.97
    assert scores["home_macro_ap"]["value"] > 0.97
    assert abs(scores["drop"]["value"]) < 0.03
    assert result["settings"]["classes"] == list(PLACES)
    assert len(table) == 24 * 6


def test_a_shift_costs(tmp_path):
    scores, _, _ = scored(tmp_path, shift=0.9)
    assert scores["home_macro_ap"]["value"] > 0.97
    assert scores["drop"]["value"] > 0.4
    assert scores["drop"]["low"] > 0


def test_proteins_that_were_learned_at_home_are_not_scored(tmp_path):
    _, result, table = scored(tmp_path, shift=0.0, first=36)
    # Of 36 to 59, those up to 47 are at home too: 36 to 43 in training and validation.
    assert set(table["antibody"]) == {f"HPA{number:05d}" for number in range(36, 60)} - {
        f"HPA{number:05d}" for number in range(36, 48) if (number // 4) % 4 != 3
    }
    assert result["details"]["cells"]["external"] == len(table)


def test_what_is_missing_is_said(tmp_path):
    rng = np.random.default_rng(0)
    obs, vectors = cells_of(rng, antibodies=24)
    _, result, _ = score(external, tmp_path, obs, vectors)
    assert result["reason"].startswith("needs a home dataset")
    home = write_cells(tmp_path / "home.h5ad", obs.drop(columns="split"), vectors)
    _, result, _ = score(external, tmp_path, obs, vectors, home_cells=home, **SETTINGS)
    assert result["reason"] == "needs split at home"
    wide = write_cells(tmp_path / "wide.h5ad", obs, np.hstack([vectors, vectors]))
    _, result, _ = score(external, tmp_path, obs, vectors, home_cells=wide, **SETTINGS)
    assert result["reason"].startswith("needs vectors of one model")
    _, result, _ = score(external, tmp_path, obs.drop(columns="locations"), vectors, home_cells=home, **SETTINGS)
    assert result["reason"] == "needs locations, in both datasets"


def test_what_a_network_has_seen_is_not_scored(tmp_path):
    """Of a dataset that trains a network the test part is left, and of it what no other such dataset has seen."""
    rng = np.random.default_rng(1)
    itself = fields_of(tmp_path / "itself", cells_of(rng, antibodies=48, first=100)[0])
    _, result, table = scored(tmp_path, antibodies=48, network_fields=[itself])
    tested = {number for number in range(100, 148) if (number // 4) % 4 == 3}
    assert set(table["antibody"]) == names(*tested)
    assert result["details"]["cells_left_out"]["of_training_antibodies_or_genes"] == 6 * (48 - len(tested))
    # Another network learned from the gene of a test protein, by another antibody and in a dataset without a split.
    about = cells_of(rng, antibodies=1, first=108, split=False)[0].assign(antibody="HPA1")
    other = fields_of(tmp_path / "other", about)
    _, _, table = scored(tmp_path, antibodies=48, network_fields=[itself, other])
    assert set(table["antibody"]) == names(*tested - {108})
    # Where all trains nothing is left, and that is said.
    everything = fields_of(tmp_path / "all", cells_of(rng, antibodies=48, first=100, split=False)[0])
    _, result, _ = scored(tmp_path, antibodies=48, network_fields=[everything])
    assert "288 cells of d are of antibodies or genes that train" in result["reason"]


def test_listed_antibodies_are_not_scored(tmp_path):
    (tmp_path / "seen.txt").write_bytes("\ufeffHPA00100\n HPA00101 \n\n".encode())
    _, result, table = scored(tmp_path, seen_antibodies=[tmp_path / "seen.txt"])
    assert set(table["antibody"]) == names(*range(102, 124))
    assert result["details"]["cells_left_out"]["seen_antibodies"] == 12
    # At home, of what is scored alone: 12 to 15 test, 0 to 11 train and choose.
    (tmp_path / "home.txt").write_text("\n".join(f"HPA{number:05d}" for number in range(14)))
    _, result, _ = scored(tmp_path, shift=0.0, home_seen_antibodies=[tmp_path / "home.txt"])
    assert result["details"]["cells_left_out"]["seen_antibodies_at_home"] == 12
    assert result["details"]["cells"]["home"] == 10 * 6


def test_cells_of_no_known_protein_are_not_scored(tmp_path):
    """Nothing shows that they did not train."""

    def change(obs):
        known = obs["antibody"] != "HPA00100"
        return obs.assign(antibody=obs["antibody"].where(known), gene=obs["gene"].where(known))

    scores, result, table = scored(tmp_path, change=change)
    assert set(table["antibody"]) == names(*range(101, 124))
    assert set(table["unit"]) == set(table["gene"])
    assert scores["external_macro_ap"]["n"] == 23
    assert result["details"]["cells_left_out"]["no_gene"] == 6


def test_the_spread_over_classifiers_is_that_of_the_headline(tmp_path):
    scores, result, _ = scored(tmp_path, shift=0.6)
    (alone,) = result["details"]["head_seeds"]["macro_ap"]
    assert alone == pytest.approx(scores["external_macro_ap"]["value"])
    assert alone < scores["home_macro_ap"]["value"] - 0.05


def test_rare_locations_get_the_weight_that_is_asked_for(tmp_path):
    tables = {way: scored(tmp_path / way, at_home=37, balance=way)[1:] for way in ("none", "loss")}
    assert {way: result["settings"]["balanced"] for way, (result, _) in tables.items()} == {
        "none": "none",
        "loss": "loss",
    }
    probabilities = [table.filter(like="prob_").to_numpy() for _, table in tables.values()]
    assert not np.allclose(*probabilities)
