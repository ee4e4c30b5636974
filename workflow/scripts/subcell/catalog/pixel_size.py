"""Pixel size that an OME-TIFF states in its header."""

from pathlib import Path
from xml.etree import ElementTree

from subcell.errors import SheetError

# OME-XML's UnitsLength, as far as microscopes write it; its default is the micrometre.
_UM_PER_UNIT = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6, "Å": 1e-4}


def ome_pixel_size_um(path: str | Path) -> float | None:
    """Micrometres a pixel of an OME-TIFF, None for any other file or where it does not say.

    Raises
    ------
    SheetError : pixels that are not square (by more than 1%)
    """
    import tifffile

    try:
        with tifffile.TiffFile(path, _multifile=False) as tiff:
            header = tiff.ome_metadata
        pixels = None if not header else ElementTree.fromstring(header).find(".//{*}Pixels")
    except (OSError, ValueError, RuntimeError, ElementTree.ParseError):
        return None
    if pixels is None:
        return None
    sizes = []
    for axis in "XY":
        unit = _UM_PER_UNIT.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        try:
            sizes.append(float(pixels.get(f"PhysicalSize{axis}", "")) * (unit or float("nan")))
        except ValueError:
            return None
    if not all(0 < size < float("inf") for size in sizes):
        return None
    if abs(sizes[0] / sizes[1] - 1) > 0.01:
        raise SheetError(f"{path}: pixels of {sizes[0]:g} x {sizes[1]:g} um are not square; resample the images first")
    return sizes[0]
