"""The protein channel of simulated cells: one pattern a location, never a copy of a landmark stain."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from subcell.sources.simulate.cell import Cells
from subcell.sources.simulate.filaments import Walks, deposit, sprinkle, walk
from subcell.sources.simulate.genes import SubPattern
from subcell.sources.simulate.lines import Line
from subcell.sources.simulate.stains import er_envelope, even_out, fade, grow_microtubules
from subcell.sources.simulate.streams import smooth_noise, stream


@dataclass(frozen=True)
class Protein:
    """What one antibody shows; the same in all its fields.

    Attributes
    ----------
    locations : one or two
    main : share of the first location in the specific signal
    grain : how punctate the pattern is, 0 smooth to 1 all dots
    spread : how far the pattern reaches within its compartment, 0 narrow to 1 wide
    mesh_um : size of the pattern's details
    off_target : share of diffuse signal that has nothing to do with the protein
    dots : share of stray dots
    nuclear_haze : brightness of the nucleus in the diffuse signal, the cytoplasm's is 1
    brightness : mean grey level in a cell
    heterogeneity : spread of the signal between the cells of a field, log scale
    """

    locations: tuple[str, ...]
    main: float
    grain: float
    spread: float
    mesh_um: float
    off_target: float
    dots: float
    nuclear_haze: float
    brightness: float
    heterogeneity: float


def draw_protein(
    antibody: str, locations: tuple[str, ...], sub_pattern: SubPattern | None = None, *, seed: int
) -> Protein:
    """Draw the staining of an antibody, independent of the location.

    Parameters
    ----------
    antibody : its name
    locations : where its signal is
    sub_pattern : how it fills them; one of the antibody's own when None
    seed : of the world
    """
    rng = stream(seed, "antibody", antibody)
    if sub_pattern is None:
        own = stream(seed, "own sub-pattern", antibody)
        sub_pattern = SubPattern("own", own.random(), own.random(), own.uniform(0.7, 1.2), own.uniform(0.5, 0.7))
    return Protein(
        locations=locations,
        main=sub_pattern.main if len(locations) > 1 else 1.0,
        grain=sub_pattern.grain,
        spread=sub_pattern.spread,
        mesh_um=sub_pattern.mesh_um,
        off_target=rng.uniform(0.2, 0.65),
        dots=rng.uniform(0, 0.04),
        nuclear_haze=rng.uniform(0.5, 1.2),
        brightness=float(np.exp(rng.normal(np.log(19), 0.45))),
        heterogeneity=rng.uniform(0.2, 0.6),
    )


def protein_stain(
    rng: np.random.Generator, cells: Cells, line: Line, protein: Protein, *, tubules: Walks, network: np.ndarray
) -> np.ndarray:
    """Render the protein channel.

    Parameters
    ----------
    rng : random numbers of this field
    cells, line : where cells lie and what they look like
    protein : what the antibody shows
    tubules, network : filaments and ER of the landmark stains, which the same structures share in part

    Returns
    -------
    (Y, X) float32 grey levels before optics and noise
    """
    specific = np.zeros(cells.labels.shape, np.float32)
    shares = (protein.main, 1 - protein.main)
    tilt = np.exp(rng.normal(0, 0.25, cells.count + 1))
    level = np.exp(rng.normal(0, protein.heterogeneity, cells.count + 1))
    for number, (location, share) in enumerate(zip(protein.locations, shares, strict=False)):
        pattern = _pattern(rng, location, cells, line, protein, tubules=tubules, network=network)
        # Without a nuclear envelope, what was in the nucleus fills the cell.
        if location in _NUCLEAR:
            pattern = np.where(cells.per_cell(cells.mitotic) > 0, cells.thickness, pattern)
        specific += share * _limit(pattern, cells) * (cells.per_cell(tilt) if number == 0 else 1)
    off_target = cells.thickness * np.where(cells.nuclei > 0, protein.nuclear_haze, 1)
    grains = 0.2 * smooth_noise(rng, off_target.shape, 0.8 / cells.pixel_um)
    grains += 0.45 * smooth_noise(rng, off_target.shape, 0.22 / cells.pixel_um)
    off_target *= np.clip(1 + grains, 0, None)
    stray = deposit(off_target.shape, *_dots(rng, (cells.labels > 0).astype(np.float32), cells, per_cell=25))
    stray = gaussian_filter(stray, 0.25 / cells.pixel_um)
    signal = (
        (1 - protein.off_target - protein.dots) * even_out(specific, cells)
        + protein.off_target * even_out(off_target, cells)
        + protein.dots * even_out(stray, cells)
    )
    return signal * cells.per_cell(level) * np.float32(protein.brightness)


def _limit(pattern: np.ndarray, cells: Cells) -> np.ndarray:
    """Even out a pattern, its peaks limited as dense structures bind less antibody than their protein would."""
    even = even_out(pattern, cells)
    return even_out(even / (1 + even / np.float32(7)), cells)


_NUCLEAR = ("Nucleoplasm", "Nucleoli", "Nuclear speckles", "Nuclear membrane")


def _pattern(
    rng: np.random.Generator,
    location: str,
    cells: Cells,
    line: Line,
    protein: Protein,
    *,
    tubules: Walks,
    network: np.ndarray,
) -> np.ndarray:
    if location == "Microtubules":
        return _on_microtubules(rng, cells, line, protein, tubules)
    if location == "Endoplasmic reticulum":
        return _in_er(rng, cells, line, protein, network)
    return _PATTERNS[location](rng, cells, protein)


def _dots(
    rng: np.random.Generator, chance: np.ndarray, cells: Cells, *, per_cell: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places and brightness of dots."""
    y, x = sprinkle(rng, chance, cells, per_cell=per_cell)
    return y, x, rng.gamma(2.0, 0.5, len(y))


