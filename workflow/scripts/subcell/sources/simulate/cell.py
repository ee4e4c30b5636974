"""Where simulated cells lie: outlines, nuclei, nucleoli, centrosomes, and maps of position inside each cell."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from subcell.sources.simulate.lines import Line
from subcell.sources.simulate.streams import smooth_noise

_ANGLES = 128

CENTROSOME_UM = 1.2
"""Radius of the disc that marks a centrosome, where microtubules radiate from."""


@dataclass(frozen=True)
class Cells:
    """Cells of one field; maps are (Y, X), tables have one row a cell with row 0 for the background.

    Attributes
    ----------
    labels : id of the cell a pixel belongs to, int32
    nuclei : the same for nuclei, each inside its cell
    depth_um : distance to the nuclear edge, positive inside the nucleus, negative outside, float32
    edge_um : distance to the cell's edge or to the neighbouring cell, float32
    nucleoli : 1 inside a nucleolus, soft edge, float32
    thickness : height of the cell, 0 to 1, float32
    centre_um, centrosome_um : (cells, 2) y and x of nucleus and centrosome
    axis : (cells,) direction of the long axis, radians
    mitotic, floating, blurred : (cells,) bool; without nuclear envelope; rounded up above the others; out of focus
    pixel_um : micrometres a pixel
    """

    labels: np.ndarray
    nuclei: np.ndarray
    depth_um: np.ndarray
    edge_um: np.ndarray
    nucleoli: np.ndarray
    thickness: np.ndarray
    centre_um: np.ndarray
    centrosome_um: np.ndarray
    axis: np.ndarray
    mitotic: np.ndarray
    floating: np.ndarray
    blurred: np.ndarray
    pixel_um: float

    @property
    def count(self) -> int:
        """Number of cells, those outside the frame included."""
        return len(self.axis) - 1

    def per_cell(self, values: np.ndarray) -> np.ndarray:
        """Paint one value a cell, (cells,), into a map; the background has row 0."""
        return values.astype(np.float32)[self.labels]


def grow_cells(
    rng: np.random.Generator, line: Line, *, cells: int, field_px: int, pixel_um: float, odd: bool = True
) -> Cells:
    """Place and shape the cells of one field.

    Parameters
    ----------
    rng : random numbers of this field
    line : what its cells look like
    cells : nuclei whose centre lies inside the field; more lie around it and reach in
    field_px : side of the field in pixels
    pixel_um : micrometres a pixel
    odd : whether some cells divide, have two nuclei, float or are out of focus
    """
    side_um = field_px * pixel_um
    centre = _place(rng, cells, side_um, margin_um=line.radius_um, gap_um=2.3 * line.nucleus_um, clumping=line.clumping)
    count = len(centre)
    axis = rng.uniform(0, np.pi, count)
    mitotic = (rng.random(count) < 0.03) & odd
    double = (rng.random(count) < 0.03) & odd
    floating = (rng.random(count) < line.floating) & ~mitotic & odd
    rounded = mitotic | floating
    size = np.exp(rng.normal(0, 0.18, count))
    labels = np.zeros((field_px, field_px), np.int32)
    best = np.full((field_px, field_px), 1.0, np.float32)
    nucleus_rho = np.full((field_px, field_px), 9.0, np.float32)
    warp = [0.7 * smooth_noise(rng, labels.shape, 2.5 / pixel_um) for _ in range(2)]
    radii_um = np.zeros(count + 1, np.float32)
    nucleus_axis = axis + rng.normal(0, 0.25, count)
    for i in range(count):
        radius = line.radius_um * size[i] * (0.66 if rounded[i] else 1)
        elongation = 1.05 if rounded[i] else max(line.elongation * np.exp(rng.normal(0, 0.12)), 1)
        outline = _outline(rng, line.roughness * (0.3 if rounded[i] else 1), 0 if rounded[i] else line.spikes)
        nucleus_radius = line.nucleus_um * size[i] ** 0.7 * np.exp(rng.normal(0, 0.09))
        nucleus_elongation = max(line.nucleus_elongation * np.exp(rng.normal(0, 0.08)), 1)
        if mitotic[i]:
            nucleus_radius, nucleus_elongation = 0.62 * nucleus_radius, 3.0
        elif floating[i]:
            nucleus_radius, nucleus_elongation = 0.7 * nucleus_radius, 1.1
        elif double[i]:
            nucleus_radius, nucleus_elongation = 0.8 * nucleus_radius, 1.1
        radii_um[i + 1] = nucleus_radius
        nucleus_outline = _outline(rng, line.nucleus_roughness, 0)
        offset = rng.normal(0, 0.12 * radius, 2) * (0 if rounded[i] else 1)
        reach = max(outline.max() * radius * np.sqrt(elongation) + np.abs(offset).max() + 3, 3 * nucleus_radius)
        window = _window(centre[i], reach, pixel_um, field_px)
        if window is None:
            continue
        y, x = _coordinates(window, centre[i], pixel_um)
        rho = _radial(
            y + offset[0] + warp[0][window], x + offset[1] + warp[1][window], radius, elongation, axis[i], outline
        )
        shift = np.zeros(2)
        if double[i] and not rounded[i]:
            # Two nuclei side by side across the centre.
            shift = 0.5 * rng.uniform(1.7, 2.7) * nucleus_radius * np.array([np.sin(axis[i]), np.cos(axis[i])])
        rho_nucleus = _radial(
            y - shift[0], x - shift[1], nucleus_radius, nucleus_elongation, nucleus_axis[i], nucleus_outline
        )
        if shift.any():
            second = _radial(y + shift[0], x + shift[1], 0.95 * nucleus_radius, 1.1, axis[i], nucleus_outline)
            rho_nucleus = np.minimum(rho_nucleus, second)
        # A nucleus with its rim of cytoplasm always belongs to its cell, however the outlines fall.
        cost = np.minimum(rho * (0.75 if floating[i] else 1), np.where(rho_nucleus < 1.2, 0.1 * rho_nucleus, 9))
        won = cost < best[window]
        best[window][won] = cost[won]
        labels[window][won] = i + 1
        nucleus_rho[window][won] = rho_nucleus[won]
    nuclei = np.where(nucleus_rho < 1, labels, 0)
    labels = _connected(labels, nuclei)
    nuclei = np.where(labels > 0, nuclei, 0)
    depth = (1 - nucleus_rho) * radii_um[labels]
    edge = _edge_distance(labels) * pixel_um
    toward = rng.uniform(0, 2 * np.pi, count)
    reach = radii_um[1:] * rng.uniform(1.0, 1.35, count)
    centrosome = centre + reach[:, None] * np.stack([np.sin(toward), np.cos(toward)], 1)
    bright = np.exp(-np.maximum(-depth, 0) / 7)
    thickness = np.where(labels > 0, (0.12 + 0.88 * np.minimum(edge / 5, 1)) * (0.25 + 0.75 * bright), 0).astype(
        np.float32
    )
    nucleoli = _nucleoli(rng, line, nuclei, depth, mitotic, pixel_um)
    background = np.zeros(1)
    return Cells(
        labels=labels,
        nuclei=nuclei,
        depth_um=depth.astype(np.float32),
        edge_um=edge.astype(np.float32),
        nucleoli=nucleoli,
        thickness=thickness,
        centre_um=np.concatenate([np.zeros((1, 2)), centre]),
        centrosome_um=np.concatenate([np.zeros((1, 2)), centrosome]),
        axis=np.concatenate([background, axis]),
        mitotic=np.concatenate([background > 0, mitotic]),
        floating=np.concatenate([background > 0, floating]),
        blurred=np.concatenate([background > 0, (rng.random(count) < 0.03) & odd | floating]),
        pixel_um=pixel_um,
    )


def visible(cells: Cells, *, least_um2: float = 20.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Truth masks: cells whose nucleus is in view, numbered from 1, with their nucleoli and centrosomes.

    Parameters
    ----------
    cells : cells of a field
    least_um2 : nuclei of which less is in view are left out, with their cells

    Returns
    -------
    nuclei, cells, nucleoli, centrosomes : (Y, X) uint16, one id per cell shared by all; a cell may lack the last two
    """
    areas = np.bincount(cells.nuclei.ravel(), minlength=cells.count + 1) * cells.pixel_um**2
    seen = np.flatnonzero(areas >= least_um2)
    seen = seen[seen > 0]
    ids = np.zeros(cells.count + 1, np.uint16)
    ids[seen] = np.arange(1, len(seen) + 1)
    nuclei, whole = ids[cells.nuclei], ids[cells.labels]
    return nuclei, whole, np.where(cells.nucleoli > 0.5, nuclei, 0).astype(np.uint16), _centrosomes(cells, whole)


