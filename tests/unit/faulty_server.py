"""A web server on this machine that serves files and misbehaves on demand, over real sockets."""

import hashlib
import random
import re
import socket
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"<!DOCTYPE html><html><body>Service temporarily overloaded</body></html>"

PASSING = ("500", "503", "reset", "truncated", "empty", "html", "drip", "wrong_length", "no_range", "wrong_range")
"""Faults that another try gets over."""

CUTTING = ("no_range_cut", "wrong_range_cut", "other_version_cut")
"""Servers and proxies that cut every answer after 64 KiB and cannot go on where it stopped."""

LASTING = ("404", "redirect_loop", "redirect_elsewhere", "redirect_file")


@dataclass
class Site:
    """What the server has and how it behaves.

    Attributes
    ----------
    files : path -> bytes
    fault : (path, number of the request for it, from 0) -> name of a fault or None
    retry_after : value of that header in a 503
    bytes_per_s : how fast one body goes out; None is as fast as it can
    elsewhere : where `redirect_elsewhere` leads
    """

    files: dict[str, bytes]
    fault: object = None
    retry_after: str = "0"
    bytes_per_s: float | None = None
    elsewhere: str = "http://127.0.0.2:9/stolen"
    address: str = ""
    requests: list[tuple[float, str, str]] = field(default_factory=list)
    sent: int = 0
    open_now: int = 0
    open_most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def paths(self):
        return [path for _, path, _ in self.requests]


def sometimes(share, faults=PASSING, seed=0):
    """Faults in a share of all answers; which, follows from the path and the number of the request alone."""

    def fault(path, number):
        dice = random.Random(f"{seed} {path} {number}")
        return dice.choice(faults) if dice.random() < share else None

    return fault


def first(name, times=1):
    """One fault in the first answers for each path."""
    return lambda path, number: name if number < times else None


@contextmanager
def serve(site):
    """Run the server; `site.address` is where."""
    seen = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            super().setup()
            with site.lock:
                site.open_now += 1
                site.open_most = max(site.open_most, site.open_now)

        def finish(self):
            try:
                super().finish()
            finally:
                with site.lock:
                    site.open_now -= 1

        def do_GET(self):
            with site.lock:
                number = seen[self.path] = seen.get(self.path, -1) + 1
                site.requests.append((time.monotonic(), self.path, self.headers.get("Range", "")))
            name = site.fault(self.path, number) if site.fault else None
            body = site.files.get(self.path)
            if body is None or name == "404":
                return self.answer(404, b"not here")
            if name == "500":
                return self.answer(500, b"")
            if name == "503":
                return self.answer(503, b"", **{"Retry-After": site.retry_after})
            if name in ("redirect_loop", "redirect_elsewhere", "redirect_file"):
                place = {"redirect_loop": self.path, "redirect_file": "file:///etc/passwd"}.get(name)
                return self.answer(302, b"", Location=place or site.elsewhere)
            if name == "empty":
                return self.answer(200, b"")
            if name == "html":
                return self.answer(200, PAGE)
            start = 0
            version = number if name == "other_version_cut" else ""
            tag = f'"{version}{hashlib.sha256(body).hexdigest()[:16]}"'
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            ranged = (
                asked is not None
                and name not in ("no_range", "no_range_cut")
                and self.headers.get("If-Range", tag) == tag
            )
            if ranged:
                start = int(asked[1])
                if start >= len(body):
                    return self.answer(416, b"")
                if name in ("wrong_range", "wrong_range_cut"):
                    start = max(0, start - 7)
            self.send_response(206 if ranged else 200)
            if ranged:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            rest = body[start:]
            self.send_header("Content-Length", str(len(rest) + (40 if name == "wrong_length" else 0)))
            self.send_header("ETag", tag)
            self.end_headers()
            if name in CUTTING:
                self.push(rest[: 64 * 1024])
                self.close_connection = True
                return None
            if name in ("reset", "truncated"):
                self.push(rest[: max(1, len(rest) // 2)])
                if name == "reset":
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                return None
            if name == "drip":
                for byte in rest[:3]:
                    self.push(bytes([byte]))
                    time.sleep(0.35)
                self.close_connection = True
                return None
            self.push(rest)
            if name == "wrong_length":
                self.close_connection = True
            return None

        def answer(self, status, body, **headers):
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.push(body)

        def push(self, body):
            step = len(body) if site.bytes_per_s is None else 4 * 1024
            for begin in range(0, len(body), max(1, step)):
                part = body[begin : begin + step]
                try:
                    self.wfile.write(part)
                except OSError:
                    self.close_connection = True
                    return
                with site.lock:
                    site.sent += len(part)
                if site.bytes_per_s is not None:
                    time.sleep(len(part) / site.bytes_per_s)

        def log_message(self, *args):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            pass

    with Server(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        site.address = f"http://127.0.0.1:{http.server_port}"
        try:
            yield site
        finally:
            http.shutdown()
            thread.join()


def http_date(seconds_from_now):
    return formatdate(time.time() + seconds_from_now, usegmt=True)
