"""From stored pixels to what a network gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from subcell.channels import CHANNELS

Scaling = Literal["minmax", "channel", "percentile"]
"""`minmax`: lowest and highest value of a cell over all channels (the paper's); `channel`: of each channel by itself;
`percentile`: as `minmax`, but without the outermost thousandth at either end, where values are cut."""
OUTERMOST = 0.001
"""Share of a cell's pixels at either end of the range that the percentile scaling leaves out."""


def mask_and_scale(
    images: torch.Tensor, masks: torch.Tensor, *, scaling: Scaling = "minmax", eps: float = 1e-6
) -> torch.Tensor:
    """Set everything outside the cell to zero, then bring each cell to 0..1.

    Parameters
    ----------
    images : (N, C, H, W), any type and unit
    masks : (N, H, W) bool or 0/1; ones everywhere keep the surroundings
    scaling : what sets the range, see `Scaling`
    eps : added to the range, so that a blank cell, or a blank channel scaled by itself, gives zeros

    Returns
    -------
    (N, C, H, W) float32
    """
    masked = images.float() * masks[:, None].float()
    dims = (2, 3) if scaling == "channel" else (1, 2, 3)
    if scaling != "percentile":
        low, high = masked.amin(dim=dims, keepdim=True), masked.amax(dim=dims, keepdim=True)
        return (masked - low) / (high - low + eps)
    flat = masked.flatten(1)
    outermost = int(flat.shape[-1] * OUTERMOST)
    low = flat.kthvalue(outermost + 1, dim=-1).values[:, None, None, None]
    high = flat.kthvalue(flat.shape[-1] - outermost, dim=-1).values[:, None, None, None]
    return ((masked - low) / (high - low + eps)).clamp(0, 1)


def some_masked(*, items: int, cells: int, share: float, generator: torch.Generator) -> torch.Tensor:
    """Choose which cells lose their surroundings in one view: the same number of each item.

    Parameters
    ----------
    items, cells : cells of the batch, item by item
    share : of the cells of an item, rounded down; the paper's is a half
    generator : decides which; its device is the result's

    Returns
    -------
    (items * cells,) bool
    """
    order = torch.rand(items, cells, generator=generator, device=generator.device).argsort(dim=1)
    return (order < int(cells * share)).flatten()


@dataclass(frozen=True)
class Inputs:
    """How stored crops become what a network takes.

    Attributes
    ----------
    channels : stored channel that each of the network's channels is read from, in the network's order
    masked : set everything outside the cell to zero first
    scaling : bring the pixels of a cell to 0..1 as `Scaling` says, or divide them by the largest value of the stored `type`
    mean, std : of each channel of the network, subtracted and divided by afterwards; none where empty
    pixels : side that images are resized to; None keeps them
    box_margin_px : cut the box around the cell, with this margin, before resizing; None keeps the whole crop
    """

    channels: tuple[str, ...] = CHANNELS
    masked: bool = True
    scaling: Scaling | Literal["type"] = "minmax"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    pixels: int | None = None
    box_margin_px: float | None = None

    @property
    def words(self) -> str:
        """What is done, for people."""
        scaling = {
            "minmax": "min-max over all channels and pixels of the cell",
            "channel": "min-max of each channel of the cell",
            "percentile": "0.1 to 99.9 percentile over all channels and pixels of the cell",
            "type": "divided by the largest value of the pixel type",
        }[self.scaling]
        return ", then ".join(
            [
                "multiplied by the cell mask" if self.masked else "surroundings kept",
                *(["cut to the box around the cell"] if self.box_margin_px is not None else []),
                scaling,
                *([f"resized to {self.pixels} px"] if self.pixels else []),
                *(["standardised by the network's mean and deviation"] if self.mean else []),
            ]
        )

    def __call__(self, crops: torch.Tensor) -> torch.Tensor:
        """Prepare crops.

        Parameters
        ----------
        crops : (N, 6, H, W) uint8 or uint16 as stored: nucleus mask, cell mask, then the four channels; on any device

        Returns
        -------
        (N, channels, h, w) float32; a blank cell, or a blank channel of one, gives zeros before standardisation
        """
        # Masks first: torch can compare but hardly compute with uint16.
        own = crops[:, 1].float() > 0
        planes = [2 + CHANNELS.index(name) for name in self.channels]
        images = torch.stack([crops[:, plane] for plane in planes], dim=1).float()
        masks = own if self.masked else torch.ones_like(own)
        if self.scaling == "type":
            images = images * masks[:, None] / torch.iinfo(crops.dtype).max
        else:
            images = mask_and_scale(images, masks, scaling=self.scaling)
        if self.box_margin_px is not None:
            images = _boxes(images, own, margin=self.box_margin_px, pixels=self.pixels or images.shape[-1])
        elif self.pixels and images.shape[-2:] != (self.pixels, self.pixels):
            images = nn.functional.interpolate(
                images, size=(self.pixels, self.pixels), mode="bilinear", align_corners=False, antialias=True
            )
        if self.mean:
            mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (self.mean, self.std))
            images = (images - mean) / std
        return images


def _boxes(images: torch.Tensor, own: torch.Tensor, *, margin: float, pixels: int) -> torch.Tensor:
    """The box around each cell, stretched to a square; areas are averaged where it becomes smaller."""
    boxes = []
    for image, mask in zip(images, own, strict=True):
        rows, columns = (mask.any(dim=axis).nonzero().flatten() for axis in (1, 0))
        if len(rows):
            # Slices end at the edge of the crop by themselves.
            top, left = (max(0, int(axis[0]) - round(margin)) for axis in (rows, columns))
            bottom, right = (int(axis[-1]) + 1 + round(margin) for axis in (rows, columns))
            image = image[:, top:bottom, left:right]
        shrinks = image.shape[-1] >= pixels and image.shape[-2] >= pixels
        how = {"mode": "area"} if shrinks else {"mode": "bilinear", "align_corners": False}
        boxes.append(nn.functional.interpolate(image[None], size=(pixels, pixels), **how))
    return torch.cat(boxes) if boxes else images.new_zeros((0, images.shape[1], pixels, pixels))
