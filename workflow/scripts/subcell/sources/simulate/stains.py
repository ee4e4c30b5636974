"""The three landmark stains of simulated cells: DNA, microtubules and endoplasmic reticulum (ER)."""

import numpy as np
from scipy.ndimage import gaussian_filter

from subcell.sources.simulate.cell import Cells
from subcell.sources.simulate.filaments import Walks, deposit, sprinkle, walk
from subcell.sources.simulate.lines import Line
from subcell.sources.simulate.streams import smooth_noise

_TYPICAL_UM2 = 500.0
"""Area of a cell that has as many microtubules as its line says."""


def dna(rng: np.random.Generator, cells: Cells, line: Line) -> np.ndarray:
    """DNA stain: textured chromatin, dark nucleoli, bright condensed chromosomes in mitosis.

    Returns
    -------
    (Y, X) float32, about 1 in a nucleus
    """
    shape = cells.labels.shape
    texture = 0.85 * smooth_noise(rng, shape, 0.38 / cells.pixel_um) + 0.5 * smooth_noise(
        rng, shape, 1.3 / cells.pixel_um
    )
    # Small gaps in the chromatin, and heterochromatin along the envelope.
    gaps = np.clip(smooth_noise(rng, shape, 0.55 / cells.pixel_um) - 1.3, 0, 1)
    texture = texture - 1.8 * gaps
    level = np.exp(rng.normal(0, 0.22, cells.count + 1)) * np.where(cells.mitotic, 1.7, 1)
    level = level * np.where(cells.floating, 1.3, 1)
    dome = np.clip(0.75 + cells.depth_um / 6, 0.75, 1) + 0.15 * np.exp(-(((cells.depth_um - 0.5) / 0.4) ** 2))
    nucleus = np.where(cells.nuclei > 0, dome * (1 + line.chromatin * texture) * (1 - 0.6 * cells.nucleoli), 0)
    return np.clip(nucleus, 0, None).astype(np.float32) * cells.per_cell(level)


def grow_microtubules(rng: np.random.Generator, cells: Cells, line: Line, *, share: float = 1.0) -> Walks:
    """Microtubules: most radiate from the centrosome, others run free in the cytoplasm.

    Parameters
    ----------
    rng : random numbers
    cells, line : where cells lie and what they look like
    share : part of the line's number of filaments to grow; larger cells have more
    """
    # A cell of which little is in view, or that is small, has fewer filaments: their density is the line's.
    area_um2 = np.bincount(cells.labels.ravel(), minlength=cells.count + 1) * cells.pixel_um**2
    number = share * line.filaments * area_um2 / _TYPICAL_UM2
    number[0] = 0
    radial = np.repeat(np.arange(cells.count + 1), np.ceil(0.3 * number).astype(int))
    start = cells.centrosome_um[radial] + 1.6 * rng.normal(0, 1, (len(radial), 2))
    heading = rng.uniform(0, 2 * np.pi, len(radial))
    y, x = sprinkle(rng, cells.thickness, cells, per_cell=0.8 * number)
    free = cells.labels[y.astype(int), x.astype(int)]
    # Free filaments follow the cell's long axis, or run around the nucleus.
    spoke = np.stack([y, x], 1) * cells.pixel_um - cells.centre_um[free]
    around = np.arctan2(spoke[:, 0], spoke[:, 1]) + np.pi / 2
    along = np.where(rng.random(len(free)) < 0.5, cells.axis[free], around)
    along = along + np.pi * rng.integers(2, size=len(free)) + rng.normal(0, 0.5, len(free))
    owner = np.concatenate([radial, free])
    start = np.concatenate([start, np.stack([y, x], 1) * cells.pixel_um])
    heading = np.concatenate([heading, along])
    length = rng.gamma(4.0, 5.0, len(owner)).clip(4, 45)
    return walk(
        rng,
        cells,
        owner=owner,
        start_um=start,
        heading=heading,
        length_um=length,
        curl=line.curl,
        over_nucleus=0.2,
        stop=0.7,
    )


def microtubules(rng: np.random.Generator, cells: Cells, walks: Walks) -> np.ndarray:
    """Microtubule stain of given filaments, evenly labelled, with a haze of free tubulin.

    Returns
    -------
    (Y, X) float32, about 1 on average over a cell
    """
    drawn = deposit(cells.labels.shape, walks.y, walks.x, walks.weight) * fade(cells)
    sharp = gaussian_filter(drawn, 0.11 / cells.pixel_um)
    level = np.exp(rng.normal(0, 0.3, cells.count + 1)) * np.where(cells.mitotic, 1.4, 1)
    haze = 0.22 * cells.thickness * np.where(cells.depth_um > 0, 0.3, 1)
    return (even_out(sharp, cells) * 0.85 + haze) * cells.per_cell(level)


def fade(cells: Cells) -> np.ndarray:
    """How bright a structure is that thins out from the nucleus to the edge: 1 at the nucleus, float32."""
    outside = np.maximum(-cells.depth_um, 0)
    return (0.6 + 0.4 * np.minimum(cells.edge_um / 2, 1)) * (0.4 + 0.6 * np.exp(-outside / 14))


def er_network(rng: np.random.Generator, cells: Cells, *, mesh_um: float = 0.9) -> np.ndarray:
    """Reticular texture: ridges of a random field, between 0 and 1."""
    shape = cells.labels.shape
    ridges = np.exp(-((smooth_noise(rng, shape, 0.42 * mesh_um / cells.pixel_um) / 0.45) ** 2))
    patches = smooth_noise(rng, shape, 2.2 * mesh_um / cells.pixel_um)
    return (ridges * np.clip(1 + 0.35 * patches, 0.1, None)).astype(np.float32)


def er(rng: np.random.Generator, cells: Cells, line: Line, network: np.ndarray) -> np.ndarray:
    """ER stain: a network that is dense at the nucleus and thins out towards the edge, with a nuclear rim.

    Returns
    -------
    (Y, X) float32, about 1 on average over a cell
    """
    image = er_envelope(cells, reach_um=line.er_reach_um) * (0.35 + 0.9 * network)
    level = np.exp(rng.normal(0, 0.3, cells.count + 1)) * line.er_gain
    return even_out(image, cells) * cells.per_cell(level)


def er_envelope(cells: Cells, *, reach_um: float) -> np.ndarray:
    """How much ER there is at each place: 1 at the nuclear edge, less with distance, little above the nucleus."""
    outside = np.maximum(-cells.depth_um, 0)
    body = 0.25 + 0.75 * np.exp(-outside / reach_um)
    nuclear = np.where(cells.depth_um > 0.3, 0.16, 1)
    spread = cells.per_cell(np.where(cells.mitotic, 0.5, 0)) > 0
    edge = 0.45 + 0.55 * np.minimum(cells.edge_um / 3, 1)
    return np.where(cells.labels > 0, np.where(spread, 0.5, body * nuclear) * edge, 0).astype(np.float32)


def even_out(image: np.ndarray, cells: Cells) -> np.ndarray:
    """Scale each cell to a mean of 1 over its pixels, so that brightness says nothing of the pattern."""
    flat = cells.labels.ravel()
    area = np.bincount(flat, minlength=cells.count + 1)
    total = np.bincount(flat, image.ravel(), minlength=cells.count + 1)
    # A cell of which a sliver is in view may hold no signal at all; it stays dark.
    scale = np.where(total > 1e-3 * area, area / np.maximum(total, 1e-9), 0)
    scale[0] = 0
    return image * cells.per_cell(scale)
