"""The encoder with all that it is trained with: decoder, projection heads, classifier that watches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from subcell.model.batches import View
from subcell.model.decoder import Decoder, patchify
from subcell.model.encoder import build_encoder
from subcell.model.heads import OnlineClassifier, ProjectionHead
from subcell.model.losses import contrastive_loss, reconstruction_loss
from subcell.model.masking import choose_patches, object_patches
from subcell.model.processes import gather
from subcell.model.recipes import Recipe
from subcell.model.sizes import Size


class Pretraining(nn.Module):
    """A network as it is trained.

    Parameters
    ----------
    recipe, size : what it is taught, how large it is
    in_channels, image_px : of the images
    classes : locations that the classifier tells apart; 0 leaves it out
    seed : of the weights
    """

    def __init__(
        self, *, recipe: Recipe, size: Size, in_channels: int = 4, image_px: int, classes: int, seed: int
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.encoder = build_encoder(
            size=size,
            in_channels=in_channels,
            image_px=image_px,
            positions=recipe.positions,
            pooling=recipe.pooling,
            seed=seed,
        )
        dim = self.encoder.dim
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.decoder = (
                Decoder(size=size, in_channels=in_channels, side=self.encoder.side) if recipe.reconstruction else None
            )
            self.cell_head = self._head(dim, size) if recipe.cell_specific else None
            self.protein_head = self._head(dim, size) if recipe.protein_specific else None
            self.classifier = OnlineClassifier(dim, classes=classes) if classes else None

    @staticmethod
    def _head(dim: int, size: Size) -> ProjectionHead:
        return ProjectionHead(dim, hidden_dim=size.projection_dim, out_dim=size.projected_dim)

    def forward(
        self,
        views: Sequence[View],
        *,
        cells: torch.Tensor,
        positives: torch.Tensor,
        locations: torch.Tensor,
        labelled: torch.Tensor,
        generator: torch.Generator,
    ) -> dict[str, torch.Tensor]:
        """Losses of a batch of N cells.

        Parameters
        ----------
        views : one or two, as the recipe says
        cells : (N,) numbers of the cells; a cell that occurs twice is its own positive
        positives : (N,) see `subcell.model.sampler.positive_labels`
        locations : (N, classes) 0 or 1; only the classifier sees them
        labelled : (N,) bool, cells whose locations are known
        generator : chooses the hidden patches

        Returns
        -------
        `loss`, the weighted sum that trains the encoder; its terms `reconstruction`, `cell_specific`,
        `protein_specific` without weights; `classifier`, which trains the classifier alone
        """
        vectors, terms = self._encode(views, generator)
        vectors = gather(vectors)
        weights = {"reconstruction": self.recipe.reconstruction}
        for name, head, labels, weight in (
            ("cell_specific", self.cell_head, cells, self.recipe.cell_specific),
            ("protein_specific", self.protein_head, positives, self.recipe.protein_specific),
        ):
            if head is not None:
                terms[name] = contrastive_loss(
                    head(vectors), gather(labels.repeat(len(views))), temperature=self.recipe.temperature
                )
                weights[name] = weight
        losses = {"loss": torch.stack([weights[name] * term for name, term in terms.items()]).sum(), **terms}
        # Last, so that its dropout draws after everything that teaches the encoder.
        known = gather(labelled.repeat(len(views)))
        if self.classifier is not None and known.any():
            logits = self.classifier(vectors[known])
            losses["classifier"] = sigmoid_focal_loss(
                logits,
                gather(locations.repeat(len(views), 1))[known].to(logits.dtype),
                alpha=0.25,
                gamma=2,
                reduction="mean",
            )
        return losses

    def _encode(
        self, views: Sequence[View], generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Vectors of all views, the first view's first, and the reconstruction loss where there is one."""
        if self.decoder is None:
            return self.encoder(torch.cat([view.images for view in views])).vector, {}
        first, *others = views
        keep = choose_patches(
            object_patches(first.masks, patch=self.encoder.patch),
            mask_ratio=self.recipe.mask_ratio,
            object_mask_ratio=self.recipe.object_mask_ratio,
            generator=generator,
        )
        seen = self.encoder(first.images, keep)
        reconstruction = reconstruction_loss(
            self.decoder(seen.tokens, keep), patchify(first.images, self.encoder.patch), keep
        )
        vectors = [seen.vector, *(self.encoder(view.images).vector for view in others)]
        return torch.cat(vectors), {"reconstruction": reconstruction}
