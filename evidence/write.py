"""Write docs/evidence.md from real cells and real proteins; `make evidence DATA=path/to/data` runs it.

    PYTHONPATH=workflow/scripts .venv/bin/python evidence/write.py --data ../shared/data

Needs the crops and the map of config/evidence.yaml, which the target makes first. Tables lie beside them as evidence.tsv.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from string import Template

import bbbc021
import hpa_fields
import hyperlopit
import numpy as np
import pandas as pd
from models import TRAINING, UNTRAINED, Pretrained

from subcell.errors import SubcellError
from subcell.replacing import replacing
from subcell.tables import write_table

TEMPLATE = Path(__file__).with_name("evidence.md")
MOST_CLUSTERS = 40


def write(data: Path, results: Path, pretrained: Path, out: Path, *, trainings: bool = True, log=print) -> pd.DataFrame:
    """Score the three sets, write the document and the table.

    Parameters
    ----------
    data : folder with the sets
    results : where the workflow made crops and map, and where trainings are kept
    pretrained : checkpoint
    out : document to write
    trainings : see `models.compare`

    Returns
    -------
    columns `scores.COLUMNS`
    """
    network = Pretrained.read(pretrained)
    vectors = data / "real_vectors"
    mapped = results / hyperlopit.NAME / "mass_spectrometry"
    lopit, clusters, proteins = hyperlopit.run(mapped, vectors / "hyperlopit_u2os.h5ad")
    crops = results / hpa_fields.NAME / "crops" / "0000.h5sc"
    place = results / f"scores_{hpa_fields.NAME}"
    fields, cells = hpa_fields.run(crops, network, place, trainings=trainings, log=log)
    crops, wells = data / "real_cells" / "bbbc021.h5sc", vectors / "bbbc021_wells.h5ad"
    place = results / f"scores_{bbbc021.NAME}"
    drugs, treated = bbbc021.run(crops, wells, network, place, trainings=trainings, log=log)
    levels = levels_table(
        *(pd.read_csv(mapped / f"{name}.tsv", sep="\t") for name in ("levels", "enrichment_controls"))
    )
    said = clusters[clusters["compartment"] != ""]
    epochs, batch = TRAINING["epochs"], TRAINING["items_per_batch"] * TRAINING["cells_per_item"]
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        trained="" if trainings else "**The rows of trained networks are left out: this run was asked not to train.**",
        training=f"Trainings: {epochs} epochs with batches of {batch} cells, one seed, one thread, settings alike.",
        network=network.words,
        hpa_counted=f"{cells['cells']:,} cells of {cells['fields']} fields, {cells['locations']} locations of "
        f"{hpa_fields.MIN_FIELDS} fields or more.",
        hpa_fields=score_tables(fields),
        hpa_verdict=verdict(fields),
        bbbc_counted=f"{treated['cells']:,} cells, {treated['wells']} wells, {treated['compounds']} compounds of "
        f"{treated['mechanisms']} mechanisms.",
        bbbc021=score_tables(drugs),
        bbbc_verdict=verdict(drugs),
        lopit_counted=f"{proteins['proteins']:,} proteins, {proteins['markers']} of them markers of "
        f"{proteins['compartments']} compartments.",
        hyperlopit=score_tables(lopit),
        levels=levels,
        most=MOST_CLUSTERS,
        named=f"{int((clusters['name'] != '').sum())} of {len(clusters)} clusters have a name; in {len(said)} of those "
        f"with enough markers the commonest compartment holds {said['share'].mean():.0%} of them on average.",
        clusters=markdown(clusters.head(MOST_CLUSTERS), {"stability": ".2f", "share": ".2f"}),
    )
    table = pd.concat([fields, drugs, lopit], ignore_index=True)
    write_table(table, results / "evidence.tsv", float_format="%.4g")
    with replacing(out) as to:
        to.write_text(text, encoding="utf-8")
    return table


def score_tables(table: pd.DataFrame) -> str:
    """A table a task, a row a model."""
    parts = []
    for task, rows in table.groupby("task", sort=False):
        first = rows.iloc[0]
        over = rows["over"].dropna()
        shown = pd.DataFrame(
            {
                "model": rows["model"],
                first["metric"]: [_interval(*numbers) for numbers in rows[["value", "low", "high"]].to_numpy(float)],
                "chance": [f"{chance:.3f}" for chance in rows["chance"].astype(float)],
                f"over {over.iloc[0]}" if len(over) else "over": [
                    _difference(*numbers) for numbers in rows[["over_value", "over_low", "over_high"]].to_numpy(float)
                ],
                f"n ({first['unit']}s)": rows["n"].astype(int),
                "seeds": rows["seeds"].astype(int),
            }
        )
        parts.append(f"{task.capitalize()}:\n\n{markdown(shown)}")
    return "\n\n".join(parts)


def verdict(table: pd.DataFrame) -> str:
    """In words, for every task: whether the pretrained network is above the untrained one, and above classical features."""
    lines = []
    for task, rows in table.groupby("task", sort=False):
        found = rows.set_index("model").loc["pretrained"]
        low, high = float(found["over_low"]), float(found["over_high"])
        side = "above" if low > 0 else "below" if high < 0 else "not told from"
        classical = float(rows.set_index("model").loc["handcrafted", "value"])
        than = "higher" if float(found["value"]) > classical else "no higher"
        lines.append(
            f"{task}: the pretrained network, without seeing a real cell, is {side} the untrained one ({UNTRAINED}), and "
            f"{than} than handcrafted features."
        )
    return "\n".join(f"- {line}" for line in lines)


def levels_table(levels: pd.DataFrame, controls: pd.DataFrame) -> str:
    """A row a level and source of terms."""
    rows = []
    for level in levels.to_dict("records"):
        for control in controls[controls["level"] == level["level"]].to_dict("records"):
            rows.append(
                {
                    "level": int(level["level"]),
                    "clusters": int(level["clusters"]),
                    "stable": int(level["stable_clusters"]),
                    "ARI of seeds": f"{level['ari_seeds']:.2f}",
                    "source": control["source"],
                    "clusters with a term": f"{int(control['clusters_enriched'])} of {int(control['clusters'])}",
                    "pairs": int(control["significant"]),
                    "shuffled": f"{control['shuffled_significant']:.1f}",
                }
            )
    return markdown(pd.DataFrame(rows))


def markdown(table: pd.DataFrame, formats: dict[str, str] | None = None) -> str:
    """A table as Markdown; what is missing is empty."""
    formats = formats or {}

    def cell(name: str, value: object) -> str:
        if value is None or (isinstance(value, float) and np.isnan(value)):
            return ""
        return format(value, formats.get(name, "")).replace("|", "/")

    rows = [[cell(name, value) for name, value in row.items()] for row in table.to_dict("records")]
    lines = [list(map(str, table.columns)), ["---"] * table.shape[1], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _difference(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return ""
    text = f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
    return f"**{text}**" if low > 0 or high < 0 else text


def main() -> None:
    """Write the document; one line where something is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--results", type=Path, default=Path("results/evidence"))
    parser.add_argument("--pretrained", type=Path, default=Path("resources/subcell_tiny.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("docs/evidence.md"))
    parser.add_argument("--without-trainings", action="store_true", help="score only what learns nothing here")
    asked = parser.parse_args()
    try:
        table = write(asked.data, asked.results, asked.pretrained, asked.out, trainings=not asked.without_trainings)
    except SubcellError as problem:
        sys.exit(str(problem))
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
