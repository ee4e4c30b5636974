"""Images made small enough to lie inside the page."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from subcell.reporting.figures.canvas import data_uri, figure_bytes


def inlined_picture(path: str | Path, *, max_bytes: int) -> dict[str, object]:
    """A picture file as an address that holds it.

    PNGs of micrographs are mostly noise; as JPEG without colour subsampling they take a fifth and look the same.

    Parameters
    ----------
    path : PNG or JPEG file
    max_bytes : the picture is made coarser, then smaller, until it takes no more than this

    Returns
    -------
    {"uri", "width", "height"}, the last two in pixels
    """
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    original = Path(path).read_bytes()
    if original.startswith(b"\x89PNG") and len(original) <= min(max_bytes, 150_000):
        return _shown(data_uri(original, "image/png"), picture)
    while True:
        for quality in (88, 78, 66):
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=quality, subsampling=0)
            if buffer.tell() <= max_bytes or max(picture.size) <= 400:
                return _shown(data_uri(buffer.getvalue(), "image/jpeg"), picture)
            if quality == 66:
                picture = picture.resize((picture.width * 4 // 5, picture.height * 4 // 5), Image.Resampling.LANCZOS)


def pixels_of_figure(figure: Figure) -> bytes:
    """A figure as PNG of 64 colours: for those whose lines would take more."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(figure_bytes(figure, "png"))) as picture:
        picture.convert("RGB").quantize(64).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _shown(uri: str, picture: Image.Image) -> dict[str, object]:
    return {"uri": uri, "width": picture.width, "height": picture.height}
