"""The harness of the fuzzers tells a hang, a crash and too much memory from a refusal."""

import ctypes
import time

import pytest
from fuzz import fuzz, tried

from subcell.errors import ImageError


def misbehave(how):
    match how:
        case "hang":
            time.sleep(60)
        case "crash":
            ctypes.string_at(0)
        case "memory":
            bytearray(3 * 2**30)
        case "error":
            raise KeyError("x")
        case "refuse":
            raise ImageError("a.tif: no")
    return how


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("hang", "hang"),
        ("crash", "crash"),
        ("memory", "crash"),
        ("error", "crash"),
        ("refuse", "refused"),
        ("x", "read"),
    ],
)
def test_outcomes(how, kind):
    assert tried(misbehave, how, seconds=2).kind == kind


def test_what_is_wrong_fails():
    assert fuzz(misbehave, ["x", "refuse"], budget_s=5) == {"read": 1, "refused": 1}
    with pytest.raises(AssertionError, match=r"error.*crash, KeyError"):
        fuzz(misbehave, ["x", "error"], budget_s=5)
    with pytest.raises(AssertionError, match="read, and wrong"):
        fuzz(misbehave, ["x"], lambda given, value: False, budget_s=5)