def _grainy(
    rng: np.random.Generator, smooth: np.ndarray, cells: Cells, *, grain: float, per_cell: float, size_um: float
) -> np.ndarray:
    """Replace a share of a smooth pattern by dots that follow it."""
    dots = deposit(smooth.shape, *_dots(rng, smooth, cells, per_cell=per_cell))
    dots = gaussian_filter(dots, size_um / cells.pixel_um)
    return (1 - grain) * even_out(smooth, cells) + grain * even_out(dots, cells)


def _nucleoplasm(rng: np.random.Generator, cells: Cells, protein: Protein) -> np.ndarray:
    texture = smooth_noise(rng, cells.labels.shape, 0.6 * protein.mesh_um / cells.pixel_um)
    inside = np.clip(cells.depth_um / 0.6, 0, 1) * (1 - (0.95 - 0.5 * protein.spread) * cells.nucleoli)
    smooth = inside * np.clip(1 + 0.25 * texture, 0.1, None)
    return _grainy(rng, smooth, cells, grain=0.5 * protein.grain, per_cell=350, size_um=0.25)


def _nucleoli(rng: np.random.Generator, cells: Cells, protein: Protein) -> np.ndarray:
    nucleoli = cells.nucleoli * (cells.nuclei > 0)
    # Fibrillar centres are a few dots within each nucleolus, other proteins fill it or sit on its rim.
    core = gaussian_filter(nucleoli, 0.7 / cells.pixel_um)
    rim = nucleoli * np.clip(1.3 - core, 0, 1)
    smooth = (1 - protein.spread) * nucleoli + protein.spread * 1.4 * rim
    dotted = _grainy(rng, smooth + 1e-4 * nucleoli, cells, grain=0.8 * protein.grain, per_cell=9, size_um=0.3)
    return dotted + 0.06 * (cells.nuclei > 0)


