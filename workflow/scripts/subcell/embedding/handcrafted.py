"""Classical features of a cell: intensity, texture, granularity, radial distribution, correlation and shape."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import cv2
import numpy as np
import pandas as pd
from cp_measure.bulk import get_core_measurements, get_correlation_measurements
from mahotas.features.texture import haralick_features
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import graycomatrix

from subcell.channels import CHANNELS
from subcell.crops.store import MASKS
from subcell.embedding.mask_shape import MASK_SHAPES, mask_shape
from subcell.embedding.models import Embedded
from subcell.embedding.shortcuts import depth_of

RINGS = 5
"""Rings of equal depth between the edge of the cell and its innermost pixel, and around the nucleus."""

GRAIN_RADII_PX = (1, 2, 3, 4, 6, 8)
TEXTURE_SCALES_PX = (1, 3)
GRAY_LEVELS = 32
DIRECTIONS = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)

LANDMARKS, PROTEIN = CHANNELS[:-1], CHANNELS[-1]
PAIRS = tuple(combinations(range(len(CHANNELS)), 2))

INTENSITY = (
    *("MeanIntensity", "StdIntensity", "MedianIntensity", "MADIntensity", "LowerQuartileIntensity"),
    *("UpperQuartileIntensity", "MassDisplacement"),
)
HARALICK = (
    *("AngularSecondMoment", "Contrast", "Correlation", "Variance", "InverseDifferenceMoment", "SumAverage"),
    *("SumVariance", "SumEntropy", "Entropy", "DifferenceVariance", "DifferenceEntropy", "InfoMeas1", "InfoMeas2"),
)


class Handcrafted:
    """223 named features of a cell, most of them as CellProfiler defines them.

    Intensity, Haralick texture, Manders and rank-weighted colocalisation come from cp_measure, outlines from
    scikit-image. cp_measure's granularity and radial distribution cost several times the rest together, so these two
    are measured here: granularity as Maragos' pattern spectrum (openings with rising discs, IEEE PAMI 11, 1989), radial
    distribution over rings of equal depth. Each channel is scaled to its own 99.9 % quantile within the cell, because
    the brightness of a stain says little about where it is; nothing outside the cell mask is looked at.
    """

    requires: Sequence[str] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self._core = get_core_measurements(sanitize=False)
        self._correlation = get_correlation_measurements(sanitize=False)
        one_cell = np.zeros((len(MASKS) + len(CHANNELS), 16, 16), np.uint8)
        one_cell[:, 4:12, 4:12] = 1
        self.features = tuple(self._measure(one_cell))
        self.description = {
            "kind": "handcrafted",
            "checkpoint_sha256": "",
            "normalisation": "each channel by its 99.9 % quantile in the cell",
        }

    def embed(self, images: NDArray[Any], obs: pd.DataFrame) -> Embedded:
        """See `Embedder.embed`; a feature that is not defined for a cell (a constant channel, say) is 0."""
        vectors = np.zeros((len(images), len(self.features)), np.float32)
        for vector, crop in zip(vectors, images, strict=True):
            if crop[1].any():
                vector[:] = list(self._measure(crop).values())
        return Embedded(np.nan_to_num(vectors, nan=0.0, posinf=0.0, neginf=0.0))

    def _measure(self, crop: NDArray[Any]) -> dict[str, float]:
        """All features of one crop (6, H, W), in a fixed order."""
        crop = _trim(crop)
        nucleus, cell = crop[0] != 0, crop[1] != 0
        channels = _scaled(crop[2:], cell)
        pixels = channels[:, cell]
        depth, nucleus_depth = depth_of(cell), depth_of(nucleus)
        around_nucleus = _distance_to(nucleus)
        features: dict[str, float] = {}
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # Constant channels divide by zero in several places; those features are set to 0 later.
            warnings.simplefilter("ignore")
            for mask, name, inside in ((nucleus, MASKS[0], nucleus_depth), (cell, MASKS[1], depth)):
                features |= _named(name, MASK_SHAPES, mask_shape(mask, depth=inside))
            label = cell.astype(np.int32)
            for channel, name in zip(channels, CHANNELS, strict=True):
                features |= self._intensity(channel, label, name)
                features |= _texture(channel, cell, name)
                features |= _named(f"{name}_grain", GRAIN_RADII_PX, granularity(channel, cell))
                features |= _named(f"{name}_depth_ring", range(RINGS), ring_means(channel, depth, cell))
                features |= _named(f"{name}_nucleus_ring", range(RINGS), ring_means(channel, around_nucleus, cell))
                features |= _compartments(channel, nucleus, cell, name)
            features |= _correlations(pixels)
            features |= self._colocalisation(channels, label)
        return features

    def _intensity(self, channel: NDArray[np.float64], label: NDArray[np.int32], name: str) -> dict[str, float]:
        measured = self._core["intensity"](label, channel, edge_measurements=False)
        return {f"{name}_{key}": float(measured[f"Intensity_{key}"][0]) for key in INTENSITY}

    def _colocalisation(self, channels: NDArray[np.float64], label: NDArray[np.int32]) -> dict[str, float]:
        features = {}
        for landmark, name in zip(channels[:-1], LANDMARKS, strict=True):
            for kind in ("manders_fold", "rwc"):
                measured = self._correlation[kind](channels[-1], landmark, label)
                for key, values in measured.items():
                    features[f"{PROTEIN}_{name}_{key}"] = float(values[0])
        return features


def granularity(channel: NDArray[np.float64], cell: NDArray[np.bool_]) -> list[float]:
    """Share of the light in a cell that an opening with each disc of `GRAIN_RADII_PX` takes away beyond the one before.

    Returns
    -------
    One number a radius, in [0, 1]: large where the channel has grains of about that radius
    """
    masked = np.where(cell, channel, 0).astype(np.float32)
    total = max(float(masked.sum()), 1e-6)
    left = total
    spectrum = []
    for radius in GRAIN_RADII_PX:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        opened = float(cv2.morphologyEx(masked, cv2.MORPH_OPEN, disc).sum())
        spectrum.append((left - opened) / total)
        left = opened
    return spectrum


def ring_means(channel: NDArray[np.float64], distance: NDArray[np.float32], cell: NDArray[np.bool_]) -> list[float]:
    """Mean of a channel in rings, relative to its mean in the cell.

    Parameters
    ----------
    channel : (H, W)
    distance : (H, W) by which rings are drawn, `RINGS` of them of equal width from 0 to its largest value in the cell
    cell : (H, W) bool

    Returns
    -------
    One number a ring, 1 where the ring is as bright as the cell, 0 for a ring without pixels
    """
    values, distances = channel[cell], distance[cell]
    rings = np.minimum((distances / max(float(distances.max()), 1e-6) * RINGS).astype(int), RINGS - 1)
    light = np.bincount(rings, values, minlength=RINGS)
    pixels = np.bincount(rings, minlength=RINGS)
    mean = max(float(values.mean()), np.finfo(float).eps)
    return list(light / np.maximum(pixels, 1) / mean)


def _distance_to(nucleus: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance of each pixel to the nucleus; zero everywhere for a cell without one."""
    if not nucleus.any():
        return np.zeros(nucleus.shape, np.float32)
    return ndimage.distance_transform_edt(~nucleus).astype(np.float32)


