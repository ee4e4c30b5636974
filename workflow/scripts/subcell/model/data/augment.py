"""Augmentations of the paper, computed for a whole batch at once on the images' device.

All take and give float images (N, C, H, W) and draw from `generator`, which lives on the same device. Brightness, contrast
and sharpness end within 0..1, as torchvision's do, which the reference calls; noise may leave it.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low


def _coin(shape: tuple[int, ...], p: float, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(shape, generator=generator, device=generator.device) < p


def geometry(
    images: torch.Tensor, masks: torch.Tensor, *, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Flip, then turn or tilt each image, its mask with it; what comes into view is zero.

    Horizontal and vertical flip with probability 0.5 each; then, with equal chance, either rotation within 90 degrees,
    shift within 0.2 of a side and scale 0.8 to 1.2, or, half the time, a perspective with distortion 0.25.

    Parameters
    ----------
    images : (N, C, H, W) float
    masks : (N, H, W) bool or 0/1

    Returns
    -------
    images (N, C, H, W) and masks (N, H, W) bool after one bilinear sampling
    """
    channels = images.shape[1]
    grid = _sampling_grid(_random_homographies(len(images), generator), *images.shape[2:])
    both = torch.cat((images, masks[:, None].to(images.dtype)), dim=1)
    moved = F.grid_sample(both, grid.to(images.dtype), mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved[:, :channels], moved[:, channels] >= 0.5


def _sampling_grid(to_source: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Where in the source (N, H, W, 2: x, y) each pixel of the result lies."""
    y = (torch.arange(height, device=to_source.device) * 2 + 1) / height - 1
    x = (torch.arange(width, device=to_source.device) * 2 + 1) / width - 1

    def line(row: int) -> torch.Tensor:
        a, b, c = to_source[:, row, :, None, None].unbind(dim=1)
        return a * x + (b * y[:, None] + c)

    depth = line(2)
    return torch.stack((line(0) / depth, line(1) / depth), dim=-1)


def _random_homographies(count: int, generator: torch.Generator) -> torch.Tensor:
    """Matrices (N, 3, 3) from places in the result to places in the source, sides running from -1 to 1."""
    matrix = torch.eye(3, device=generator.device).repeat(count, 1, 1)
    turned = _coin((count,), 0.5, generator)
    angle = _uniform((count,), -math.pi / 2, math.pi / 2, generator)
    scale = _uniform((count,), 0.8, 1.2, generator)
    shift = _uniform((count, 2), -0.4, 0.4, generator)  # 0.2 of a side that is 2 long
    affine = matrix.clone()
    affine[:, 0, 0] = affine[:, 1, 1] = angle.cos() / scale
    affine[:, 0, 1] = angle.sin() / scale
    affine[:, 1, 0] = -angle.sin() / scale
    affine[:, :2, 2:] = -affine[:, :2, :2] @ shift[..., None]
    tilted = _coin((count,), 0.5, generator)
    perspective = _perspectives(_uniform((count, 4, 2), 0, 0.25, generator))
    matrix = torch.where(turned[:, None, None], affine, torch.where(tilted[:, None, None], perspective, matrix))
    flips = torch.where(_coin((count, 2), 0.5, generator), -1.0, 1.0)
    # Flipped first, so the flip is the last thing on the way from the result to the source.
    return torch.cat((flips, torch.ones(count, 1, device=generator.device)), dim=1)[:, :, None] * matrix


def _perspectives(moved: torch.Tensor) -> torch.Tensor:
    """Homographies under which the source's corners appear moved inwards by (N, 4, 2), in half sides."""
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], device=moved.device)
    target = corners * (1 - moved)
    x, y = target[..., 0], target[..., 1]
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    u, v = corners[:, 0].expand_as(x), corners[:, 1].expand_as(x)
    of_x = torch.stack((x, y, one, zero, zero, zero, -x * u, -y * u), dim=-1)
    of_y = torch.stack((zero, zero, zero, x, y, one, -x * v, -y * v), dim=-1)
    numbers = torch.linalg.solve(torch.cat((of_x, of_y), dim=1), torch.cat((u, v), dim=1))
    return torch.cat((numbers, torch.ones_like(numbers[:, :1])), dim=1).unflatten(1, (3, 3))


