"""A dry run of the whole atlas at 1,000, 10,000 and 100,000 fields, beside Snakemake's dry run of an empty workflow.

The number of fields sets the number of shards (at most 256), and shards set the jobs. `30x30` stands for 30 datasets of one
shard each and 30 models, every model on every dataset and benchmark. CPU seconds are user and system together; other
work on the machine changes them less than the clock.

Usage: python speed/scale.py [fields or DATASETSxMODELS ...]
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
FIELDS_A_SHARD = 256
MOST_SHARDS = 256


def dry_run(folder, *arguments):
    """Seconds on the clock, CPU seconds, peak megabytes and jobs of a dry run."""
    code = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], capture_output=True, text=True);"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(done.stdout + done.stderr);"
        "print('USED', used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, done.returncode)"
    )
    snakemake = str(Path(sys.executable).parent / "snakemake")
    start = time.monotonic()
    said = subprocess.run(
        [sys.executable, "-c", code, snakemake, "-n", *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    seconds = time.monotonic() - start
    _, cpu_s, megabytes, status = said.strip().splitlines()[-1].split()
    assert status == "0", said[-3000:]
    jobs = re.search(r"^total\s+(\d+)", said, re.MULTILINE)
    return seconds, float(cpu_s), float(megabytes), int(jobs[1]) if jobs else 0


def atlas(fields):
    """The whole atlas with so many fields."""
    config = yaml.safe_load((ROOT / "config/hpa-full.yaml").read_text())
    shards = min(MOST_SHARDS, -(-fields // FIELDS_A_SHARD))
    config["datasets"]["hpa"]["shards"] = shards
    return f"{fields:,} fields in {shards} shards", config


def crossed(datasets, models):
    """So many datasets and models: a third of these trained, the others untrained."""
    untrained = {
        f"untrained{n}": {"kind": "random_vit", "size": "tiny", "seed": n} for n in range(models - models // 3)
    }
    trained = {
        f"trained{n}": {"kind": "subcell", "recipe": "mae-cells", "size": "tiny", "train_on": ["d0"], "seed": n}
        for n in range(models // 3)
    }
    config = {
        "datasets": {f"d{n}": {"source": "simulate", "shards": 1, "seed": n + 1} for n in range(datasets)},
        "models": untrained | trained,
        "scoring": {"reference": "untrained0"},
    }
    return f"{datasets} datasets x {models} models", config


def main():
    asked = [text.split("x") for text in sys.argv[1:]] or [["1000"], ["10000"], ["100000"]]
    sizes = [list(map(int, numbers)) for numbers in asked]
    print("case\tours\tpeer\tunit\tratio")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text("rule all:\n    input: []\n")
        bare = dry_run(folder)
        for number, size in enumerate(sizes):
            case, config = crossed(*size) if len(size) == 2 else atlas(*size)
            config["pathvars"] = {"results": str(folder / f"r{number}"), "logs": str(folder / f"l{number}")}
            path = folder / f"{number}.yaml"
            path.write_text(yaml.safe_dump(config))
            measured = dry_run(ROOT, "--configfile", path)
            names = ("dry run", "CPU", "memory", "jobs")
            for what, unit, ours, peer in zip(names, ("s", "s", "MB", "jobs"), measured, bare, strict=True):
                print(f"{case}: {what}\t{ours:.4g}\t{peer:.4g}\t{unit}\t", flush=True)


if __name__ == "__main__":
    main()