def _texture(channel: NDArray[np.float64], cell: NDArray[np.bool_], name: str) -> dict[str, float]:
    """Haralick features of pairs of pixels inside the cell, pooled over the four directions: a cell has no up."""
    # Level 0 is everything outside the cell; pairs with it are dropped.
    levels = np.where(cell, 1 + np.minimum(channel * GRAY_LEVELS, GRAY_LEVELS - 1).astype(np.uint8), 0).astype(np.uint8)
    scales = TEXTURE_SCALES_PX if name == PROTEIN else TEXTURE_SCALES_PX[:1]
    pairs = graycomatrix(levels, scales, DIRECTIONS, levels=GRAY_LEVELS + 1, symmetric=True)[1:, 1:].sum(axis=-1)
    features: dict[str, float] = {}
    for i, scale in enumerate(scales):
        if not pairs[..., i].any():
            features |= _named(f"{name}_{scale}px", HARALICK, np.zeros(len(HARALICK)))
            continue
        features |= _named(f"{name}_{scale}px", HARALICK, haralick_features([pairs[..., i]])[0])
    return features


def _trim(crop: NDArray[Any]) -> NDArray[Any]:
    """The part of a crop that holds the cell, with a frame of one pixel: measuring background costs time."""
    rows, columns = (np.flatnonzero((crop[:2] != 0).any(axis=(0, axis))) for axis in (2, 1))
    top, left = max(0, rows[0] - 1), max(0, columns[0] - 1)
    return crop[:, top : rows[-1] + 2, left : columns[-1] + 2]


def _scaled(channels: NDArray[Any], cell: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Channels in [0, 1], zero outside the cell; a channel without light stays zero."""
    top = np.quantile(channels[:, cell], 0.999, axis=1)
    scaled = channels / np.maximum(top, 1e-6)[:, None, None]
    return np.where(cell, np.clip(scaled, 0, 1), 0.0)


def _compartments(
    channel: NDArray[np.float64], nucleus: NDArray[np.bool_], cell: NDArray[np.bool_], name: str
) -> dict[str, float]:
    """How a channel is shared between the nucleus, its rim and the cytoplasm."""
    mean = max(float(channel[cell].mean()), np.finfo(float).eps)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    rim = (cv2.morphologyEx(nucleus.astype(np.uint8), cv2.MORPH_GRADIENT, disc) != 0) & cell
    parts = {"nucleus": nucleus & cell, "nuclear_rim": rim, "cytoplasm": cell & ~nucleus}
    features = {}
    for part, where in parts.items():
        values = channel[where]
        features[f"{name}_mean_in_{part}"] = float(values.mean() / mean) if values.size else 0.0
        features[f"{name}_std_in_{part}"] = float(values.std() / mean) if values.size else 0.0
    return features


def _correlations(pixels: NDArray[np.float64]) -> dict[str, float]:
    """Pearson's correlation of every pair of channels over the pixels (channels, P) of a cell."""
    matrix = np.atleast_2d(np.corrcoef(pixels))
    return {f"{CHANNELS[i]}_{CHANNELS[j]}_pearson": float(matrix[i, j]) for i, j in PAIRS}


def _named(prefix: str, names: Any, values: Any) -> dict[str, float]:
    return {f"{prefix}_{name}": float(value) for name, value in zip(names, values, strict=True)}
