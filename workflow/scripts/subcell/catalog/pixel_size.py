"""Pixel sizes: which can be meant, and what an OME-TIFF states in its header."""

from pathlib import Path
from xml.etree import ElementTree

from subcell.errors import SheetError

# OME-XML's UnitsLength, as far as microscopes write it; its default is the micrometre.
_UM_PER_UNIT = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6, "Å": 1e-4}

MIN_PIXEL_SIZE_UM, MAX_PIXEL_SIZE_UM = 0.01, 10.0
"""No light microscope samples finer, and coarser pixels are as wide as cells."""

_USUAL_UM = (0.03, 3.0)
_OTHER_UNITS = {"metres": 1e6, "millimetres": 1e3, "nanometres": 1e-3}


def problem_of_pixel_size(text: str) -> str:
    """Why a pixel size cannot be meant in micrometres, and in which unit it may be; empty where it can.

    >>> problem_of_pixel_size("3.2e-7")
    "pixel_size_um is '3.2e-7'; expected micrometres from 0.01 to 10 (metres? then write 0.32)"
    """
    try:
        # Python takes 1_0 for a number, nobody else does.
        size = float("nan" if "_" in text else text)
    except ValueError:
        size = float("nan")
    if MIN_PIXEL_SIZE_UM <= size <= MAX_PIXEL_SIZE_UM:
        return ""
    guesses = [
        f"{unit}? then write {size * um:.6g}"
        for unit, um in _OTHER_UNITS.items()
        if _USUAL_UM[0] <= size * um <= _USUAL_UM[1]
    ]
    expected = f"expected micrometres from {MIN_PIXEL_SIZE_UM:g} to {MAX_PIXEL_SIZE_UM:g}"
    return f"pixel_size_um is {text!r}; {expected}" + (f" ({'; '.join(guesses)})" if guesses else "")


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
    except Exception:  # of a damaged file, whatever it leads the reader to; who reads its pixels says what is wrong
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