def _speckles(rng: np.random.Generator, cells: Cells, protein: Protein) -> np.ndarray:
    chance = np.clip(cells.depth_um / 1.0, 0, 1) * (1 - cells.nucleoli)
    y, x, weight = _dots(rng, chance, cells, per_cell=16 + 14 * protein.spread)
    # A speckle is a cluster of granules, hence its irregular shape.
    jitter = rng.normal(0, 0.33 * protein.mesh_um / cells.pixel_um, (2, 3, len(y)))
    bodies = deposit(chance.shape, y + jitter[0], x + jitter[1], np.broadcast_to(weight, jitter[0].shape))
    bodies = gaussian_filter(bodies, 0.33 / cells.pixel_um) * (cells.nuclei > 0)
    return even_out(bodies, cells) + 0.3 * protein.grain * even_out(chance, cells)


def _nuclear_membrane(rng: np.random.Generator, cells: Cells, protein: Protein) -> np.ndarray:
    width = 0.22 + 0.15 * protein.spread
    rim = np.exp(-((cells.depth_um - 0.15) ** 2) / (2 * width**2)) * (cells.labels > 0)
    inner = (0.05 + 0.2 * protein.spread) * np.clip(cells.depth_um, 0, 1)
    return _grainy(rng, rim + inner, cells, grain=0.7 * protein.grain, per_cell=160, size_um=0.2)


def _cytosol(rng: np.random.Generator, cells: Cells, protein: Protein) -> np.ndarray:
    shape = cells.labels.shape
    texture = 0.15 * smooth_noise(rng, shape, 1.5 / cells.pixel_um) + 0.1 * smooth_noise(
        rng, shape, 0.4 / cells.pixel_um
    )
    flat = np.minimum(cells.edge_um / 1.2, 1) * (0.45 + 0.55 * cells.thickness)
    nuclear = np.where(cells.depth_um > 0, 0.12 + 0.3 * protein.spread, 1)
    smooth = np.clip(flat * nuclear * (1 + texture), 0, None)
    return _grainy(rng, smooth, cells, grain=0.35 * protein.grain, per_cell=700, size_um=0.22)


def _in_er(rng: np.random.Generator, cells: Cells, line: Line, protein: Protein, network: np.ndarray) -> np.ndarray:
    own = np.exp(-((smooth_noise(rng, network.shape, 0.42 * protein.mesh_um / cells.pixel_um) / 0.45) ** 2))
    reach = line.er_reach_um * (0.45 + 0.6 * protein.spread)
    smooth = er_envelope(cells, reach_um=reach) ** 1.3 * (0.15 + 0.5 * network + 0.5 * own)
    rim = np.exp(-((cells.depth_um + 0.1) ** 2) / 0.2) * (cells.labels > 0)
    return _grainy(rng, smooth + 0.25 * rim, cells, grain=0.4 * protein.grain, per_cell=450, size_um=0.22)


def _golgi(rng: np.random.Generator, cells: Cells, protein: Protein) -> np.ndarray:
    """A ribbon of stacks that bends around the nucleus at the centrosome; scattered where `spread` is large."""
    present = np.unique(cells.labels)
    present = present[present > 0]
    owner = np.repeat(present, rng.poisson(26, len(present)) + 8)
    spoke = cells.centrosome_um[owner] - cells.centre_um[owner]
    radius = np.linalg.norm(spoke, axis=1) * rng.uniform(0.95, 1.25 + 0.35 * protein.spread, len(owner))
    angle = np.arctan2(spoke[:, 0], spoke[:, 1]) + rng.normal(0, 0.22 + 0.5 * protein.spread, len(owner))
    angle = np.where(cells.mitotic[owner], rng.uniform(0, 2 * np.pi, len(owner)), angle)
    start = cells.centre_um[owner] + radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)
    ribbons = walk(
        rng,
        cells,
        owner=owner,
        start_um=start,
        heading=angle + np.pi / 2 + rng.normal(0, 0.6, len(owner)),
        length_um=rng.uniform(0.6, 1.2 + 2.2 * (1 - protein.grain), len(owner)),
        curl=1.0,
        over_nucleus=0.15,
    )
    weight = ribbons.weight * rng.gamma(3, 0.33, (len(owner), 1))
    return gaussian_filter(deposit(cells.labels.shape, ribbons.y, ribbons.x, weight), 0.3 / cells.pixel_um)


