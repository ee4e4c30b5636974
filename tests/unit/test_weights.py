"""Released weights: the table, and fetching them from a server of this test's own."""

import hashlib
import http.server
import threading
from collections import Counter

import pytest
import torch

from subcell.catalog import released
from subcell.catalog.released import CHANNEL_SETS, VARIANTS, location_names, released_name, weight_files
from subcell.errors import ConfigError, SubcellError
from subcell.sources.download import Cache, Downloader
from subcell.sources.weights import PUBLISHED_AT, fetch_weights


def test_the_table_has_every_released_file_once():
    for channels in CHANNEL_SETS:
        for recipe, variant in VARIANTS.items():
            rows = weight_files(released_name(channels, recipe))
            assert [row.file for row in rows] == ["encoder.pth", *(f"location_{seed}.pth" for seed in range(10))]
            assert rows[0].url == f"{PUBLISHED_AT}/{channels}_{variant}.pth"
            short = variant.split("-")[0]
            assert rows[4].url.endswith(f"{channels}_{short}_MLP_classifier_seed_3.pth")
    every = weight_files()
    addresses = [row.url for row in every if row.url]
    assert len(addresses) == len(set(addresses)) == 88
    assert all(row.licence and row.source for row in every)
    assert all(len(row.sha256) in (0, 64) for row in every)
    assert len(location_names()) == 31
    assert location_names()[-1] == "Negative"
    with pytest.raises(ConfigError, match="known: all_channels_MAE"):
        weight_files("all_chanels")


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; counts requests; breaks off the first answer to each path in `cut`; knows byte ranges."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.asked = files, set(), Counter()
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked[self.path] += 1
        content = server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        begin = self.headers.get("Range")
        start = int(begin.removeprefix("bytes=").rstrip("-")) if begin else 0
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", '"one"')
        if begin:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.path in server.cut:
            server.cut.discard(self.path)
            self.wfile.write(content[start : start + (len(content) - start) // 2])
            self.close_connection = True
            return
        self.wfile.write(content[start:])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Two files of weights in a table of their own."""
    table = ["name\tfile\turl\tbytes\tsha256\tlicence\tsource"]
    files = {}
    for name in ("encoder", "location_0"):
        torch.save({"weight": torch.randn(200)}, tmp_path / f"published_{name}.pth")
        content = (tmp_path / f"published_{name}.pth").read_bytes()
        files[f"/published_{name}.pth"] = content
        digest = hashlib.sha256(content).hexdigest() if name == "encoder" else ""
        url = f"{PUBLISHED_AT}/published_{name}.pth"
        table.append(f"net\t{name}.pth\t{url}\t{len(content) if digest else ''}\t{digest}\tMIT\tcard")
    (tmp_path / "weights.tsv").write_text("\n".join(table) + "\n")
    monkeypatch.setattr(released, "WEIGHTS_FILE", tmp_path / "weights.tsv")
    return files


@pytest.fixture
def server(weights):
    server = Server(weights)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()


def fetch(server, tmp_path, **more):
    downloader = Downloader(Cache(tmp_path / "cache"), log=lambda line: None)
    fetch_weights("net", tmp_path / "out", downloader=downloader, mirror=server.address, **more)


def test_weights_are_fetched_once_and_go_on_where_they_were_cut(server, tmp_path, weights):
    server.cut.add("/published_encoder.pth")
    fetch(server, tmp_path)
    assert (tmp_path / "out" / "encoder.pth").read_bytes() == weights["/published_encoder.pth"]
    ledger = (tmp_path / "out" / "weights.tsv").read_text().splitlines()
    assert ledger[0].split("\t") == ["file", "url", "bytes", "sha256", "published_sha256", "licence", "source"]
    assert ledger[2].split("\t")[3] == hashlib.sha256(weights["/published_location_0.pth"]).hexdigest()
    assert server.asked["/published_encoder.pth"] == 2
    (tmp_path / "out" / "encoder.pth").unlink()
    fetch(server, tmp_path)
    assert (tmp_path / "out" / "encoder.pth").exists()
    assert sum(server.asked.values()) == 3


def test_another_file_than_the_published_one_is_refused(server, tmp_path, weights):
    weights["/published_encoder.pth"] = weights["/published_location_0.pth"]
    with pytest.raises(SubcellError, match=r"sha256|bytes instead"):
        fetch(server, tmp_path)
    assert not (tmp_path / "out").exists()


def test_files_whose_published_hash_is_unknown_are_named(server, tmp_path, weights):
    lines = []
    fetch(server, tmp_path, log=lines.append)
    assert len(lines) == 1
    assert lines[0].startswith("net: no published hash is known of location_0.pth;")
    encoder, location = (row.split("\t") for row in (tmp_path / "out" / "weights.tsv").read_text().splitlines()[1:])
    assert encoder[3] == encoder[4] == hashlib.sha256(weights["/published_encoder.pth"]).hexdigest()
    assert location[4] == "not known"


@pytest.mark.parametrize("damage", ["a wrong byte", "cut off"])
def test_damage_is_found_without_a_published_hash(server, tmp_path, weights, damage):
    whole = weights["/published_location_0.pth"]
    weight = whole.index(b"/data/0") + 200
    wrong = whole[:weight] + bytes([whole[weight] ^ 1]) + whole[weight + 1 :]
    weights["/published_location_0.pth"] = wrong if damage == "a wrong byte" else whole[:weight]
    with pytest.raises(SubcellError, match=r"published_location_0\.pth: .*damaged \("):
        fetch(server, tmp_path)


def test_a_missing_file_is_named(server, tmp_path, weights):
    del weights["/published_location_0.pth"]
    with pytest.raises(SubcellError, match=r"1 of 2 files.*published_location_0\.pth.*404.*weights\.folder"):
        fetch(server, tmp_path)


def test_files_of_a_folder_serve_without_network(weights, tmp_path):
    fetch_weights("net", tmp_path / "out", folder=tmp_path)
    assert (tmp_path / "out" / "location_0.pth").read_bytes() == weights["/published_location_0.pth"]
    (tmp_path / "published_encoder.pth").write_bytes(b"<html>not found</html>")
    with pytest.raises(SubcellError, match="not a PyTorch file, it begins with b'<htm'"):
        fetch_weights("net", tmp_path / "out", folder=tmp_path)
    assert (tmp_path / "out" / "encoder.pth").exists(), "what was there before stays"
