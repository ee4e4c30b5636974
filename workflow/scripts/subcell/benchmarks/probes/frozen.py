"""The protocol that localization and cell_line share: a classifier on frozen embeddings, scored on held-out proteins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from subcell.benchmarks.statistics.bootstrap import LEVEL, bootstrap_metric
from subcell.benchmarks.statistics.metrics import BOUNDS, METRICS, chance_of, class_ap, expected_ap, macro_ap
from subcell.benchmarks.statistics.result import PROBABILITY, TRUTH, Metric, as_metric, kept
from subcell.embedding.store import read_vectors
from subcell.names import plural

SPLITS = ("train", "valid", "test")
UNITS = ("antibody", "gene")
"""Columns whose values are resampled for the intervals, see `resampled_units`."""
ROWS_AT_ONCE = 16_384


@dataclass(frozen=True)
class Scores:
    """Metrics with the resampled values of each."""

    metrics: list[Metric]
    replicates: dict[str, list[float]]

    def __add__(self, other: Scores) -> Scores:
        return Scores(self.metrics + other.metrics, self.replicates | other.replicates)


@dataclass(frozen=True)
class Cells:
    """Cells with their vectors.

    Attributes
    ----------
    features : (N, D) float32
    obs : (N, ...) what is known of each cell, index cell_id
    """

    features: NDArray[np.float32]
    obs: pd.DataFrame

    def kept(self, rows: NDArray[np.bool_]) -> Cells:
        """Only some of the cells."""
        return Cells(self.features[rows], self.obs[rows])

    def column(self, name: str) -> pd.Series:
        """A column of `obs`, see `text_of`."""
        return text_of(self.obs, name)


def text_of(obs: pd.DataFrame, name: str) -> pd.Series:
    """A column of a table as text, None where it is missing or empty."""
    if name not in obs:
        return pd.Series(None, index=obs.index, dtype=object)
    text = obs[name].astype(object)
    return text.where(text.notna() & (text.astype(str).str.strip() != ""), None)


def read_cells(path: str | Path, *, choose: Callable[[pd.DataFrame], NDArray[np.int64]] | None = None) -> Cells:
    """Read a file of vectors.

    Parameters
    ----------
    choose : function of the table of cells that gives the row numbers to read, instead of all

    Raises
    ------
    CheckpointError : the file is missing or damaged
    """
    obs = read_vectors(path).obs
    with h5py.File(path, "r") as file:
        if choose is None:
            return Cells(np.asarray(file["X"], np.float32), obs)
        rows, vectors = choose(obs), file["X"]
        # Row by row: HDF5 takes long to put many scattered rows into one request.
        features = np.empty((len(rows), vectors.shape[1]), np.float32)
        for place, row in enumerate(rows):
            features[place] = vectors[row]
        return Cells(features, obs.iloc[rows])


def group_means(
    vectors: NDArray[np.floating] | NDArray[np.bool_], codes: NDArray[np.int_], groups: int
) -> NDArray[np.float64]:
    """Mean vector of each group, (groups, D).

    Parameters
    ----------
    vectors : (N, D); a piece at a time is taken in double precision, never all
    codes : (N,) group of each row, each at least once; rows of -1 are left out
    """
    sums = np.zeros((groups, vectors.shape[1]))
    for start in range(0, len(codes), ROWS_AT_ONCE):
        rows = start + np.flatnonzero(codes[start : start + ROWS_AT_ONCE] >= 0)
        present, place = np.unique(codes[rows], return_inverse=True)
        within = sparse.csr_array((np.ones(len(rows)), (place, np.arange(len(rows)))), (len(present), len(rows)))
        sums[present] += within @ vectors[rows]
    return sums / np.bincount(codes[codes >= 0], minlength=groups)[:, None]


def resampled_units(obs: pd.DataFrame, *, by: str) -> pd.Series | None:
    """What is drawn as a whole in resamples: the gene where a dataset is split by gene, else the antibody.

    Antibodies of one gene show the same protein, and a split by gene puts them on the same side: drawn one by one they would
    count as independent evidence, and intervals would be too narrow. A cell whose gene is not known counts for its
    antibody; one of which neither is known has no unit, or it would be drawn alone, as if it were independent of all others.

    Parameters
    ----------
    obs : (N, ...) with `gene` and `antibody` where known
    by : how the dataset is split, see `subcell.benchmarks.guards.leakage`

    Returns
    -------
    (N,) called `gene` or `antibody`, None where unknown; None where all are
    """
    antibody, gene = (text_of(obs, name) for name in UNITS)
    if gene.notna().any() and (by == "gene" or antibody.isna().all()):
        return gene.where(gene.notna(), antibody)
    return antibody if antibody.notna().any() else None


def units_or_fields(obs: pd.DataFrame, *, by: str) -> pd.Series:
    """As `resampled_units`, but a cell of which neither gene nor antibody is known counts for its field."""
    units, field = resampled_units(obs, by=by), text_of(obs, "field_id")
    return field if units is None else units.where(units.notna(), field)


def scored_classes(
    truth: pd.DataFrame, split: pd.Series, units: pd.Series, *, min_test_units: int
) -> tuple[list[str], dict[str, str]]:
    """Choose the classes from labels alone, so that they are the same for every model.

    Parameters
    ----------
    truth : (N, C) bool, a column a class
    split, units : (N,)
    min_test_units : units (antibodies) with a positive test cell that a class needs

    Returns
    -------
    classes : in the order of the columns
    others : class -> why it is not scored
    """
    classes, others = [], {}
    test, train = (split == "test").to_numpy(), (split == "train").to_numpy()
    for name in truth.columns:
        positive = truth[name].to_numpy(bool)
        held_out = units[positive & test].nunique()
        if not (positive & train).any():
            others[name] = "no training cell has it"
        elif held_out < min_test_units:
            others[name] = f"{held_out} held-out units have it, {min_test_units} needed"
        elif positive[test].all():
            others[name] = "every test cell has it"
        else:
            classes.append(name)
    return classes, others


def missing_cells(truth: pd.DataFrame, split: pd.Series, *, what: str, unit: str, min_test_units: int) -> str:
    """Say which cells a classifier lacks.

    Parameters
    ----------
    truth : (N, C) of the scored classes
    split : (N,)
    what : classes in words, e.g. "locations"
    unit, min_test_units : see `scored_classes`

    Returns
    -------
    "needs ...", or "" where nothing is missing
    """
    missing = [side for side in SPLITS if not (split == side).any()]
    if missing:
        return f"needs cells with known {what} in the split{'s' * (len(missing) > 1)} {', '.join(missing)}"
    if truth.shape[1] < 2:
        return (
            f"needs two {what} that training cells and at least {min_test_units} held-out {plural(unit)} have "
            f"(found {truth.shape[1]})"
        )
    if not truth[(split == "valid").to_numpy()].to_numpy().any():
        return f"needs cells in the split valid that have one of the scored {what}"
    return ""


def predict_held_out(
    features: NDArray[np.float32],
    truth: NDArray[np.bool_],
    split: NDArray[Any],
    *,
    seeds: Sequence[int],
    batch_size: int,
    balance: Any = "none",
    device: str = "cpu",
    headline: NDArray[np.bool_] | slice = slice(None),
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Train a classifier a seed on the training cells and average what they say of the test cells.

    Parameters
    ----------
    features : (N, D) standardised
    truth : (N, C)
    split : (N,) train, valid or test
    seeds : of the classifiers
    batch_size : cells a step
    balance, device : see `subcell.benchmarks.probes.mlp.fit_mlps`
    headline : (test cells,) those that the first score is of; all when absent

    Returns
    -------
    probabilities : (test cells, C) mean over classifiers
    spread : what each classifier reached by itself on these cells, and after how many epochs
    """
    from subcell.benchmarks.probes.mlp import fit_mlps

    rows = {name: split == name for name in SPLITS}
    fits = fit_mlps(features, truth, **rows, seeds=seeds, batch_size=batch_size, balance=balance, device=device)
    wanted = truth[rows["test"]][headline]
    alone = [float(macro_ap(wanted, fit.probabilities[headline], np.ones((1, len(wanted))))[0]) for fit in fits]
    spread = {
        "seeds": list(seeds),
        "macro_ap": alone,
        "macro_ap_mean": float(np.mean(alone)),
        "macro_ap_sd": float(np.std(alone, ddof=1)) if len(alone) > 1 else None,
        "valid_macro_ap": [fit.valid_macro_ap for fit in fits],
        "epochs": [fit.epochs for fit in fits],
    }
    return np.mean([fit.probabilities for fit in fits], axis=0, dtype=np.float32), spread


