"""What a suite took is the sum of its own rules, whatever else a run did."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "speed" / "suite.py"
TOOK = {
    "demo/m/localization": 10, "demo/n/localization": 5, "demo/controls_batch": 3, "demo/controls_localization": 4,
    "demo/m/measure_attention": 100, "demo/m/attention": 8, "demo/m/embed/0000": 50, "models/m/train": 300,
}  # fmt: skip


def test_job_seconds_of_the_suite_are_summed(tmp_path):
    for name, seconds in TOOK.items():
        path = tmp_path / f"{name}.benchmark.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"s": seconds, "cpu_time": seconds, "max_rss": 1}))
    said = subprocess.run([sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, check=True).stdout
    rows = [line.split("\t") for line in said.splitlines()[1:]]
    assert [row[:2] for row in rows[:3]] == [
        ["localization, 2 jobs", "15"],
        ["attention, 1 jobs", "8"],
        ["controls, 2 jobs", "7"],
    ]
    assert rows[-1] == ["all, over 2 processors", "15", "180", "s", "12.00"]
    none = subprocess.run([sys.executable, SCRIPT, tmp_path / "none"], capture_output=True, text=True)
    assert "run the workflow first" in none.stderr
