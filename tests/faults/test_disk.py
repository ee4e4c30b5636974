"""A full disk, a read-only one, damaged and lost files, and a clock that goes back."""

import os
import shutil
import subprocess
import time

import pytest
from chain import finish, jobs_done, run
from compare import differences
from disk import small_disk


def test_a_full_disk(fresh, undisturbed, table):
    """The disk grows a little after each failure, so that several stages meet its end."""
    total_mb = -(-int(subprocess.check_output(["du", "-sm", undisturbed / "results"]).split()[0]) * 3 // 2)
    lines = []
    with small_disk(fresh / "results", 1) as remount:
        for share in (0.1, 0.3, 0.6):
            remount(f"size={max(1, int(total_mb * share))}m")
            code, text = run(fresh, "--cores", 2)
            if code:
                assert "no space is left on the disk" in text or "No space left on device" in text, text[-3000:]
                lines += [line.strip() for line in text.splitlines() if "no space is left" in line]
        remount("size=1g")
        finish(fresh, "--cores", 2)
        assert lines, "no job said in one line that the disk is full"
        assert differences(fresh / "results", undisturbed / "results") == []
        done = jobs_done((fresh / "chain.out").read_text())
        assert sorted(done) == sorted(jobs_done((undisturbed / "chain.out").read_text()))
    table("disk full, three times", lines[0], "the jobs that failed", "equal")


def test_read_only_results(fresh, undisturbed, table):
    with small_disk(fresh / "results", 1000) as remount:
        finish(fresh, "results/tiny/fields/0000.parquet", "--cores", 2)
        remount("ro")
        code, text = run(fresh, "--cores", 2)
        assert code != 0
        assert "Read-only file system" in text or "read-only" in text
        remount("rw")
        finish(fresh, "--cores", 2)
        assert differences(fresh / "results", undisturbed / "results") == []
    table("read-only results", "[Errno 30] Read-only file system: '...'", "nothing had been lost", "equal")


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def corrupt(path):
    """Other bytes, the same size and time: what a bad disk does. Of a folder, its largest file."""
    if path.is_dir():
        path = max(path.rglob("*"), key=lambda file: file.stat().st_size * file.is_file())
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[: len(data) // 2] = os.urandom(len(data) // 2)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (truncate, "fields/0001.parquet"),
        (corrupt, "cells/0001.parquet"),
        (corrupt, "masks/0001.zarr"),
        (truncate, "crops/0001.h5sc"),
        (corrupt, "random_vit/cells.h5ad"),
    ],
)
def test_a_damaged_file_is_named_deleted_and_made_again(finished, undisturbed, table, damage, name):
    path = finished / "results/tiny" / name
    damage(path)
    # What reads it; a truncated file is newer and is read anyway.
    for reader in ("crops/0001.h5sc", "random_vit/cells.h5ad", "random_vit/benchmarks/cell_line.json"):
        if reader != name:
            (finished / "results/tiny" / reader).unlink()
    code, text = run(finished, "--cores", 2)
    line = next((line.strip() for line in text.splitlines() if path.name in line and "delete" in line), "")
    assert code != 0
    assert line, text[-4000:]
    before = len(jobs_done((finished / "chain.out").read_text()))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    finish(finished, "--cores", 2)
    assert differences(finished / "results", undisturbed / "results") == []
    done = jobs_done((finished / "chain.out").read_text())[before:]
    table(f"{damage.__name__}: {name}", line, ", ".join(sorted(set(done))), "equal")


def test_a_shard_deleted_by_hand(finished, undisturbed, table):
    (finished / "results/tiny/crops/0001.h5sc").unlink()
    # What nothing needs stays away; the explorer reads all crops.
    text = finish(finished, "--cores", 2, "--forcerun", "explore")
    assert differences(finished / "results", undisturbed / "results") == []
    table("a shard of crops deleted by hand", "-", ", ".join(sorted(set(jobs_done(text)))) or "nothing", "equal")


TO_NOW = 'now=$(date +%FT%T); find results -newermt "$now" -exec touch -h -d "$now" {} +'
"""What docs/cluster.md says to do."""


def test_the_clock_goes_back(fresh, undisturbed, table):
    """The first stages ran when the clock was a day ahead."""
    finish(fresh, "results/tiny/masks/0000.zarr", "results/tiny/masks/0001.zarr", "--cores", 2)
    ahead = time.time() + 86_400
    for path in (fresh / "results").rglob("*"):
        os.utime(path, (ahead, ahead), follow_symlinks=False)
    # Snakemake refuses files that are older than what they were made from, so the times are set right first.
    code, said = run(fresh, "--cores", 2)
    assert code != 0
    assert "clock skew" in said
    subprocess.run(["bash", "-c", TO_NOW], cwd=fresh, check=True)
    text = finish(fresh, "--cores", 2)
    assert differences(fresh / "results", undisturbed / "results") == []
    _, after = run(fresh, "-n")
    assert "Nothing to be done" in after
    table(
        "clock going back by a day",
        "Output ... has older modification time ... clock skew",
        ", ".join(sorted(set(jobs_done(text)))),
        "equal, after the times are set to now (docs/cluster.md)",
    )
