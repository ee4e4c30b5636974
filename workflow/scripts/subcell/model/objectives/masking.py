"""Which patches the encoder sees."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def choose_patches(
    objects: torch.Tensor, *, mask_ratio: float, object_mask_ratio: float = 0.0, generator: torch.Generator
) -> torch.Tensor:
    """Choose at random the patches that stay visible, the same number in every image.

    Parameters
    ----------
    objects : (N, T) bool, patches on the cell (see `object_patches`)
    mask_ratio : share of patches that are hidden; int(T * (1 - mask_ratio)) stay
    object_mask_ratio : at most int(objects * (1 - object_mask_ratio)) patches on the cell stay, as long as there are
        enough others; 0 looks at all patches alike
    generator : on the device of `objects`

    Returns
    -------
    (N, K) patch numbers, ascending
    """
    count, tokens = objects.shape
    kept = int(tokens * (1 - mask_ratio))
    order = torch.rand(count, tokens, generator=generator, device=objects.device)
    if object_mask_ratio > 0:
        allowed = (objects.sum(dim=1, keepdim=True) * (1 - object_mask_ratio)).long()
        # A draw of its own says which patches of the cell may stay, or those that come first anyway would.
        among = torch.rand(count, tokens, generator=generator, device=objects.device).masked_fill(~objects, torch.inf)
        order = order + (objects & (among.argsort(dim=1).argsort(dim=1) >= allowed))
    return order.argsort(dim=1)[:, :kept].sort(dim=1).values


def object_patches(masks: torch.Tensor, *, patch: int) -> torch.Tensor:
    """Which patches are on the cell: the mask, brought to one pixel a patch by taking the nearest.

    Parameters
    ----------
    masks : (N, H, W)

    Returns
    -------
    (N, T) bool, row by row
    """
    grid = (masks.shape[-2] // patch, masks.shape[-1] // patch)
    return F.interpolate(masks[:, None].float(), size=grid, mode="nearest")[:, 0].flatten(1) > 0.5
