"""Filaments and dots: random walks inside cells, drawn all at once."""

from dataclasses import dataclass

import numpy as np

from subcell.sources.simulate.cell import Cells

_PERSISTENCE = 0.93
"""Share of a filament's curvature that is kept from one point to the next."""


@dataclass(frozen=True)
class Walks:
    """Points of many filaments.

    Attributes
    ----------
    y, x : (filaments, steps) float32, pixels
    weight : (filaments, steps) float32, 0 where a filament has ended
    """

    y: np.ndarray
    x: np.ndarray
    weight: np.ndarray


def walk(
    rng: np.random.Generator,
    cells: Cells,
    *,
    owner: np.ndarray,
    start_um: np.ndarray,
    heading: np.ndarray,
    length_um: np.ndarray,
    curl: float,
    over_nucleus: float,
    stop: float = 0.0,
    step_um: float = 0.3,
) -> Walks:
    """Grow filaments that bend at random, and turn away or end at the cell's edge.

    Parameters
    ----------
    rng : random numbers
    cells : where cells lie
    owner : (filaments,) cell that each filament stays in
    start_um : (filaments, 2) y and x
    heading : (filaments,) first direction, radians
    length_um : (filaments,)
    curl : bending, radians a micrometre
    over_nucleus : weight of the points above or below a nucleus
    stop : share of filaments that end at the edge of the cell or above its nucleus
    step_um : distance of two points

    Returns
    -------
    Walks with one point a step
    """
    pixel = cells.pixel_um
    height, width = cells.labels.shape
    steps = max(int(np.ceil(length_um.max(initial=step_um) / step_um)), 1)
    y, x = (start_um / pixel).astype(np.float32).T
    heading = heading.astype(np.float32)
    turn = np.zeros_like(heading)
    side = np.where(rng.random(len(owner)) < 0.5, -1, 1).astype(np.float32)
    bends = rng.standard_normal((steps, len(owner)), dtype=np.float32) * np.float32(
        curl * step_um * np.sqrt(1 - _PERSISTENCE**2)
    )
    last = np.ceil(length_um / step_um)
    ys = np.empty((steps, len(owner)), np.float32)
    xs = np.empty_like(ys)
    weights = np.zeros_like(ys)
    ending = rng.random(len(owner)) < stop
    stride = np.float32(step_um / pixel)
    for step in range(steps):
        # Curvature keeps its sign for a few micrometres, so filaments bend in arcs instead of trembling.
        turn = _PERSISTENCE * turn + bends[step]
        heading = heading + turn
        ny = y + stride * np.sin(heading)
        nx = x + stride * np.cos(heading)
        row = np.clip(ny.astype(np.int32), 0, height - 1)
        column = np.clip(nx.astype(np.int32), 0, width - 1)
        framed = (ny >= 0) & (ny < height) & (nx >= 0) & (nx < width)
        inside = cells.labels[row, column] == owner
        nuclear = inside & (cells.depth_um[row, column] > 0.4)
        # Outside the frame there is no map: filaments go straight on.
        blocked = framed & ~inside
        last = np.where((blocked | nuclear) & ending, np.minimum(last, step + 2 * nuclear), last)
        heading = np.where(blocked, heading + 0.5 * side, heading)
        y = np.where(blocked, y, ny)
        x = np.where(blocked, x, nx)
        ys[step], xs[step] = y, x
        weights[step] = np.where(framed & inside & (step < last), np.where(nuclear, over_nucleus, 1.0), 0.0)
    return Walks(y=ys.T, x=xs.T, weight=weights.T)


def deposit(shape: tuple[int, int], y: np.ndarray, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sum weighted points into an image, each shared by the four pixels around it.

    Parameters
    ----------
    shape : of the image
    y, x : positions in pixels, of any equal shape; the centre of the first pixel lies at 0.5
    weight : of the same shape

    Returns
    -------
    (Y, X) float32
    """
    used = weight.ravel() > 0
    y, x, weight = (values.ravel()[used] for values in (y, x, weight))
    image = np.zeros((shape[0] + 2) * (shape[1] + 2))
    row, column = np.floor(y + 0.5).astype(np.int64), np.floor(x + 0.5).astype(np.int64)
    within = (row >= 0) & (row <= shape[0]) & (column >= 0) & (column <= shape[1])
    row, column, y, x, weight = (values[within] for values in (row, column, y, x, weight))
    fy, fx = y + 0.5 - row, x + 0.5 - column
    for dy, dx, share in ((0, 0, (1 - fy) * (1 - fx)), (0, 1, (1 - fy) * fx), (1, 0, fy * (1 - fx)), (1, 1, fy * fx)):
        image += np.bincount((row + dy) * (shape[1] + 2) + column + dx, weight * share, minlength=image.size)
    return image.reshape(shape[0] + 2, shape[1] + 2)[1:-1, 1:-1].astype(np.float32)


def sprinkle(
    rng: np.random.Generator, chance: np.ndarray, cells: Cells, *, per_cell: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw random places, as many in each cell on average.

    Parameters
    ----------
    rng : random numbers
    chance : (Y, X) relative chance of a place; within a cell only its proportions matter
    cells : where cells lie
    per_cell : mean number of places in a whole cell, one number or (cells + 1,) with the background first

    Returns
    -------
    y, x : (places,) pixels, uniform within their pixel
    """
    flat = np.where(cells.labels > 0, chance, 0).ravel().astype(np.float64)
    total = np.bincount(cells.labels.ravel(), flat, minlength=cells.count + 1)
    rate = flat * (per_cell / np.maximum(total, 1e-9))[cells.labels.ravel()]
    places = np.repeat(np.arange(flat.size), rng.poisson(rate))
    jitter = rng.random((2, len(places)))
    return places // chance.shape[1] + jitter[0], places % chance.shape[1] + jitter[1]
