"""Verified files by their address. They outlive every output of the workflow, so that none is fetched twice."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from subcell.hashing import sha256_of


@dataclass(frozen=True)
class Record:
    """What is known of a verified file.

    url : where it was asked for
    bytes, sha256 : of its content
    tries : requests that it took
    seconds : how long it took, pauses included
    """

    url: str
    bytes: int
    sha256: str
    tries: int
    seconds: float


class Cache:
    """A folder of verified files.

    A file `ab/abcd...` is complete and was checked; `.json` beside it is its record, `.part` what has come of a file that
    is not complete.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).absolute()

    def path(self, url: str) -> Path:
        """Where the file of an address lies, if it is there."""
        key = hashlib.sha256(url.encode()).hexdigest()[:40]
        return self.folder / key[:2] / key

    def part(self, url: str) -> Path:
        """Where the part of a file lies that has come so far."""
        path = self.path(url)
        return path.with_name(path.name + ".part")

    @contextmanager
    def locked(self, url: str) -> Iterator[None]:
        """Keep other processes from bringing the same file (and the few that lie in the same folder)."""
        folder = self.path(url).parent
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            yield

    def find(self, url: str) -> Record | None:
        """The record of a verified file; None where there is none, or where it is not the file that was verified."""
        path = self.path(url)
        try:
            text = json.loads(_record_path(path).read_text(encoding="utf-8"))
            modified = text.pop("modified_ns")
            record = Record(**text)
            status = path.stat()
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        if status.st_size == record.bytes and status.st_mtime_ns == modified:
            return record
        # Somebody touched it: reading it is still cheaper than fetching it.
        if status.st_size == record.bytes and sha256_of(path) == record.sha256:
            self._write_record(path, record)
            return record
        _record_path(path).unlink(missing_ok=True)
        return None

    def keep(self, url: str, *, tries: int, seconds: float) -> Record:
        """Give the complete and checked part of a file its final name."""
        part, path = self.part(url), self.path(url)
        record = Record(url, part.stat().st_size, sha256_of(part), tries, round(seconds, 3))
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
        self._write_record(path, record)
        part.with_name(part.name + ".json").unlink(missing_ok=True)
        return record

    def discard(self, url: str) -> None:
        """Forget what has come of a file."""
        part = self.part(url)
        for path in (part, part.with_name(part.name + ".json")):
            path.unlink(missing_ok=True)

    def link(self, url: str, target: Path) -> None:
        """Give a verified file another name: a hard link, or a copy on another file system."""
        try:
            os.link(self.path(url), target)
        except OSError:
            shutil.copyfile(self.path(url), target)

    def records(self) -> Iterator[Record]:
        """All records, in no order."""
        for path in self.folder.glob("??/*.json"):
            try:
                text = json.loads(path.read_text(encoding="utf-8"))
                text.pop("modified_ns")
                yield Record(**text)
            except (OSError, ValueError, TypeError, KeyError, AttributeError):
                continue  # of a part, or half removed

    def _write_record(self, path: Path, record: Record) -> None:
        temporary = _record_path(path).with_suffix(".tmp")
        text = json.dumps({**asdict(record), "modified_ns": path.stat().st_mtime_ns})
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(_record_path(path))


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")
