"""From ideal stains to 8-bit images: blur, noise, offset and the display stretch of published HPA images."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from subcell.channels import CHANNELS
from subcell.sources.simulate.cell import Cells
from subcell.sources.simulate.settings import Microscope
from subcell.sources.simulate.streams import stream


@dataclass(frozen=True)
class Plate:
    """How one plate was imaged.

    Attributes
    ----------
    gain : grey levels for a stain of 1, one a channel (the protein's is relative)
    blur_um : standard deviation of the point spread, one a channel
    offset : grey levels added by the camera, one a channel, negative where the display stretch cuts the background off
    noise : grey levels of read noise
    photon : variance a grey level of signal
    haze : share of light from out of focus
    """

    gain: dict[str, float]
    blur_um: dict[str, float]
    offset: dict[str, float]
    noise: float
    photon: float
    haze: float


def draw_plate(plate: str, *, seed: int, microscope: Microscope) -> Plate:
    """Draw how a plate was imaged."""
    rng = stream(seed, "plate", plate)
    wide = microscope == "widefield"
    base = {"microtubules": 38.0, "er": 26.0, "nucleus": 92.0, "protein": 1.0}
    sharp = rng.uniform(0.30, 0.40) if wide else rng.uniform(0.11, 0.22)
    return Plate(
        gain={channel: base[channel] * float(np.exp(rng.normal(0, 0.25))) for channel in CHANNELS},
        blur_um={channel: sharp * rng.uniform(0.95, 1.1) for channel in CHANNELS},
        offset=_offsets(rng, wide=wide),
        noise=rng.uniform(1.5, 2.5) if wide else rng.uniform(0.7, 1.6),
        photon=rng.uniform(0.5, 0.9) if wide else rng.uniform(0.25, 0.8),
        haze=rng.uniform(0.3, 0.45) if wide else rng.uniform(0.05, 0.16),
    )


def _offsets(rng: np.random.Generator, *, wide: bool) -> dict[str, float]:
    """Camera offsets; a display stretch cuts most off the DNA stain, whose background is the emptiest."""
    common = rng.uniform(8, 16) if wide else rng.uniform(-2.5, 0.5)
    spread = {channel: rng.uniform(-1, 1) for channel in CHANNELS}
    cut = {} if wide else {"nucleus": 2.0, "protein": -0.8}
    return {channel: common + own - cut.get(channel, 0.0) for channel, own in spread.items()}


def expose(rng: np.random.Generator, stain: np.ndarray, cells: Cells, plate: Plate, channel: str) -> np.ndarray:
    """Image one stain.

    Parameters
    ----------
    rng : random numbers of this field
    stain : (Y, X) float32
    cells : their pixel size, and which of them are out of focus
    plate : how the plate was imaged
    channel : one of CHANNELS

    Returns
    -------
    (Y, X) uint8
    """
    pixel = cells.pixel_um
    light = stain * np.float32(plate.gain[channel])
    image = gaussian_filter(light, plate.blur_um[channel] / pixel)
    if cells.blurred.any():
        soft = gaussian_filter(cells.per_cell(cells.blurred), 0.6 / pixel)
        if soft.any():
            image = image * (1 - soft) + gaussian_filter(light, 1.3 / pixel, truncate=2.5) * soft
    image = (1 - plate.haze) * image + plate.haze * _far_blur(light, 5.0 / pixel)
    deviation = np.sqrt(plate.photon * image + plate.noise**2)
    image = image + deviation * rng.standard_normal(image.shape, dtype=np.float32) + np.float32(plate.offset[channel])
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _far_blur(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Wide Gaussian blur, done on quarter size where that changes nothing visible."""
    small = image[: image.shape[0] // 4 * 4, : image.shape[1] // 4 * 4]
    small = small.reshape(small.shape[0] // 4, 4, -1, 4).mean(axis=(1, 3))
    rows = np.minimum(np.arange(image.shape[0]) // 4, small.shape[0] - 1)
    columns = np.minimum(np.arange(image.shape[1]) // 4, small.shape[1] - 1)
    wide = gaussian_filter(small, sigma_px / 4)[rows][:, columns]
    return gaussian_filter(wide, 2.0)
