"""Perturbation: whether wells of one compound, or of compounds with one mechanism, find each other on other plates.

Protocol. Cells are averaged over fields and fields over wells. Each treated well (controls of either kind apart) ranks those
of all other plates by cosine; `compound_map` (the headline) is the average precision with which it finds its own compound at
any dose, averaged over the wells of a compound and over compounds, `mechanism_map` that for wells of other compounds with
its mechanism: never its own compound. Replicates look alike, so the wells of a mechanism are found or missed a compound at
a time: its chance is what vectors score when mechanisms are exchanged among the compounds that share one.
A well is neither found nor missed on its own plate, whose staining it shares.
`position_map` asks control wells for their place on the plate: what is above its chance is the plate's layout;
`treated_position_map` asks treated wells for wells of other compounds in their place, where compounds change places. Vectors are
processed in one of 24 ways (mean or median of cells; plates standardised on their control wells, or by median and median
deviation of these, or of all wells where a plate has too few controls; features
selected or not; sphered on the control wells or not). The way is chosen on other compounds and other plates than those
that are scored: compounds and plates are halved so that replicates stay together, each half is scored by what was best on
the other; where no halves of the plates do that only the compounds are halved, which the result says. `compound_nearest`
and `mechanism_nearest` are the shares of wells whose nearest well is one. The interval comes from resampling compounds.
Stains beyond the network's channels are embedded as the protein in turn (`proteins` of a model) and their vectors stand
side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from subcell.benchmarks.inputs.halves import halve_screen
from subcell.benchmarks.inputs.hits import HIT_COLUMNS, count_ratio, hit_table, well_effects
from subcell.benchmarks.inputs.profiles import (
    LEAST_CONTROLS,
    Processing,
    WellProfiles,
    average_wells,
    grid,
    have_controls,
    process,
)
from subcell.benchmarks.probes import frozen
from subcell.benchmarks.statistics.bootstrap import LEVEL, bootstrap_mean, units_key
from subcell.benchmarks.statistics.metrics import expected_ap
from subcell.benchmarks.statistics.ranking import Ranking, find_groups, rank_among
from subcell.benchmarks.statistics.result import Result, as_metric, kept, not_run, write_result
from subcell.tables import write_table

BENCHMARK, UNIT = "perturbation", "compound"
DEALT = "field_id"
HEADLINE = "compound_map"
LEAST_COMPOUNDS = 4
PERFECT_FEATURES = 64
NO_CONTROLS = (
    "no control wells (no `control` is `negative`): profiles are not sphered; hits have no effect size, cell count ratio, "
    "p or q"
)
EXCHANGES = 200
"""Of mechanisms among compounds, for their chance."""


def run(
    cells: str | Path,
    *,
    out_json: str | Path,
    out_parquet: str | Path,
    dataset: str,
    model: str,
    simulated: bool,
    out_hits: str | Path | None = None,
    processing: Mapping[str, Any] | None = None,
    bootstraps: int = 1000,
    seed: int = 42,
    **_other: Any,
) -> Result:
    """Retrieve compounds and mechanisms by the profiles of wells.

    Parameters
    ----------
    cells : AnnData file of vectors; obs with `plate`, `well`, `field_id`, `compound`, and `control` (`negative`), `dose`,
        `mechanism` where known
    out_json, out_parquet : see `subcell.benchmarks.statistics.result`; the table has one row a well
    dataset, model, simulated : go into the result
    out_hits : table to write, see `subcell.benchmarks.inputs.hits`; made in one way (`Processing()` or `processing`) whatever was
        best, so that its q-values owe nothing to a choice
    processing : fields of `Processing` that are taken for all, instead of choosing
    bootstraps, seed : of the resamples of compounds; the seed is that of the exchanged mechanisms too
    """
    names: dict[str, Any] = {"benchmark": BENCHMARK, "dataset": dataset, "model": model, "simulated": simulated}
    table = frozen.read_cells(cells)
    averaged = {how: average_wells(table, how) for how in ("mean", "median")}
    reason = _missing(averaged["mean"])
    if reason:
        _write_hits(out_hits, pd.DataFrame(columns=list(HIT_COLUMNS)))
        return write_result(not_run(reason, **names), out_json, out_parquet)
    fixed = Processing(**processing) if processing else None
    ways = [fixed] if fixed else list(grid())
    vectors = {way: process(averaged[way.average], way) for way in ways}
    wells = averaged["mean"]
    found, choices = cross_scored(wells, vectors, seed=seed)
    metrics, replicates, units = [], {}, found["compound"].dropna().unique()
    for what in ("compound", "mechanism"):
        for score in ("map", "nearest"):
            by_compound = found.groupby("compound")[f"{what}_{score}"].mean().sort_index()
            if by_compound.notna().sum() < 2:
                continue
            estimate = bootstrap_mean(by_compound.to_numpy(float), bootstraps=bootstraps, seed=seed, bounds=(0, 1))
            chance = float(found.groupby("compound")[f"{what}_{score}_chance"].mean().mean())
            name, n = f"{what}_{score}", int(by_compound.notna().sum())
            metrics.append(as_metric(name, estimate, chance=chance, n=n, unit=UNIT))
            replicates[name] = kept(estimate)
    if HEADLINE not in replicates:
        _write_hits(out_hits, pd.DataFrame(columns=list(HIT_COLUMNS)))
        reason = "needs two compounds whose wells stand on several plates beside wells of other compounds"
        return write_result(not_run(reason, **names), out_json, out_parquet)
    for name, treated in (("position_map", False), ("treated_position_map", True)):
        if (positions := position_precision(wells, vectors[ways[0]], treated=treated)) is not None:
            values, chance = positions
            estimate = bootstrap_mean(values, bootstraps=bootstraps, seed=seed, bounds=(0, 1))
            metrics.append(as_metric(name, estimate, chance=chance, n=len(values), unit="well position"))
    default = fixed or Processing()
    processed = process(averaged[default.average], default)
    scaled = process(averaged[default.average], replace(default, sphere="none"))
    _write_hits(out_hits, hit_table(averaged[default.average], processed, scaled, seed=seed))
    result = Result(
        **names,
        metrics=metrics,
        replicates={HEADLINE: replicates[HEADLINE]},
        units_key=units_key(units),
        settings={
            "task": "wells of the same compound, and of other compounds with the same mechanism, among those of other plates",
            "processing": choices,
            "tried": len(ways),
            "processing_of_hits": asdict(default),
            "plates_scaled_on": _scaled_on(wells),
            **({} if wells.controls.any() else {"controls": NO_CONTROLS}),
            "chance": f"wells ranked independently; of mechanisms, mean over {EXCHANGES} exchanges among compounds",
            "interval": f"{LEVEL:.0%}, standard error of {bootstraps} bootstrap resamples of compounds",
            "seed": seed,
        },
        details={
            "wells": len(wells.about),
            "control_wells": int(wells.controls.sum()),
            "plates": int(wells.about["plate"].nunique()),
            "compounds_always_in_one_position": _in_one_position(wells),
        },
    )
    about = wells.about.reset_index()
    about["effect"] = well_effects(averaged[default.average], scaled)
    about["cell_count_ratio"] = count_ratio(wells)
    scores = found[["compound_map", "mechanism_map"]].reindex(wells.about.index).reset_index(drop=True)
    return write_result(result, out_json, out_parquet, pd.concat([about, scores], axis=1))


def perfect_features(obs: pd.DataFrame) -> NDArray[np.float32]:
    """What a perfect model would see: a direction for each compound and for each mechanism; almost nothing where untreated."""
    treated = (obs["control"] if "control" in obs else pd.Series(None, obs.index, dtype=object)) != "negative"
    columns = [obs[name].astype(object).where(treated) for name in ("compound", "mechanism") if name in obs]
    # Dense numbers, and few: a median deviation is 0 where most wells have a 0.
    rng = np.random.default_rng(0)
    seen = np.zeros((len(obs), PERFECT_FEATURES))
    for column in columns:
        named = pd.Categorical(column)
        directions = rng.standard_normal((len(named.categories), PERFECT_FEATURES))
        seen += np.concatenate([directions, np.zeros((1, PERFECT_FEATURES))])[named.codes]
    return (seen + 0.01 * rng.standard_normal(seen.shape)).astype(np.float32)


def cross_scored(
    wells: WellProfiles, vectors: Mapping[Processing, NDArray[np.floating]], *, seed: int = 0
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Score each half of the compounds in the way that was best for the other half.

    Parameters
    ----------
    seed : of the exchanged mechanisms, see `exchanged_chance`

    Returns
    -------
    table : index well; of the scored wells: compound, and for compound and mechanism `_map`, `_nearest` and their chance
    choices : what was chosen, and whether on other plates too
    """
    treated = wells.treated
    dealt = halve_screen(wells.about["compound"][treated], wells.about["plate"][treated])
    by_plate = dealt.plates is not None
    plate = wells.about["plate"].map(dealt.plates or {}).to_numpy(float)
    compound = wells.about["compound"].map(dealt.compounds).to_numpy(float)
    parts, choices = [], {}
    for half in (0, 1):
        tuned = treated & (compound != half) & ((plate != half) | (not by_plate))
        pool = treated & ((plate == half) | (not by_plate))
        best = _best(wells.about, vectors, tuned)
        found = retrieval(wells.about, vectors[best], pool, exchanges=EXCHANGES, seed=seed)
        parts.append(found[compound[wells.about.index.get_indexer(found.index)] == half])
        choices[f"half {half + 1}"] = best.words
    choices["chosen on"] = (
        "other compounds and other plates" if by_plate else f"other compounds of the same plates: {dealt.why}"
    )
    return pd.concat(parts).sort_index(), choices


