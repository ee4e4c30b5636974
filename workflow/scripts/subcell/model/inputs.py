"""From stored pixels to what a network gets."""

from __future__ import annotations

import torch


def mask_and_scale(images: torch.Tensor, masks: torch.Tensor, *, eps: float = 1e-6) -> torch.Tensor:
    """Set everything outside the cell to zero, then bring each cell to 0..1 over all channels and pixels together.

    Parameters
    ----------
    images : (N, C, H, W), any type and unit
    masks : (N, H, W) bool or 0/1; ones everywhere keep the surroundings
    eps : added to the range, so that a blank cell gives zeros

    Returns
    -------
    (N, C, H, W) float32
    """
    masked = images.float() * masks[:, None].float()
    low = masked.amin(dim=(1, 2, 3), keepdim=True)
    high = masked.amax(dim=(1, 2, 3), keepdim=True)
    return (masked - low) / (high - low + eps)


def half_masked(*, items: int, cells: int, generator: torch.Generator) -> torch.Tensor:
    """Choose which cells lose their surroundings in one view: of each item, half of its cells.

    Parameters
    ----------
    items, cells : cells of the batch, item by item; of an odd number one less is masked than not
    generator : decides which; its device is the result's

    Returns
    -------
    (items * cells,) bool
    """
    order = torch.rand(items, cells, generator=generator, device=generator.device).argsort(dim=1)
    return (order < cells // 2).flatten()
