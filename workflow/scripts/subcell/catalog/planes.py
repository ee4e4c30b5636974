"""Names of planes inside an image file: `file.ome.tif#c=2,z=max,t=0`."""

import re
from dataclasses import dataclass

from subcell.errors import ImageError

# A '#' may also stand in a file name; only a tail of letter=value pairs is a plane.
_FRAGMENT = re.compile(r"^(?P<path>.*?)#(?P<plane>[A-Za-z]\w*=[^#/\\]*)$", re.DOTALL)


@dataclass(frozen=True)
class Plane:
    """Channel, depth and time to read; None where the fragment is silent. `z` may be "max" or "best_focus"."""

    c: int | None = None
    z: int | str | None = None
    t: int | None = None


def split_plane(text: str) -> tuple[str, str]:
    """Split "path#c=2,z=5" into path and "c=2,z=5"; without a plane the second part is empty."""
    match = _FRAGMENT.match(text)
    return (match["path"], match["plane"]) if match else (text, "")


def parse_plane(text: str) -> Plane:
    """Read "c=2,z=max,t=0" (a leading '#' is allowed).

    Raises
    ------
    ImageError : an unknown letter, one given twice, or a value that is neither a number from 0 nor a way to project z
    """
    found: dict[str, int | str] = {}
    for part in filter(None, text.removeprefix("#").split(",")):
        name, _, value = (item.strip() for item in part.partition("="))
        if name not in ("c", "z", "t") or name in found:
            raise ImageError(f"plane {text!r}: {part!r} is not understood; write for example #c=2,z=max,t=0")
        if value.isascii() and value.isdigit():
            found[name] = int(value)
        elif name == "z" and value in ("max", "best_focus"):
            found[name] = value
        else:
            allowed = "max, best_focus or a number from 0" if name == "z" else "a number from 0"
            raise ImageError(f"plane {text!r}: {name} is {value!r}; it must be {allowed}")
    return Plane(**found)  # type: ignore[arg-type]