def _mitochondria(rng: np.random.Generator, cells: Cells, protein: Protein) -> np.ndarray:
    """Short threads, dense around the nucleus, that mostly point away from it."""
    away = np.maximum(-cells.depth_um, 0)
    chance = np.where(cells.nuclei > 0, 0, np.exp(-away / (5 + 9 * protein.spread))) * (cells.edge_um > 0.8)
    y, x = sprinkle(rng, chance, cells, per_cell=85)
    owner = cells.labels[y.astype(int), x.astype(int)]
    start = np.stack([y, x], 1) * cells.pixel_um
    spoke = start - cells.centre_um[owner]
    threads = walk(
        rng,
        cells,
        owner=owner,
        start_um=start,
        heading=np.arctan2(spoke[:, 0], spoke[:, 1]) + rng.normal(0, 0.8, len(owner)),
        length_um=rng.gamma(3, 0.5 + 0.7 * (1 - protein.grain), len(owner)).clip(0.4, 9),
        curl=0.9,
        over_nucleus=0.05,
    )
    weight = threads.weight * rng.gamma(4, 0.25, (len(owner), 1))
    return gaussian_filter(deposit(cells.labels.shape, threads.y, threads.x, weight), 0.24 / cells.pixel_um)


def _on_microtubules(
    rng: np.random.Generator, cells: Cells, line: Line, protein: Protein, tubules: Walks
) -> np.ndarray:
    """Part of the stained filaments and as many others, labelled with gaps."""
    shown = rng.random(len(tubules.y)) < 0.45
    others = grow_microtubules(rng, cells, line, share=0.55)
    y = np.concatenate([tubules.y[shown].ravel(), others.y.ravel()])
    x = np.concatenate([tubules.x[shown].ravel(), others.x.ravel()])
    weight = np.concatenate([tubules.weight[shown].ravel(), others.weight.ravel()])
    # Punctate labelling: few points, each brighter.
    density = 1 - 0.85 * protein.grain
    weight = weight * (rng.random(len(weight)) < density) * rng.gamma(2.0, 0.5, len(weight))
    return gaussian_filter(deposit(cells.labels.shape, y, x, weight) * fade(cells), 0.17 / cells.pixel_um)


def _plasma_membrane(rng: np.random.Generator, cells: Cells, protein: Protein) -> np.ndarray:
    width = 0.35 + 0.4 * protein.spread
    rim = np.exp(-((cells.edge_um / width) ** 2)) * (cells.labels > 0)
    rim = rim * np.clip(1 + 0.8 * smooth_noise(rng, rim.shape, 2.0 / cells.pixel_um), 0.05, None)
    # The membrane above and below the cell is a faint, uneven sheet.
    sheet = (cells.labels > 0) * np.clip(1 + 0.4 * smooth_noise(rng, rim.shape, 1.0 / cells.pixel_um), 0, None)
    smooth = even_out(rim, cells) + (0.35 + 0.5 * protein.spread) * even_out(sheet, cells)
    return _grainy(rng, smooth, cells, grain=0.5 * protein.grain, per_cell=320, size_um=0.22)


_PATTERNS = {
    "Cytosol": _cytosol,
    "Golgi apparatus": _golgi,
    "Mitochondria": _mitochondria,
    "Nuclear membrane": _nuclear_membrane,
    "Nuclear speckles": _speckles,
    "Nucleoli": _nucleoli,
    "Nucleoplasm": _nucleoplasm,
    "Plasma membrane": _plasma_membrane,
}