def _centrosomes(cells: Cells, whole: np.ndarray) -> np.ndarray:
    """Discs at the centrosomes, where these lie within their cells."""
    found = np.zeros_like(whole)
    for number in range(1, cells.count + 1):
        centre = cells.centrosome_um[number]
        window = _window(centre, CENTROSOME_UM, cells.pixel_um, whole.shape[0])
        if window is None:
            continue
        y, x = _coordinates(window, centre, cells.pixel_um)
        disc = (np.hypot(y, x) <= CENTROSOME_UM) & (cells.labels[window] == number)
        found[window][disc] = whole[window][disc]
    return found


def _place(
    rng: np.random.Generator, cells: int, side_um: float, *, margin_um: float, gap_um: float, clumping: float
) -> np.ndarray:
    """Positions of nuclei: exactly `cells` inside the field, and as dense around it; (N, 2) micrometres."""
    outer = side_um + 2 * margin_um
    around = round(cells * (outer**2 / side_um**2 - 1))
    placed: list[np.ndarray] = []
    for number in range(cells + around):
        candidates = rng.uniform(0, side_um, (24, 2))
        if number >= cells:
            candidates = rng.uniform(-margin_um, side_um + margin_um, (64, 2))
            candidates = candidates[((candidates < 0) | (candidates > side_um)).any(axis=1)]
        if placed:
            apart = np.linalg.norm(candidates[:, None] - np.array(placed)[None], axis=2).min(axis=1)
            free = np.flatnonzero(apart > gap_um)
            if len(free):
                # Cells that gather take the free place nearest to a neighbour, others any free place.
                near = rng.random() < clumping
                pick = free[np.argmin(apart[free[:4]])] if near else free[np.argmax(apart[free[:4]])]
            else:
                pick = int(np.argmax(apart))
            placed.append(candidates[pick])
        else:
            placed.append(candidates[0])
    return np.array(placed).reshape(-1, 2)


