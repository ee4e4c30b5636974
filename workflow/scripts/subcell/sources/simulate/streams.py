"""Random numbers that depend on names, never on the order in which things are drawn."""

import hashlib

import numpy as np
from scipy import fft


def stream(seed: int, *names: object) -> np.random.Generator:
    """Random generator for one thing, e.g. ``stream(1, "plate", "demo01")``.

    The same seed and names give the same numbers whatever else is drawn before, so a field looks the same in any shard.
    """
    digest = hashlib.sha256("\0".join(str(name) for name in names).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma_px: float) -> np.ndarray:
    """Gaussian random field of zero mean and unit variance, correlated over `sigma_px`.

    Returns
    -------
    (Y, X) float32; it wraps around at the borders
    """
    spectrum = fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    fy = fft.fftfreq(shape[0]).astype(np.float32)[:, None]
    fx = fft.rfftfreq(shape[1]).astype(np.float32)[None, :]
    noise = fft.irfft2(spectrum * np.exp(-2 * (np.pi * sigma_px) ** 2 * (fy**2 + fx**2)), s=shape)
    noise -= noise.mean()
    return (noise / max(float(noise.std()), 1e-9)).astype(np.float32)
