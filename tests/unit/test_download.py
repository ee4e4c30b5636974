"""Fetching files from a server that misbehaves, with real sockets and real kills."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faulty_server import CUTTING, LASTING, PASSING, Site, first, http_date, serve, sometimes
from PIL import Image

from subcell.catalog.fields import as_fields
from subcell.errors import ImageError
from subcell.imaging.read import read_plane
from subcell.sources.download import Cache, Downloader, Failed, Limits, Record, Unreachable
from subcell.sources.images import link_images

QUICK = {"pause_s": 0.01, "longest_pause_s": 5, "connect_timeout_s": 2, "stall_timeout_s": 0.3}
COLORS = {"microtubules": "red", "er": "yellow", "nucleus": "blue", "protein": "green"}


def downloader(folder, log=lambda text: None, hosts=(), stop_on_outage=False, **limits):
    return Downloader(Cache(folder), Limits(**{**QUICK, **limits}), tuple(hosts), stop_on_outage, log)


def picture(seed, size=64):
    image = np.random.default_rng(seed).integers(0, 256, (size, size), np.uint8)
    path = Path(f"/dev/shm/{os.getpid()}.png") if Path("/dev/shm").is_dir() else Path(f"{os.getpid()}.png")
    Image.fromarray(image).save(path, compress_level=0)
    data = path.read_bytes()
    path.unlink()
    return data


def readable(url, path):
    read_plane(path)


def files_of(cache):
    """Files under their final names."""
    return [path for path in Path(cache).glob("??/*") if path.suffix == "" and path.name != ".lock"]


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_costs_tries_and_nothing_else(tmp_path, fault):
    body = picture(1)
    # Range is only asked for when something has come, so those faults follow a cut.
    order = ["truncated", fault] if fault in ("no_range", "wrong_range") else [fault]
    site = Site({"/a.png": body}, lambda path, number: order[number] if number < len(order) else None)
    with serve(site):
        url = f"{site.address}/a.png"
        record = downloader(tmp_path).fetch([url], readable)[url]
    assert isinstance(record, Record)
    assert record.tries >= len(order)
    assert Cache(tmp_path).path(url).read_bytes() == body
    assert record.sha256 == hashlib.sha256(body).hexdigest()
    assert not list(tmp_path.glob("??/*.part*"))


@pytest.mark.parametrize("fault", [*LASTING, "html", "empty", "500"])
def test_what_does_not_pass_is_given_up_and_nothing_stays_under_its_name(tmp_path, fault):
    site = Site({"/a.png": picture(1)}, lambda path, number: fault)
    with serve(site):
        url = f"{site.address}/a.png"
        outcome = downloader(tmp_path, tries=3).fetch([url], readable)[url]
    assert isinstance(outcome, Failed)
    assert outcome.tries == (1 if fault in LASTING else 3)
    if fault == "redirect_elsewhere":
        assert "127.0.0.2:9, which is not among the hosts allowed" in str(outcome)
    assert files_of(tmp_path) == []


@pytest.mark.parametrize("fault", [*PASSING, *LASTING, *CUTTING])
def test_no_misbehaviour_is_asked_for_ever(tmp_path, fault):
    """Every try may bring nothing; besides those, there are at most as many as the file has pieces of 64 KiB."""
    body = picture(1, size=400)
    # Range is only asked for when something has come, so what ignores it follows a cut.
    order = ["truncated"] if "range" in fault else []
    site = Site({"/a.png": body}, lambda path, number: order[number] if number < len(order) else fault)
    with serve(site):
        url = f"{site.address}/a.png"
        downloader(tmp_path, tries=4, stall_timeout_s=0.05).fetch([url], readable)
    pieces = len(body) // (64 * 1024)
    redirects = 6 if fault == "redirect_loop" else 1
    assert len(site.requests) <= redirects * (4 * (1 + pieces))
    if fault in CUTTING:
        assert 4 <= len(site.requests) <= 4 + 2 + pieces


def test_a_redirect_is_followed_to_hosts_that_were_named_and_to_no_others(tmp_path):
    with serve(Site({"/a.png": picture(1)})) as there:
        moved = Site({"/a.png": b"x"}, lambda path, number: "redirect_elsewhere", elsewhere=f"{there.address}/a.png")
        with serve(moved) as here:
            url, host = f"{here.address}/a.png", there.address.removeprefix("http://")
            assert isinstance(downloader(tmp_path / "1").fetch([url], readable)[url], Failed)
            assert there.requests == []
            assert isinstance(downloader(tmp_path / "2", hosts=[host]).fetch([url], readable)[url], Record)


def test_a_cut_file_goes_on_where_it_stopped(tmp_path):
    body = picture(2, size=1024)
    site = Site({"/a.png": body}, first("truncated", times=3))
    with serve(site):
        url = f"{site.address}/a.png"
        record = downloader(tmp_path, tries=1).fetch([url], readable)[url]
    # Each try brought much, so that even a single try allowed is enough.
    assert isinstance(record, Record)
    assert record.tries == 4
    assert [asked != "" for _, _, asked in site.requests] == [False, True, True, True]
    assert site.sent == len(body)


def test_files_that_changed_on_the_server_are_not_pieced_together(tmp_path):
    old, new = picture(3, size=256), picture(4, size=256)

    def fault(path, number):
        if number == 1:
            site.files[path] = new
        return "truncated" if number == 0 else None

    site = Site({"/a.png": old}, fault)
    with serve(site):
        url = f"{site.address}/a.png"
        assert isinstance(downloader(tmp_path).fetch([url], readable)[url], Record)
    assert Cache(tmp_path).path(url).read_bytes() == new


@pytest.mark.parametrize("header", ["1", "date"])
def test_retry_after_is_honoured_by_all_connections(tmp_path, header):
    site = Site({f"/{i}.png": picture(i) for i in range(2)}, lambda path, number: "503" if number == 0 else None)
    site.retry_after = "1" if header == "1" else http_date(2)
    with serve(site):
        urls = [f"{site.address}{path}" for path in site.files]
        outcomes = downloader(tmp_path, connections=1).fetch(urls, readable)
    assert all(isinstance(outcome, Record) for outcome in outcomes.values())
    times = [when for when, _, _ in site.requests]
    assert times[1] - times[0] >= 0.9


def test_a_wait_beyond_the_limit_gives_up_at_once(tmp_path):
    site = Site({"/a.png": picture(1)}, lambda path, number: "503", retry_after="3600")
    with serve(site):
        url = f"{site.address}/a.png"
        assert downloader(tmp_path).fetch([url], readable)[url].tries == 1


def test_what_is_there_is_not_asked_for_again(tmp_path):
    site = Site({"/a.png": picture(1), "/b.png": picture(2)})
    with serve(site):
        urls = [f"{site.address}{path}" for path in site.files]
        once = downloader(tmp_path).fetch(urls, readable)
        assert downloader(tmp_path).fetch(urls, readable) == once
        assert len(site.requests) == 2
        # Touched is still the same file, shortened is not.
        os.utime(Cache(tmp_path).path(urls[0]))
        with open(Cache(tmp_path).path(urls[1]), "r+b") as file:
            file.truncate(100)
        again = downloader(tmp_path).fetch(urls, readable)
    assert site.paths()[2:] == ["/b.png"]
    assert [record.sha256 for record in again.values()] == [record.sha256 for record in once.values()]


def test_connections_are_shared_by_jobs(tmp_path):
    site = Site({f"/{i}.png": picture(i) for i in range(60)}, bytes_per_s=400_000)
    with serve(site):
        urls = [f"{site.address}{path}" for path in site.files]
        jobs = [
            threading.Thread(target=downloader(tmp_path, connections=3).fetch, args=(part, readable))
            for part in (urls[::2], urls[1::2], urls[:20])
        ]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
    assert site.open_most <= 3
    assert len(site.requests) == 60
    assert len(files_of(tmp_path)) == 60


def test_a_server_that_is_down_ends_the_work_or_sets_aside(tmp_path):
    with serve(Site({})) as site:
        dead = site.address
    urls = [f"{dead}/{i}.png" for i in range(10)]
    with pytest.raises(Unreachable, match=r"brings nothing.*run again later"):
        downloader(tmp_path, stop_on_outage=True, tries=2).fetch(urls, readable)
    outcomes = downloader(tmp_path, tries=2).fetch(urls, readable)
    assert all(isinstance(outcome, Failed) for outcome in outcomes.values())


def test_what_may_not_be_fetched(tmp_path):
    for url, reason in (
        ("ftp://127.0.0.1/a.png", "only http and https"),
        ("file:///etc/passwd", "only http and https"),
        ("http://", "only http and https"),
        ("http://127.0.0.1:port/a.png", "not an address"),
    ):
        outcome = downloader(tmp_path).fetch([url], readable)[url]
        assert reason in str(outcome)
    site = Site({"/a.png": picture(1)})
    with serve(site):
        url = f"{site.address}/a.png"
        outcome = downloader(tmp_path, max_bytes=100).fetch([url], readable)[url]
    assert "more than the 100 bytes allowed" in str(outcome)
    assert files_of(tmp_path) == []


def test_progress_tells_files_bytes_and_time_left(tmp_path):
    site = Site({f"/{i}.png": picture(i) for i in range(3)})
    said = []
    with serve(site):
        downloader(tmp_path, log=said.append).fetch([f"{site.address}{path}" for path in site.files], readable)
    assert said[0] == "3 files to fetch, 0 are there, 3 connections"
    assert said[-1].startswith("3 of 3 files, 0.0 MB")
    assert "left" in said[-1]


def hpa_fields(address, count, sizes):
    """A table of fields with HPA's addresses, and the files behind them."""
    files, rows = {}, []
    for i in range(count):
        row = {"field_id": f"1_A{i}_1", "pixel_size_um": 0.08}
        for channel, color in COLORS.items():
            path = f"/{i % 7}/1_A{i}_1_{color}.png"
            files[path] = picture(len(files), size=sizes[len(files) % len(sizes)])
            row[channel] = f"{address}{path}"
        rows.append(row)
    return as_fields(pd.DataFrame(rows)), files