def _outline(rng: np.random.Generator, roughness: float, spikes: float) -> np.ndarray:
    """Radius over `_ANGLES` directions, of the same area as the unit disc."""
    theta = np.linspace(0, 2 * np.pi, _ANGLES, endpoint=False)
    orders = np.arange(2, 7)
    waves = np.cos(orders[:, None] * theta + rng.uniform(0, 2 * np.pi, (len(orders), 1)))
    radius = np.exp((roughness * rng.normal(0, 2.6, len(orders)) / orders**1.7) @ waves)
    for _ in range(int(rng.poisson(spikes))):
        tip = np.cos(theta - rng.uniform(0, 2 * np.pi)) - 1
        radius += rng.uniform(0.15, 0.7) * np.exp(tip / rng.uniform(0.004, 0.03))
    return radius / np.sqrt(np.mean(radius**2))


def _window(centre_um: np.ndarray, reach_um: float, pixel_um: float, field_px: int) -> tuple[slice, slice] | None:
    low = np.clip(np.floor((centre_um - reach_um) / pixel_um), 0, field_px).astype(int)
    high = np.clip(np.ceil((centre_um + reach_um) / pixel_um), 0, field_px).astype(int)
    if (high <= low).any():
        return None
    return slice(low[0], high[0]), slice(low[1], high[1])