def score(
    names: Sequence[str],
    truth: NDArray[np.bool_],
    probabilities: NDArray[np.floating],
    units: NDArray[Any],
    *,
    unit: str,
    head_seeds: int,
    bootstraps: int,
    seed: int,
    prefix: str = "",
    suffix: str = "",
) -> Scores:
    """Metrics of the test cells with intervals over units.

    Parameters
    ----------
    names : keys of `METRICS`
    truth, probabilities : (N, C)
    units : (N,) drawn as a whole
    prefix, suffix : put before and after the names
    """
    metrics, replicates = [], {}
    n = len(np.unique(units))
    for name in names:
        found = bootstrap_metric(
            METRICS[name], truth, probabilities, units, bootstraps=bootstraps, seed=seed, bounds=BOUNDS[name]
        )
        written = prefix + name + suffix
        chance = chance_of(name, truth)
        metrics.append(as_metric(written, found, chance=chance, n=n, unit=unit, seeds=head_seeds))
        replicates[written] = kept(found)
    return Scores(metrics, replicates)


def score_as_published(
    features: NDArray[np.float32],
    truth: NDArray[np.bool_],
    split: NDArray[Any],
    units: NDArray[Any],
    sets: Mapping[str, Sequence[int]],
    *,
    unit: str,
    seeds: Sequence[int],
    batch_size: int,
    device: str,
    bootstraps: int,
    seed: int,
) -> Scores:
    """Macro AP as the paper states it: vectors as they are, and the mean over classifiers of what each reaches.

    The headline standardises vectors, so that no model gains by the scale of its numbers, and scores the mean of what the
    classifiers say, which is better than any of them. A published number can be laid beside these scores alone.

    Parameters
    ----------
    features : (N, D) as embedded
    truth, split : (N, C) and (N,)
    units : (test cells,) drawn as a whole
    sets : suffix of the score -> classes
    seeds, batch_size, device : see `subcell.benchmarks.probes.mlp.fit_mlps`; no class is balanced
    """
    from subcell.benchmarks.probes.mlp import fit_mlps

    rows = {name: split == name for name in SPLITS}
    said = [
        fit.probabilities
        for fit in fit_mlps(features, truth, **rows, seeds=seeds, batch_size=batch_size, device=device)
    ]
    counted: dict[str, Any] = {"n": len(np.unique(units)), "unit": unit, "seeds": len(said)}
    scores = Scores([], {})
    for suffix, columns in sets.items():

        def mean(
            wanted: ArrayLike, _first: ArrayLike, weights: ArrayLike, columns: Sequence[int] = columns
        ) -> NDArray[np.floating]:
            return np.mean([macro_ap(wanted, one[:, columns], weights) for one in said], axis=0)

        wanted = truth[rows["test"]][:, columns]
        found = bootstrap_metric(
            mean, wanted, said[0][:, columns], units, bootstraps=bootstraps, seed=seed, bounds=(0, 1)
        )
        name = f"as_published_macro_ap{suffix}"
        metric = as_metric(name, found, chance=chance_of("macro_ap", wanted), **counted)
        scores += Scores([metric], {name: kept(found)})
    return scores


