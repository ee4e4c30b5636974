"""The encoder with all that it is trained with: decoder, projection heads, classifier that watches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from subcell.errors import ConfigError
from subcell.model.data.batches import View
from subcell.model.network.decoder import Decoder, patchify
from subcell.model.network.encoder import build_encoder
from subcell.model.network.sizes import Size
from subcell.model.objectives.heads import OnlineClassifier, ProjectionHead
from subcell.model.objectives.losses import contrastive_loss, reconstruction_loss
from subcell.model.objectives.masking import choose_patches, object_patches
from subcell.model.objectives.recipes import Recipe
from subcell.model.running.processes import gather


class Labels(NamedTuple):
    """What the losses need to know of N cells.

    Attributes
    ----------
    cells : (N,) numbers of the cells; a cell that occurs twice is its own positive
    positives : (N,) see `subcell.model.data.sampler.positive_labels`
    spared : (N,) see `spared` of `subcell.model.objectives.losses.contrastive_loss`
    locations : (N, classes) 0 or 1; only the classifier sees them
    labelled : (N,) bool, cells whose locations are known
    """

    cells: torch.Tensor
    positives: torch.Tensor
    spared: torch.Tensor
    locations: torch.Tensor
    labelled: torch.Tensor


class Pretraining(nn.Module):
    """A network as it is trained.

    Parameters
    ----------
    recipe, size : what it is taught, how large it is
    image_px : side of the images
    classes : locations that the classifier tells apart; 0 leaves it out
    spares : whether pairs of cells can be neither positives nor negatives, see `Labels`
    seed : of the weights

    Raises
    ------
    ConfigError : a supervised recipe without classes
    """

    def __init__(
        self,
        *,
        recipe: Recipe,
        size: Size,
        image_px: int,
        classes: int,
        spares: bool = False,
        seed: int,
    ) -> None:
        super().__init__()
        if recipe.supervised and not classes:
            raise ConfigError("a supervised recipe needs `locations` of training cells in the sheet; there are none")
        self.recipe = recipe
        self.spares = spares
        self.encoder = build_encoder(
            size=size,
            in_channels=len(recipe.channels),
            image_px=image_px,
            positions=recipe.positions,
            pooling=recipe.pooling,
            seed=seed,
        )
        dim = self.encoder.dim
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.decoder = (
                Decoder(size=size, in_channels=len(recipe.channels), side=self.encoder.side)
                if recipe.reconstruction
                else None
            )
            self.cell_head = self._head(dim, size) if recipe.cell_specific else None
            self.protein_head = self._head(dim, size) if recipe.protein_specific else None
            self.classifier = OnlineClassifier(dim, classes=classes) if classes else None

    @staticmethod
    def _head(dim: int, size: Size) -> ProjectionHead:
        return ProjectionHead(dim, hidden_dim=size.projection_dim, out_dim=size.projected_dim)

    def forward(self, views: Sequence[View], labels: Labels, *, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Losses of a batch of N cells, all of it at once; `subcell.model.loop.gradients` does it in parts.

        Parameters
        ----------
        views : one or two, as the recipe says
        labels : of the cells
        generator : chooses the hidden patches

        Returns
        -------
        what `losses` gives
        """
        keep = self.choose(views[0], generator)
        vectors, reconstruction = self.encode([view.images for view in views], keep)
        return self.losses(vectors, labels, reconstruction)

    def choose(self, view: View, generator: torch.Generator) -> torch.Tensor | None:
        """Numbers (N, K) of the patches of the first view that the encoder sees; None where it sees all."""
        if self.decoder is None:
            return None
        return choose_patches(
            object_patches(view.masks, patch=self.encoder.patch),
            mask_ratio=self.recipe.mask_ratio,
            object_mask_ratio=self.recipe.object_mask_ratio,
            generator=generator,
        )

    def encode(
        self, images: Sequence[torch.Tensor], keep: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Vectors of all views, the first view's first, and the reconstruction loss where there is one."""
        if self.decoder is None or keep is None:
            return self.encoder(torch.cat(list(images))).vector, None
        first, *others = images
        seen = self.encoder(first, keep)
        loss = reconstruction_loss(self.decoder(seen.tokens, keep), patchify(first, self.encoder.patch), keep)
        return torch.cat([seen.vector, *(self.encoder(view).vector for view in others)]), loss

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each term that teaches the encoder."""
        names = ("reconstruction", "cell_specific", "protein_specific", "supervised")
        return {name: getattr(self.recipe, name) for name in names if getattr(self.recipe, name)}

    def losses(
        self, vectors: torch.Tensor, labels: Labels, reconstruction: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Losses from what the encoder gave; vectors of all processes are compared as one batch.

        Parameters
        ----------
        vectors : (views * N, D), the first view's first
        labels : of the N cells
        reconstruction : its loss, where it is known already

        Returns
        -------
        `loss`, the weighted sum that trains the encoder; its terms `reconstruction`, `cell_specific`,
        `protein_specific`, `supervised` without weights; `classifier`, which trains the watching classifier alone
        """
        # View by view: batch normalisation of the heads sees one view of everyone's cells at a time, as published.
        views = [gather(view) for view in vectors.split(len(labels.cells))]
        vectors = torch.cat(views)
        everyone = Labels(*(gather(values).repeat(len(views), *[1] * (values.dim() - 1)) for values in labels))
        terms = {} if reconstruction is None else {"reconstruction": reconstruction}
        if self.cell_head is not None:
            terms["cell_specific"] = contrastive_loss(
                torch.cat([self.cell_head(view) for view in views]), everyone.cells, temperature=self.recipe.temperature
            )
        if self.protein_head is not None:
            terms["protein_specific"] = contrastive_loss(
                torch.cat([self.protein_head(view) for view in views]),
                everyone.positives,
                temperature=self.recipe.temperature,
                spared=everyone.spared if self.spares else None,
            )
        # Last, so that its dropout draws after everything else that teaches the encoder.
        known = everyone.labelled
        if self.classifier is not None:
            teaches = bool(self.recipe.supervised)
            if known.any():
                terms["supervised" if teaches else "classifier"] = self._focal_loss(
                    vectors if teaches else vectors.detach(), everyone.locations, known
                )
            elif teaches:
                terms["supervised"] = vectors.sum() * 0.0
        taught = [self.weights[name] * term for name, term in terms.items() if name in self.weights]
        # A part of a masked autoencoder's batch has no term of its own here.
        return {"loss": torch.stack(taught).sum() if taught else vectors.new_zeros(()), **terms}

    def _focal_loss(self, vectors: torch.Tensor, locations: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        assert self.classifier is not None
        logits = self.classifier(vectors[known])
        return sigmoid_focal_loss(logits, locations[known].to(logits.dtype), alpha=0.25, gamma=2, reduction="mean")
