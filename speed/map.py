"""Speed, memory and truth of the map.

    .venv/bin/python speed/map.py              everything: about forty minutes, most of it the peer's
    .venv/bin/python speed/map.py --rows 2000  the same at another size
    .venv/bin/python speed/map.py growth       1,000 to 100,000 rows, without the peer
    .venv/bin/python speed/map.py truth        SIMULATED cells with a planted hierarchy, and false discoveries
    .venv/bin/python speed/map.py null         SIMULATED cells with nothing planted, through the whole map

Speed is against a plain loop of scanpy calls with the igraph flavor that does the same: one graph, Leiden at each
resolution with the map's seed and 20 others, and the best Jaccard overlap of each cluster in each run. Neither side lays
out a UMAP. Each case runs in a process of its own. Both sides may use all cores: scanpy's neighbours and BLAS do, and
ours spreads runs over `--workers` processes, by default as many as there are cores.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

LEVELS = (0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0)
SEEDS = 20
NEIGHBORS = 124
"""The paper's 125, the point itself counted."""


def vectors(rows: int, features: int):
    """SIMULATED: points in groups that overlap, in a plane of 20 dimensions with little noise around it."""
    import numpy as np

    rng = np.random.default_rng(0)
    outer, inner = rng.normal(size=(8, 20)), rng.normal(size=(40, 20))
    group = rng.integers(40, size=rows)
    latent = outer[group % 8] + 0.6 * inner[group] + rng.normal(size=(rows, 20))
    plane = rng.normal(size=(20, features))
    made = np.empty((rows, features), "float32")
    for start in range(0, rows, 4096):  # in double precision all at once would be the peak of memory
        block = latent[start : start + 4096]
        made[start : start + 4096] = block @ plane + rng.normal(size=(len(block), features))
    return made


def ours(rows: int, features: int, neighbors: int, seeds: int, workers: int) -> dict:
    from subcell.atlas.clusters.graph import neighbour_graph
    from subcell.atlas.clusters.plan import find_levels, steps_of

    points = vectors(rows, features)
    start = time.perf_counter()
    graph = neighbour_graph(points, neighbors, 0)
    connected = time.perf_counter() - start
    steps = steps_of("resolutions", levels=LEVELS, neighbors=neighbors, paper_levels=[], ladder={})
    found = find_levels(graph, points, None, steps, seeds=seeds, seed=0, workers=workers)
    return {
        "seconds": time.perf_counter() - start,
        "neighbours": connected,
        "clusters": [level.clusters for level in found.levels],
        "stability": [round(float(stable.clusters.mean()), 3) for stable in found.seeds],
    }


def scanpy_loop(rows: int, features: int, neighbors: int, seeds: int, workers: int) -> dict:
    import anndata
    import pandas as pd
    import scanpy as sc

    points = anndata.AnnData(vectors(rows, features))
    start = time.perf_counter()
    sc.pp.neighbors(points, n_neighbors=neighbors + 1, use_rep="X", random_state=0)
    connected = time.perf_counter() - start
    clusters, stability = [], []
    for resolution in LEVELS:
        runs = []
        for seed in range(seeds + 1):
            sc.tl.leiden(points, resolution, random_state=seed, flavor="igraph", n_iterations=2, directed=False)
            runs.append(points.obs["leiden"].to_numpy())
        best = []
        for other in runs[1:]:
            shared = pd.crosstab(runs[0], other).to_numpy()
            union = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0) - shared
            best.append((shared / union).max(axis=1))
        clusters.append(len(set(runs[0])))
        stability.append(round(float(sum(best).mean() / len(best)), 3) if best else None)
    return {
        "seconds": time.perf_counter() - start, "neighbours": connected, "clusters": clusters, "stability": stability,
    }  # fmt: skip


def apart(side: str, **settings: int) -> dict:
    """One side in a process of its own, with its peak memory."""
    done = subprocess.run(
        [sys.executable, __file__, "one", side, json.dumps(settings)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def one(side: str, settings: str) -> None:
    found = {"ours": ours, "peer": scanpy_loop}[side](**json.loads(settings))
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)  # only then are its processes counted
    times = os.times()
    spent = times.user + times.system + times.children_user + times.children_system
    kilobytes = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps(found | {"memory_gb": max(kilobytes) / 1e6, "cpu_seconds": spent}))


def row(case, mine, peer, unit, ratio) -> None:
    cells = [
        "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value) for value in (mine, peer)
    ]
    print(case, *cells, unit, "" if ratio is None else f"{ratio:.2f}", sep="\t", flush=True)


HEADER = ("case", "ours", "peer", "unit", "ratio")