def test_two_hundred_fields_arrive_though_every_third_answer_is_faulty(tmp_path):
    site = Site({}, sometimes(0.3), retry_after="0")
    with serve(site):
        fields, site.files = hpa_fields(site.address, 200, [16, 24, 40])
        missing = [path for path in site.files if path.endswith("A17_1_blue.png") or path.endswith("A99_1_red.png")]
        for path in missing:
            del site.files[path]
        ledger, set_aside = link_images(fields, tmp_path / "out", downloader=downloader(tmp_path / "cache", tries=12))
    faults = sum(
        site.fault(path, site.paths()[:i].count(path)) is not None for i, path in enumerate(site.paths()[:300])
    )
    assert faults > 60
    assert set_aside["field_id"].tolist() == ["1_A17_1", "1_A99_1"]
    assert set_aside["reason"].str.contains("answers 404").all()
    good = ledger[ledger["status"] == "ok"]
    assert len(good) == 4 * 198
    for row in good.itertuples():
        body = site.files[row.url.removeprefix(site.address)]
        assert (tmp_path / "out" / row.file).read_bytes() == body
        assert row.sha256 == hashlib.sha256(body).hexdigest()
    assert len(files_of(tmp_path / "cache")) == 4 * 200 - 2


FETCH = """
import sys
from subcell.catalog.fields import read_fields
from subcell.sources import downloader_of
from subcell.sources.images import link_images
fields, cache, out = sys.argv[1:]
link_images(read_fields(fields), out, downloader=downloader_of({"cache": cache}, log=lambda text: None))
"""