def per_unit(
    truth: NDArray[np.bool_], probabilities: NDArray[np.floating], units: NDArray[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.floating], NDArray[Any]]:
    """Mean probability of each unit's cells, and the classes that at least half of them have."""
    names, codes = np.unique(units, return_inverse=True)
    shares, means = (group_means(values, codes, len(names)) for values in (truth, probabilities))
    return shares >= 0.5, means, names


def class_details(
    classes: Sequence[str],
    truth: pd.DataFrame,
    split: pd.Series,
    units: pd.Series,
    test_truth: NDArray[np.bool_],
    probabilities: NDArray[np.floating],
) -> list[dict[str, Any]]:
    """One entry a class: its average precision, chance, and how many cells and units it has on each side."""
    values = class_ap(test_truth, probabilities, np.ones((1, len(test_truth))))[0]
    chance = expected_ap(test_truth.sum(axis=0), len(test_truth))
    found = []
    for number, name in enumerate(classes):
        positive = truth[name].to_numpy(bool)
        counts = {
            f"{side}_{what}": int(count)
            for side in ("train", "test")
            for what, count in (
                ("cells", (positive & (split == side)).sum()),
                ("units", units[positive & (split == side).to_numpy()].nunique()),
            )
        }
        found.append({"class": name, "ap": float(values[number]), "chance": float(chance[number]), **counts})
    return found


def prediction_table(
    obs: pd.DataFrame,
    units: NDArray[Any],
    classes: Sequence[str],
    truth: NDArray[np.bool_],
    probabilities: NDArray[np.floating],
) -> pd.DataFrame:
    """A row a test cell: cell_id, unit, antibody, gene, field_id, then truth and probability of each class."""
    table = pd.DataFrame({"cell_id": obs.index.astype(str), "unit": units.astype(str)})
    for name in ("antibody", "gene", "field_id"):
        table[name] = obs[name].to_numpy(object) if name in obs else None
    for number, name in enumerate(classes):
        table[TRUTH + name] = truth[:, number].astype(np.uint8)
    for number, name in enumerate(classes):
        table[PROBABILITY + name] = probabilities[:, number].astype(np.float32)
    return table


def settings_of(
    protocol: Mapping[str, Any], *, unit: str, head_seeds: int, bootstraps: int, min_test_antibodies: int, seed: int
) -> dict[str, Any]:
    """How a score was made, for the reader of its file."""
    return {
        **protocol,
        "head_seeds": head_seeds,
        "interval": f"{LEVEL:.0%}, standard error of {bootstraps} bootstrap resamples of the test set by {unit}",
        "min_test_antibodies": min_test_antibodies,
        "seed": seed,
    }
