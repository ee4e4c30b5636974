"""A dry run of the whole atlas at 1,000, 10,000 and 100,000 fields, beside Snakemake's dry run of an empty workflow.

The number of fields sets the number of shards (at most 256), and shards set the jobs. CPU seconds are
user and system together; other work on the machine changes them less than the clock.

Usage: python benchmarks/scale.py [fields ...]
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


def main():
    sizes = [int(text) for text in sys.argv[1:]] or [1_000, 10_000, 100_000]
    print("case\tours\tpeer\tunit\tratio")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text("rule all:\n    input: []\n")
        bare = dry_run(folder)
        for fields in sizes:
            config = yaml.safe_load((ROOT / "config/hpa-full.yaml").read_text())
            shards = min(MOST_SHARDS, -(-fields // FIELDS_A_SHARD))
            config["pathvars"] = {"results": str(folder / f"r{fields}"), "logs": str(folder / f"l{fields}")}
            config["datasets"]["hpa"]["shards"] = shards
            path = folder / f"{fields}.yaml"
            path.write_text(yaml.safe_dump(config))
            measured = dry_run(ROOT, "--configfile", path)
            names = ("dry run", "CPU", "memory", "jobs")
            for what, unit, ours, peer in zip(names, ("s", "s", "MB", "jobs"), measured, bare, strict=True):
                print(f"{fields:,} fields in {shards} shards: {what}\t{ours:.4g}\t{peer:.4g}\t{unit}\t", flush=True)


if __name__ == "__main__":
    main()
