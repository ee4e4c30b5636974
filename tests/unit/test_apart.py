"""Work in a process of its own: its errors are ours, and a crash is one line."""

import os
import signal

import pytest

from subcell.apart import apart
from subcell.errors import SubcellError


def test_what_is_written_stays_and_errors_come_back(tmp_path):
    apart(lambda path, text: path.write_text(text), tmp_path / "a", text="b")
    assert (tmp_path / "a").read_text() == "b"

    def refuse(path):
        raise SubcellError(f"{path}: no")

    with pytest.raises(SubcellError, match=r"^x: no$"):
        apart(refuse, "x")
    with pytest.raises(FileNotFoundError) as found:
        apart(os.stat, tmp_path / "none")
    assert found.value.errno == 2

    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(one)

    def odd(path):
        raise Odd(1, 2)

    with pytest.raises(RuntimeError, match="Odd"):
        apart(odd, "x")


def test_a_crash_is_one_line():
    with pytest.raises(
        SubcellError, match=r"^a\.h5ad: reading it ended in a crash \(SIGSEGV\); it is damaged"
    ) as found:
        apart(lambda path: os.kill(os.getpid(), signal.SIGSEGV), "a.h5ad")
    assert "\n" not in str(found.value)