def speed(rows: int, features: int, workers: int) -> None:
    print(*HEADER, sep="\t")
    settings = {"rows": rows, "features": features, "neighbors": NEIGHBORS, "seeds": SEEDS, "workers": workers}
    mine = apart("ours", **settings)
    print(f"ours: {mine}", file=sys.stderr, flush=True)
    peer = apart("peer", **settings)
    what = f"{rows:,} x {features:,}, 7 levels, {SEEDS} seeds"
    row(f"map of {what}, {workers} workers", mine["seconds"], peer["seconds"], "s", peer["seconds"] / mine["seconds"])
    row("  processor time, both with imports", mine["cpu_seconds"], peer["cpu_seconds"], "s",
        peer["cpu_seconds"] / mine["cpu_seconds"])  # fmt: skip
    row("  of it neighbours", mine["neighbours"], peer["neighbours"], "s", peer["neighbours"] / mine["neighbours"])
    row("  peak memory of the largest process", mine["memory_gb"], peer["memory_gb"], "GB",
        peer["memory_gb"] / mine["memory_gb"])  # fmt: skip
    for name in ("clusters", "stability"):
        row(f"  {name} by level", *(" ".join(map(str, side[name])) for side in (mine, peer)), "", None)
    if workers > 1:
        alone = apart("ours", **settings | {"workers": 1})
        row(f"map of {what}, 1 worker", alone["seconds"], peer["seconds"], "s", peer["seconds"] / alone["seconds"])


def growth(sizes: list[int], features: int, workers: int) -> None:
    """How time and memory grow with the rows; ours alone, since the peer would need hours."""
    print(*HEADER, sep="\t")
    for size in sizes:
        found = apart("ours", rows=size, features=features, neighbors=15, seeds=3, workers=workers)
        row(f"growth: {size:,} rows, 15 neighbours, 3 seeds", found["seconds"], None, "s", None)
        row("  of it neighbours", found["neighbours"], None, "s", None)
        row("  peak memory", found["memory_gb"], None, "GB", None)