def retrieval(
    about: pd.DataFrame, vectors: NDArray[np.floating], pool: NDArray[np.bool_], *, exchanges: int = 0, seed: int = 0
) -> pd.DataFrame:
    """How well each well of the pool finds its like on other plates of the pool.

    Parameters
    ----------
    exchanges : see `exchanged_chance`; with 0 the chance of mechanisms is that of wells ranked independently
    seed : of the exchanges

    Returns
    -------
    index well; compound, and for `compound` and `mechanism` `_map` (average precision), `_nearest` (whether the nearest well
    is one) and the chance of both; nan where a well has none to find
    """
    part = about[pool]
    names = part["compound"].astype(str)
    compound = pd.factorize(names)[0]
    # A compound without a mechanism has one of its own.
    mechanism = pd.factorize(part["mechanism"].where(part["mechanism"].notna(), "of " + names))[0]
    plate = part["plate"].to_numpy(str)
    unit = vectors[pool] / np.maximum(np.linalg.norm(vectors[pool], axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    elsewhere = plate[:, None] != plate
    # Other wells of a compound neither help nor hinder its mechanism.
    others = elsewhere & (compound[:, None] != compound)
    asked = {"compound": (compound, elsewhere), "mechanism": (mechanism, others)}
    found = {"compound": part["compound"].to_numpy(object)}
    for what, (groups, allowed) in asked.items():
        ranking, total = rank_among(cosine, allowed), allowed.sum(axis=1)
        precision, nearest, positives = find_groups(ranking, groups)
        some = (positives > 0) & (positives < total)
        if what == "mechanism" and exchanges:
            chance = exchanged_chance(ranking, total, compound, mechanism, exchanges=exchanges, seed=seed)
        else:
            chance = (
                np.array([expected_ap(p, max(t, 1)) for p, t in zip(positives, total, strict=True)]),
                positives / np.maximum(total, 1),
            )
        values = {"map": precision, "nearest": nearest, "map_chance": chance[0], "nearest_chance": chance[1]}
        found |= {f"{what}_{name}": np.where(some, of, np.nan) for name, of in values.items()}
    return pd.DataFrame(found, index=part.index)


def exchanged_chance(
    ranking: Ranking,
    total: NDArray[np.int_],
    compound: NDArray[np.int_],
    mechanism: NDArray[np.int_],
    *,
    exchanges: int,
    seed: int,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Mean precision and share of nearest wells when mechanisms are exchanged among the compounds that share one.

    Wells stay with their compound. Ranked independently they would score less: replicates that are alike come together, near
    the top or far from it, and a few at the top gain more than as many at the bottom lose.

    Parameters
    ----------
    ranking : of the wells of other compounds
    total : (N,) how many wells each may look at
    compound, mechanism : (N,) number of each well's; of a compound with several mechanisms the first counts
    exchanges, seed : how many, and of their orders

    Returns
    -------
    precision, nearest : (N,) means over the exchanges in which a well has others to find, nan where it never has
    """
    rng = np.random.default_rng(seed)
    mechanism_of = mechanism[np.unique(compound, return_index=True)[1]]
    shared = np.bincount(mechanism_of)[mechanism_of] > 1
    sums = np.zeros((3, len(compound)))
    for _ in range(exchanges):
        dealt = mechanism_of.copy()
        dealt[shared] = rng.permutation(mechanism_of[shared])
        precision, nearest, positives = find_groups(ranking, dealt[compound])
        asked = (positives > 0) & (positives < total)
        sums += np.where(asked, [precision, nearest, asked], 0)
    with np.errstate(invalid="ignore"):
        return sums[0] / sums[2], sums[1] / sums[2]


def position_precision(
    wells: WellProfiles, vectors: NDArray[np.floating], *, treated: bool
) -> tuple[NDArray[np.floating], float] | None:
    """Average precision with which wells find those in the same position on other plates: one value a position, and chance.

    Parameters
    ----------
    treated : ask treated wells for those of other compounds, instead of control wells for each other

    Returns
    -------
    None where fewer than two positions hold such wells on two plates
    """
    pool = wells.treated if treated else wells.controls
    if not pool.any():
        return None
    about = wells.about.copy()
    # What `retrieval` calls a mechanism is found among other compounds only.
    about["mechanism"] = about["well"]
    if not treated:
        about["compound"] = about.index
    found = retrieval(about, vectors, pool)
    scores = found[["mechanism_map", "mechanism_map_chance"]].groupby(about["well"][pool]).mean().dropna()
    if len(scores) < 2:
        return None
    return scores["mechanism_map"].to_numpy(float), float(scores["mechanism_map_chance"].mean())


def _best(
    about: pd.DataFrame, vectors: Mapping[Processing, NDArray[np.floating]], tuned: NDArray[np.bool_]
) -> Processing:
    """The way with the best mean over compound and mechanism; the first where none can be scored.

    The chance of wells ranked independently is the same for all ways, so taking it off would change nothing.
    """
    if len(vectors) == 1:
        return next(iter(vectors))
    scores = {}
    for way, values in vectors.items():
        found = retrieval(about, values, tuned)
        means = [found[f"{what}_map"].mean() for what in ("compound", "mechanism")]
        scores[way] = float(np.nanmean(means)) if np.isfinite(means).any() else -np.inf
    return max(scores, key=scores.__getitem__)


def _in_one_position(wells: WellProfiles) -> float | None:
    """Share of compounds on several plates that stand in the same wells of each: what their place does is theirs too."""
    wells_of = wells.about[wells.treated].groupby(["compound", "plate"])["well"].agg(frozenset)
    different = wells_of.groupby("compound").agg(["nunique", "size"])
    several = different[different["size"] > 1]
    return float((several["nunique"] == 1).mean()) if len(several) else None


def _scaled_on(wells: WellProfiles) -> str:
    plate, controls = wells.about["plate"].to_numpy(str), wells.controls
    if have_controls(plate, controls):
        return "their control wells"
    few = int((pd.Series(controls).groupby(plate).sum() < LEAST_CONTROLS).sum())
    return f"all their wells: {few} plates have fewer than {LEAST_CONTROLS} control wells"


def _missing(wells: WellProfiles) -> str:
    if not len(wells.about):
        return "needs plate and well"
    treated = wells.about[wells.treated]
    if not len(treated):
        return "needs compound"
    several = int((treated.groupby("compound")["plate"].nunique() > 1).sum())
    if several < LEAST_COMPOUNDS:
        return f"needs {LEAST_COMPOUNDS} compounds on two plates or more (found {several})"
    return ""


def _write_hits(path: str | Path | None, table: pd.DataFrame) -> None:
    if path is not None:
        write_table(table, path, float_format="%.5g")
