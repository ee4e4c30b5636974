"""What the benchmark suite of a finished run took: job-seconds of its rules, from Snakemake's benchmark files.

Usage: PYTHONPATH=workflow/scripts python speed/suite.py [LOGS] [GOAL_S]

LOGS is the folder of logs of a run (logs), GOAL_S what two processors may take (180). Seconds of jobs that run side by side are
longer than alone, so half of their sum is what two processors were busy for, not what an idle machine would need.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import pandas as pd  # noqa: E402

from subcell.config.suite import SUITE  # noqa: E402
from subcell.reporting.provenance.runtime import read_jobs, summarise_jobs  # noqa: E402

RULES = {*SUITE} | {"controls", "check_leakage", "summarize"}

PROCESSORS = 2
GOAL_S = 180.0


def suite_of(jobs: pd.DataFrame) -> list[dict]:
    """One entry a rule of the suite, the longest in total first; controls of all benchmarks are one."""
    steps = jobs["step"].str.replace(r"^controls_.*", "controls", regex=True)
    return summarise_jobs(jobs.assign(step=steps)[steps.isin(RULES)])


def main(logs: str = "logs", goal: str = str(GOAL_S)) -> None:
    rules = suite_of(read_jobs(logs))
    if not rules:
        raise SystemExit(
            f"{logs} holds no benchmark files of a suite; run the workflow first, or name its folder of logs"
        )
    print("case\tours\tpeer\tunit\tratio")
    for entry in rules:
        print(f"{entry['step']}, {entry['jobs']} jobs\t{entry['seconds']:.0f}\t\ts\t")
    total = sum(entry["seconds"] for entry in rules)
    print(f"all, {sum(entry['jobs'] for entry in rules)} jobs one after another\t{total:.0f}\t\ts\t")
    half = total / PROCESSORS
    print(f"all, over {PROCESSORS} processors\t{half:.0f}\t{float(goal):g}\ts\t{float(goal) / max(half, 1e-9):.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
