"""External: classifiers trained at home are worth elsewhere what the shift leaves of them."""

import numpy as np
import pandas as pd
from planted_cells import score, write_cells

from subcell.benchmarks import external

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


def scored(folder, *, shift, first=100, **options):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    home = write_cells(folder / "home.h5ad", *cells_of(rng, antibodies=48))
    there = cells_of(rng, antibodies=24, first=first, shift=shift, split=False)
    return score(external, folder, *there, home_cells=home, **SETTINGS, **options)


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
