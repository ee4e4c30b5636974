"""What is said when a run ends without a report: which scores it waits for, and what would help."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

NAMED = 10


def missing_scores(
    scores: Sequence[str | Path], *, vectors: Sequence[str | Path], qualities: Sequence[str | Path]
) -> str:
    """Say which scores are missing and what to do.

    Parameters
    ----------
    scores : files of all scores
    vectors : files of vectors that they are made from
    qualities : `<dataset>/quality.tsv` of each dataset with images
    """
    missing = [path for path in scores if not Path(path).exists()]
    named = "".join(f"\n  {path}" for path in missing[:NAMED])
    waits = f"No report yet: it needs every score, and {len(missing)} of {len(scores)} are missing{':' if named else '.'}{named}"
    empty = [Path(path).parent for path in qualities if Path(path).exists() and not _cells(path)]
    if empty:
        tables = ", ".join(str(folder / "set_aside.tsv") for folder in empty)
        return (
            f"{waits}\nNo cell was found in any field of {', '.join(folder.name for folder in empty)}; {tables} says why. No "
            "benchmark is what fails: correct the sheet (pixel size, channels) or the segmentation, or leave the dataset out, "
            "and run again."
        )
    if vectors and not any(Path(path).exists() for path in vectors):
        return (
            f"{waits}\nNothing has been embedded yet, so no benchmark is what fails: the errors above say what does. When "
            "that is mended the same command goes on where it was."
        )
    return (
        f"{waits}\nThe same command goes on where it was. For a report without what fails, leave that out of `benchmarks`, of "
        "a dataset's `benchmarks`, or of a model's `evaluate_on`, and run again."
    )


def _cells(quality: str | Path) -> float:
    """Cells of all lines together."""
    with Path(quality).open(encoding="utf-8", newline="") as table:
        rows = csv.DictReader(table, delimiter="\t")
        return sum(float(row["value"]) for row in rows if row["metric"] == "cells" and not row["cell_line"])