def test_killed_ten_times_it_ends_as_if_undisturbed(tmp_path):
    from subcell.catalog.fields import write_fields

    scripts = Path(__file__).parents[2] / "workflow" / "scripts"
    site = Site({}, bytes_per_s=300_000)
    with serve(site):
        fields, site.files = hpa_fields(site.address, 30, [128, 320, 256])
        write_fields(fields, tmp_path / "fields.parquet")

        def start(name):
            arguments = [str(tmp_path / "fields.parquet"), str(tmp_path / f"{name}_cache"), str(tmp_path / name)]
            environment = {**os.environ, "PYTHONPATH": str(scripts)}
            return subprocess.Popen([sys.executable, "-c", FETCH, *arguments], env=environment)

        assert start("calm").wait() == 0
        needed, dice, kills = site.sent, random.Random(1), 0
        site.sent = 0
        while kills < 10:
            process = start("killed")
            before = len(site.requests)
            # The clock starts with its first request, so that every kill hits it at work.
            while len(site.requests) == before and process.poll() is None:
                time.sleep(0.005)
            time.sleep(dice.uniform(0, 0.35))
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
            assert process.wait() in (-signal.SIGKILL, 0)
            if process.returncode == 0:
                break
        if kills:
            assert start("killed").wait() == 0
    assert kills == 10
    assert site.sent < 1.05 * needed
    names = sorted(path.name for path in (tmp_path / "calm").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "killed").iterdir())
    for name in names:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "calm" / name).read_bytes(), name


def test_a_damaged_record_is_no_record(tmp_path):
    site = Site({"/a.png": picture(1)})
    with serve(site):
        url = f"{site.address}/a.png"
        downloader(tmp_path).fetch([url], readable)
        record = Cache(tmp_path).path(url).with_name(Cache(tmp_path).path(url).name + ".json")
        assert json.loads(record.read_text())["url"] == url
        record.write_text("{half")
        assert Cache(tmp_path).find(url) is None
        assert list(Cache(tmp_path).records()) == []
        assert isinstance(downloader(tmp_path).fetch([url], readable)[url], Record)
    assert len(site.requests) == 2


def test_a_full_disk_is_said_and_nothing_is_half_named(tmp_path):
    site = Site({"/a.png": picture(1)})
    with serve(site):
        url = f"{site.address}/a.png"

        def check(url, path):
            raise OSError(28, "No space left on device", str(path))

        with pytest.raises(OSError, match="No space left"):
            downloader(tmp_path).fetch([url], check)
    assert files_of(tmp_path) == []


def test_without_a_downloader_addresses_are_refused(tmp_path):
    fields = as_fields(pd.DataFrame([{"field_id": "a", "nucleus": "http://127.0.0.1:9/a.png"}]))
    with pytest.raises(ImageError, match="nothing was given to fetch it with"):
        link_images(fields, tmp_path / "out")