def _coordinates(window: tuple[slice, slice], centre_um: np.ndarray, pixel_um: float) -> tuple[np.ndarray, np.ndarray]:
    y = (np.arange(window[0].start, window[0].stop) + 0.5) * pixel_um - centre_um[0]
    x = (np.arange(window[1].start, window[1].stop) + 0.5) * pixel_um - centre_um[1]
    return y.astype(np.float32)[:, None], x.astype(np.float32)[None, :]


def _radial(
    y: np.ndarray, x: np.ndarray, radius_um: float, elongation: float, axis: float, outline: np.ndarray
) -> np.ndarray:
    """Distance from the centre as a share of the distance at which the outline lies in that direction."""
    along = (np.cos(axis) * x + np.sin(axis) * y) / (radius_um * np.sqrt(elongation))
    across = (np.cos(axis) * y - np.sin(axis) * x) / (radius_um / np.sqrt(elongation))
    angle = np.arctan2(across, along) * (_ANGLES / (2 * np.pi))
    low = np.floor(angle).astype(np.int32)
    share = angle - low
    table = outline.astype(np.float32)
    limit = table[low % _ANGLES] * (1 - share) + table[(low + 1) % _ANGLES] * share
    return np.hypot(along, across) / limit


def _connected(labels: np.ndarray, nuclei: np.ndarray) -> np.ndarray:
    """Keep of each cell the piece that holds its nucleus, or its largest where the nucleus is out of view."""
    kept = np.zeros_like(labels)
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        pieces, found = ndimage.label(labels[window] == number)
        inside = pieces[(nuclei[window] == number) & (pieces > 0)]
        chosen = pieces[pieces > 0] if not len(inside) else inside
        kept[window][pieces == np.bincount(chosen, minlength=found + 1).argmax()] = number
    return kept


def _edge_distance(labels: np.ndarray) -> np.ndarray:
    """Distance in pixels from a cell's pixels to its edge."""
    inner = labels > 0
    inner[1:] &= labels[1:] == labels[:-1]
    inner[:-1] &= labels[1:] == labels[:-1]
    inner[:, 1:] &= labels[:, 1:] == labels[:, :-1]
    inner[:, :-1] &= labels[:, 1:] == labels[:, :-1]
    return ndimage.distance_transform_edt(inner).astype(np.float32)


def _nucleoli(
    rng: np.random.Generator,
    line: Line,
    nuclei: np.ndarray,
    depth_um: np.ndarray,
    mitotic: np.ndarray,
    pixel_um: float,
) -> np.ndarray:
    """Map of nucleoli: a few round bodies well inside each nucleus."""
    found = np.zeros(nuclei.shape, np.float32)
    for number, window in enumerate(ndimage.find_objects(nuclei), start=1):
        if window is None or mitotic[number - 1]:
            continue
        places = np.argwhere((nuclei[window] == number) & (depth_um[window] > 1.6))
        wanted = 1 + int(rng.poisson(max(line.nucleoli - 1, 0)))
        radii = rng.uniform(0.6, 1.7, wanted) * (2.5 / (1.5 + wanted)) ** 0.3
        if not len(places):
            continue
        for place, radius in zip(places[rng.integers(len(places), size=wanted)], radii, strict=True):
            y = (np.arange(found[window].shape[0]) - place[0])[:, None] * pixel_um
            x = (np.arange(found[window].shape[1]) - place[1])[None, :] * pixel_um
            stretch = np.exp(rng.normal(0, 0.15))
            body = np.clip((radius - np.hypot(y * stretch, x / stretch)) / pixel_um + 0.5, 0, 1)
            np.maximum(found[window], body, out=found[window])
    return found * (nuclei > 0)
