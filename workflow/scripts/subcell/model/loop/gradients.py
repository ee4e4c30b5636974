"""Gradients of a batch, also of one that is larger than what a device takes through the network at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch

from subcell.model.data.batches import View
from subcell.model.loop.pretraining import Labels, Pretraining

Autocast = Callable[[], AbstractContextManager[object]]


def compute_gradients(
    network: Pretraining,
    views: Sequence[View],
    labels: Labels,
    *,
    generator: torch.Generator,
    autocast: Autocast,
    cells_per_pass: int | None = None,
) -> dict[str, torch.Tensor]:
    """Add the gradients of a batch to those of the network, compared as a whole however many cells pass at once.

    Parameters
    ----------
    network : in training mode
    views : see `subcell.model.data.batches.make_views`
    labels : of the N cells
    generator : chooses the hidden patches
    autocast : context of the forward passes
    cells_per_pass : cells of one view in a pass; None or N and more keep the activations of the whole batch

    Returns
    -------
    losses as `Pretraining.losses` gives them

    Notes
    -----
    In parts, vectors are computed first without keeping activations, the heads and losses see all of them and give the
    gradient of each vector, and each part is passed again, with the same dropout, to bring its gradients to the weights
    (Gao et al. 2021, arXiv 2101.06983). The sum is the gradient of the whole batch, to rounding.
    """
    keep = network.choose(views[0], generator)
    count = len(labels.cells)
    if cells_per_pass is None or cells_per_pass >= count:
        with autocast():
            vectors, reconstruction = network.encode([view.images for view in views], keep)
            losses = network.losses(vectors, labels, reconstruction)
        _total(losses).backward()
        return losses
    parts = [slice(start, start + cells_per_pass) for start in range(0, count, cells_per_pass)]
    passes = [_Pass(network, view.images, part, keep if number == 0 else None)
              for number, view in enumerate(views) for part in parts]  # fmt: skip
    if not (network.recipe.contrasts or network.recipe.supervised):
        return _without_comparison(network, passes, labels, autocast)
    with torch.no_grad(), autocast():
        vectors = torch.cat([one.vectors() for one in passes])
    vectors.requires_grad_()
    with autocast():
        losses = network.losses(vectors, labels)
    _total(losses).backward()
    assert vectors.grad is not None
    place = 0
    reconstruction = None
    for one in passes:
        with autocast():
            found, loss = one.again()
            goal = (found * vectors.grad[place : place + len(found)]).sum()
            if loss is not None:
                share = loss * (len(found) / count)
                goal = goal + network.recipe.reconstruction * share
                reconstruction = share.detach() if reconstruction is None else reconstruction + share.detach()
        goal.backward()
        place += len(found)
    return _with_reconstruction(network, losses, reconstruction)


class _Pass:
    """Some cells of one view, which can go through the network twice with the same dropout."""

    def __init__(self, network: Pretraining, images: torch.Tensor, part: slice, keep: torch.Tensor | None) -> None:
        self._network = network
        self._images = images[part]
        self._keep = None if keep is None else keep[part]
        self._drawn: torch.Tensor | None = None

    def vectors(self) -> torch.Tensor:
        """Vectors alone."""
        self._drawn = _random_state(self._images.device)
        return self._network.encoder(self._images, self._keep).vector

    def again(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Vectors and reconstruction loss, with the dropout of the first time."""
        if self._drawn is not None:
            _set_random_state(self._images.device, self._drawn)
        return self._network.encode([self._images], self._keep)


def _without_comparison(
    network: Pretraining, passes: Sequence[_Pass], labels: Labels, autocast: Autocast
) -> dict[str, torch.Tensor]:
    """A masked autoencoder's terms are means over cells: no vector waits for another."""
    vectors, reconstruction = [], None
    for one in passes:
        with autocast():
            found, loss = one.again()
        assert loss is not None
        share = loss * (len(found) / len(labels.cells))
        (network.recipe.reconstruction * share).backward()
        vectors.append(found.detach())
        reconstruction = share.detach() if reconstruction is None else reconstruction + share.detach()
    with autocast():
        losses = network.losses(torch.cat(vectors), labels)
    if "classifier" in losses:
        losses["classifier"].backward()
    return _with_reconstruction(network, losses, reconstruction)


def _with_reconstruction(
    network: Pretraining, losses: dict[str, torch.Tensor], reconstruction: torch.Tensor | None
) -> dict[str, torch.Tensor]:
    if reconstruction is None:
        return losses
    loss = losses["loss"] + network.recipe.reconstruction * reconstruction
    return {**losses, "loss": loss, "reconstruction": reconstruction}


def _total(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return losses["loss"] + losses.get("classifier", 0.0)


def _random_state(device: torch.device) -> torch.Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(device: torch.device, state: torch.Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