def intensity(images: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    """All intensity augmentations, in the paper's order.

    Parameters
    ----------
    images : (N, C, H, W) float, scaled to 0..1; the protein is the last channel
    """
    images = remove_channel(images, generator=generator)
    images = rescale_protein(images, generator=generator)
    images = jitter(images, generator=generator)
    images = blur_or_sharpen(images, generator=generator)
    images = add_noise(images, generator=generator)
    return erase(images, generator=generator)


def remove_channel(images: torch.Tensor, *, generator: torch.Generator, p: float = 0.25) -> torch.Tensor:
    """Set one channel to zero, never the last, which is the protein; not of two, or the protein would be left alone."""
    count, channels = images.shape[:2]
    if channels <= 2:
        return images
    chosen = torch.randint(channels - 1, (count,), generator=generator, device=generator.device)
    chosen = torch.where(_coin((count,), p, generator), chosen, -1)
    kept = torch.arange(channels, device=images.device) != chosen[:, None]
    return images * kept[:, :, None, None]


def drop_landmarks(images: torch.Tensor, *, p: float, generator: torch.Generator) -> torch.Tensor:
    """Set each channel but the last to zero with probability p; not the paper's, whose views lose one at most."""
    kept = ~_coin((*images.shape[:2], 1, 1), p, generator)
    kept[:, -1] = True
    return images * kept


def rescale_protein(images: torch.Tensor, *, generator: torch.Generator, p: float = 0.25) -> torch.Tensor:
    """Multiply the protein channel by 0 to 2 over the maximum of all channels, so that a dim protein stays dim."""
    count, channels = images.shape[:2]
    factor = _uniform((count,), 0, 2, generator) / (images.amax(dim=(1, 2, 3)) + 1e-6)
    factors = torch.ones(count, channels, device=images.device)
    factors[:, -1] = torch.where(_coin((count,), p, generator), factor, 1.0)
    return images * factors[:, :, None, None]


def jitter(images: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    """Brightness and contrast of each channel, factors 0.5 to 1.5, in either order; the contrast is about the mean."""
    shape = (*images.shape[:2], 1, 1)
    brightness = _uniform(shape, 0.5, 1.5, generator)
    contrast = _uniform(shape, 0.5, 1.5, generator)
    brighter_first = _coin(shape, 0.5, generator)
    first = images * torch.where(brighter_first, brightness, 1.0)
    first = torch.clamp(first, max=torch.where(brighter_first, 1.0, torch.inf))
    stretched = torch.lerp(first.mean(dim=(2, 3), keepdim=True), first, contrast).clamp_(0, 1)
    return stretched.mul_(torch.where(brighter_first, 1.0, brightness)).clamp_(0, 1)


def blur_or_sharpen(images: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    """With equal chance blur an image's channels (each p 0.5) or sharpen them (each p 0.25)."""
    count, channels, height, width = images.shape
    blurred = _coin((count, 1), 0.5, generator)
    chance = torch.where(blurred, 0.5, 0.25)
    chosen = torch.rand(count, channels, generator=generator, device=generator.device) < chance
    sigma = _uniform((count, channels), 0.1, 2.0, generator)
    planes = images.reshape(1, count * channels, height, width).clone()
    to_blur = (chosen & blurred).flatten().nonzero()[:, 0]
    if len(to_blur):
        planes[:, to_blur] = _gaussian_blur(planes[:, to_blur], sigma.flatten()[to_blur])
    to_sharpen = (chosen & ~blurred).flatten().nonzero()[:, 0]
    if len(to_sharpen):
        planes[:, to_sharpen] = _sharpen(planes[:, to_sharpen])
    return planes.reshape(images.shape)


def _gaussian_blur(planes: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Blur planes (1, M, H, W), each with its own sigma, by a kernel of 7 pixels; edges are reflected."""
    kernel = torch.exp(-0.5 * (torch.arange(-3, 4, device=planes.device) / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).to(planes.dtype)
    padded = F.pad(planes, (3, 3, 3, 3), mode="reflect")
    height, width = planes.shape[-2:]
    # Sums of shifted planes: convolutions with one group a plane are many times slower.
    rows = torch.zeros_like(padded[..., :height, :])
    for place in range(7):
        rows.addcmul_(padded[..., place : place + height, :], kernel[:, place, None, None])
    both = torch.zeros_like(planes)
    for place in range(7):
        both.addcmul_(rows[..., place : place + width], kernel[:, place, None, None])
    return both


def _sharpen(planes: torch.Tensor) -> torch.Tensor:
    """Twice the plane minus the plane smoothed by [[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13, within 0..1; the border stays."""
    inner = planes[..., 1:-1, 1:-1]
    around = F.avg_pool2d(planes, 3, stride=1) * 9
    sharpened = planes.clone()
    sharpened[..., 1:-1, 1:-1] = 2 * inner - (around + 4 * inner) / 13
    return sharpened.clamp_(0, 1)


def add_noise(images: torch.Tensor, *, generator: torch.Generator, p: float = 0.5) -> torch.Tensor:
    """Add normal noise to an image with probability p, of another deviation from 0.01 to 0.05 in each channel."""
    sigma = _uniform((*images.shape[:2], 1, 1), 0.01, 0.05, generator)
    chosen = _coin((len(images),), p, generator).nonzero()[:, 0]
    noise = torch.randn((len(chosen), *images.shape[1:]), generator=generator, device=generator.device)
    noisy = images.clone()
    noisy[chosen] += noise.mul_(sigma[chosen])
    return noisy


def erase(images: torch.Tensor, *, generator: torch.Generator, p: float = 0.25) -> torch.Tensor:
    """Set a rectangle of each channel to zero with probability p: 0.02 to 0.1 of the area, sides 0.3 to 3.3.

    The reference tosses a coin of 0.5 twice, hence p.
    """
    count, channels, height, width = images.shape
    shape = (count, channels)
    area = _uniform(shape, 0.02, 0.1, generator) * height * width
    ratio = _uniform(shape, math.log(0.3), math.log(3.3), generator).exp()
    tall = (area * ratio).sqrt().round().clamp(max=height)
    wide = (area / ratio).sqrt().round().clamp(max=width)
    top = (_uniform(shape, 0, 1, generator) * (height - tall + 1)).floor()
    left = (_uniform(shape, 0, 1, generator) * (width - wide + 1)).floor()
    chosen = _coin(shape, p, generator)
    y = torch.arange(height, device=images.device)
    x = torch.arange(width, device=images.device)
    rows = (y >= top[..., None]) & (y < (top + tall)[..., None]) & chosen[..., None]
    columns = (x >= left[..., None]) & (x < (left + wide)[..., None])
    return images.masked_fill(rows[..., :, None] & columns[..., None, :], 0.0)
