"""The objectives."""

from __future__ import annotations

import torch


def reconstruction_loss(
    predicted: torch.Tensor, patches: torch.Tensor, keep: torch.Tensor, *, eps: float = 1e-6
) -> torch.Tensor:
    """Squared error of the hidden patches, each of which is first brought to mean 0 and variance 1.

    He et al. 2021 (arXiv 2111.06377) with normalised pixels; mean and variance run over pixels and channels together.

    Parameters
    ----------
    predicted, patches : (N, T, P)
    keep : (N, K) patches that the encoder saw; the others count
    eps : added to the variance

    Returns
    -------
    scalar, the mean over hidden patches of the mean over P
    """
    target = patches.float()
    deviation = (target.var(dim=-1, keepdim=True) + eps).sqrt()
    target = (target - target.mean(dim=-1, keepdim=True)) / deviation
    error = (predicted.float() - target).square().mean(dim=-1)
    hidden = torch.ones_like(error).scatter(1, keep, 0.0)
    return (error * hidden).sum() / hidden.sum()


def contrastive_loss(features: torch.Tensor, labels: torch.Tensor, *, temperature: float = 0.1) -> torch.Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362, equation 2).

    For each anchor, minus the mean over its positives of log softmax of the cosine similarities to all others. With
    one number a cell as label and two views a cell this is NT-Xent, the cell-specific loss; with one number an
    antibody it is the protein-specific loss. Anchors without a positive are left out of the mean.

    Parameters
    ----------
    features : (M, D) of length one, all views of the batch
    labels : (M,) integers; equal labels are positives
    temperature : the paper's is 0.1

    Returns
    -------
    scalar; zero, with a gradient of zero, where no anchor has a positive
    """
    features = features.float()
    similarity = features @ features.T / temperature
    itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
    log_probability = similarity.masked_fill(itself, -torch.inf).log_softmax(dim=1)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    positives = positive.sum(dim=1)
    # The diagonal is minus infinity, which times zero would be no number.
    of_positives = log_probability.masked_fill(~positive, 0.0).sum(dim=1)
    anchors = positives > 0
    each = of_positives / positives.clamp(min=1)
    return -(each * anchors).sum() / anchors.sum().clamp(min=1)