def truth() -> None:
    """SIMULATED truth: what each method recovers of a planted hierarchy, and how often enrichment finds what is not there."""
    import tempfile

    import numpy as np
    from sklearn.metrics import adjusted_rand_score

    from subcell.atlas.clusters.leiden import best_overlaps
    from subcell.atlas.knowledge.enrichment import Limits, count_and_test
    from subcell.atlas.knowledge.gene_sets import GeneSets, of_units
    from subcell.atlas.map.map import Settings, build_map
    from subcell.atlas.units.planted import plant

    print("# SIMULATED cells with a planted hierarchy")
    print("method", "levels (clusters)", "ARI compartment", "ARI sub-structure", "complexes found", "sets found",
          "null sets found", sep="\t")  # fmt: skip
    planted = plant(genes=720, distances=(2.2, 1.6, 1.2, 1.2), field_effect=1.0, cell_noise=3.0, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        cells = Path(folder) / "cells.h5ad"
        planted.cells.write_h5ad(cells)
        sets = Path(folder) / "planted.tsv"
        rng = np.random.default_rng(0)
        lines = [f"{name}\t{gene}" for column in ("substructure", "complex")
                 for gene, name in planted.genes[column].dropna().items()]  # fmt: skip
        lines += [f"null {number}\t{gene}" for number in range(100)
                  for gene in rng.choice(planted.genes.index, 12, replace=False)]  # fmt: skip
        sets.write_text("\n".join(lines) + "\n")
        for method, more in {
            "resolutions": {"levels": (0.05, 0.5, 2.0, 6.0)},
            "paper": {"paper_levels": [(0.0, 125), (0.15, 60), (0.3, 30), (0.8, 10)]},
            # As many neighbours as a sub-structure has genes: with fewer, the graph falls into them.
            "ladder": {"neighbors": 80, "ladder": {"lowest": 0.01, "highest": 12.0, "rungs": 40, "most_levels": 8}},
        }.items():
            settings = Settings(method=method, gene_sets=[{"name": "planted", "file": str(sets)}], curve=0, **more)
            found = build_map(cells, settings)
            obs = planted.genes.loc[found.units.obs_names]
            labels = [
                found.units.obs[f"level_{level}"].cat.codes.to_numpy() for level in found.tables["levels"]["level"]
            ]
            ari = {
                column: max(adjusted_rand_score(obs[column], level) for level in labels)
                for column in ("compartment", "substructure")
            }
            inside = obs["complex"].notna().to_numpy()
            codes = obs.loc[inside, "complex"].astype("category").cat.codes.to_numpy()
            overlap = np.max([best_overlaps(codes.astype(int), level[inside].astype(int)) for level in labels], axis=0)
            listed = found.tables["enrichment"]
            hits = listed[(listed["source"] == "planted") & (listed["q_value"] <= 0.05)]
            terms = set(hits["term"])
            real = {term for term in terms if not term.startswith("null")}
            print(method, " ".join(map(str, found.tables["levels"]["clusters"])), f"{ari['compartment']:.2f}",
                  f"{ari['substructure']:.2f}", f"{(overlap >= 0.5).sum()} of {len(overlap)}",
                  f"{len(real)} of {obs['complex'].nunique() + obs['substructure'].nunique()}",
                  f"{len(terms - real)} of 100", sep="\t", flush=True)  # fmt: skip

    # Nothing is planted: labels that know nothing of the sets. The share of data sets with any finding is the rate of
    # false discoveries, because every finding is false.
    rng = np.random.default_rng(1)
    genes = planted.genes.index
    drawn = {f"set {n}": frozenset(rng.choice(genes, int(rng.integers(4, 60)), replace=False)) for n in range(200)}
    member = of_units(GeneSets("null", drawn), planted.genes.reset_index())
    any_found = [
        bool((count_and_test(rng.integers(clusters, size=len(genes)), member, Limits())["q_value"] <= 0.05).any())
        for clusters in (5, 20, 60)
        for _ in range(200)
    ]
    print(f"# null data sets with any finding at 5 %: {sum(any_found)} of {len(any_found)} ({np.mean(any_found):.1%})")


def null(datasets: int) -> None:
    """SIMULATED cells in which nothing is planted, through the whole map: how often it finds a term all the same.

    Genes differ from each other and no more; what is known of them (two files of gene sets, small ones and such as lie
    within each other, as GO's do, and locations, plates and widths of images) is dealt by chance. Units are genes in one
    half of the data sets and antibodies in the other, up to three of a gene that look alike.
    """
    import tempfile

    import numpy as np
    import pandas as pd

    from subcell.atlas.map.map import Settings, build_map
    from subcell.atlas.units.planted import plant

    rates = []
    for number in range(datasets):
        unit = ("gene", "antibody")[number % 2]
        rng = np.random.default_rng(number)
        planted = plant(genes=240, distances=(0, 0, 0, 2.0), second_antibodies=0.8, seed=number)
        genes = planted.genes.index.to_numpy()
        small = {f"small {n}": rng.choice(genes, int(rng.integers(4, 12)), replace=False) for n in range(150)}
        nested = {}
        for n in range(40):
            inside = rng.permutation(genes)[: int(rng.integers(20, 100))]
            nested |= {f"nested {n} {share}": inside[: len(inside) // share] for share in (1, 2, 4)}
        with tempfile.TemporaryDirectory() as folder:
            planted.cells.write_h5ad(Path(folder) / "cells.h5ad")
            sources = []
            for name, sets in {"small sets": small, "nested sets": nested}.items():
                rows = "".join(f"{term}\t{gene}\n" for term, inside in sets.items() for gene in inside)
                (Path(folder) / f"{name}.tsv").write_text(rows)
                sources.append({"name": name, "file": str(Path(folder) / f"{name}.tsv")})
            settings = Settings(unit=unit, gene_sets=sources, enrichment={"shuffles": 0}, levels=(0.2, 0.5, 1, 2),
                                seeds=1, bootstraps=0, curve=0)  # fmt: skip
            controls = build_map(Path(folder) / "cells.h5ad", settings).tables["enrichment_controls"]
        rates.append(controls.assign(dataset=number, unit=unit, found=controls["significant"] > 0))
    table = pd.concat(rates, ignore_index=True)
    # Benjamini-Hochberg is over the tests of a level and source, so that is what must stay at 5 %.
    print(f"# {datasets} SIMULATED data sets in which nothing is planted")
    print("unit", "source", "levels tested", "with a finding at 5 %", "share", sep="\t")
    for (unit, source), part in table.groupby(["unit", "source"], sort=False):
        print(unit, source, len(part), int(part["found"].sum()), f"{part['found'].mean():.1%}", sep="\t")
    print("all", "all", len(table), int(table["found"].sum()), f"{table['found'].mean():.1%}", sep="\t")
    any_found = table.groupby("dataset")["found"].any()
    sources, levels = table["source"].nunique(), table["level"].nunique()
    print(f"# data sets with a finding of any of {sources} sources at any of {levels} levels: {any_found.sum()} of {datasets}"
          f" ({any_found.mean():.1%})", flush=True)  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(*sys.argv[2:])
        raise SystemExit
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", nargs="?", choices=["all", "speed", "growth", "truth", "null"], default="all")
    arguments.add_argument("--datasets", type=int, default=40, help="without anything planted")
    arguments.add_argument("--rows", type=int, default=10_000)
    arguments.add_argument("--features", type=int, default=1536)
    arguments.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    arguments.add_argument("--growth", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    chosen = arguments.parse_args()
    if chosen.what in ("all", "speed"):
        speed(chosen.rows, chosen.features, chosen.workers)
    if chosen.what in ("all", "growth"):
        growth(chosen.growth, chosen.features, chosen.workers)
    if chosen.what in ("all", "truth"):
        truth()
    if chosen.what in ("all", "null"):
        null(chosen.datasets)
