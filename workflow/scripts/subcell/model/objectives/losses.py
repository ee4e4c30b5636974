"""The objectives."""

from __future__ import annotations

import torch


def at_least_float32(values: torch.Tensor) -> torch.Tensor:
    """The values in float32, or in float64 where they have it."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


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
    target, _, _ = normalized_patches(patches, eps=eps)
    error = (at_least_float32(predicted) - target).square().mean(dim=-1)
    hidden = torch.ones_like(error).scatter(1, keep, 0.0)
    return (error * hidden).sum() / hidden.sum()


def normalized_patches(patches: torch.Tensor, *, eps: float = 1e-6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Patches (N, T, P) at mean 0 and variance 1 over P, and the means and deviations (N, T, 1) that they had."""
    target = at_least_float32(patches)
    mean = target.mean(dim=-1, keepdim=True)
    deviation = (target.var(dim=-1, keepdim=True) + eps).sqrt()
    return (target - mean) / deviation, mean, deviation


def contrastive_loss(
    features: torch.Tensor, labels: torch.Tensor, *, temperature: float = 0.1, spared: torch.Tensor | None = None
) -> torch.Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362, equation 2).

    For each anchor, minus the mean over its positives of log softmax of the cosine similarities to all others. With
    one number a cell as label and two views a cell this is NT-Xent, the cell-specific loss; with one number an
    antibody it is the protein-specific loss. Anchors without a positive are left out of the mean.

    Parameters
    ----------
    features : (M, D) of length one, all views of the batch
    labels : (M,) integers; equal labels are positives
    temperature : the paper's is 0.1
    spared : (M,) integers; pairs that are equal in these and no positives are no negatives either, and count nowhere

    Returns
    -------
    scalar, float32 or float64; zero, with a gradient of zero, where no anchor has a positive
    """
    # Autocast would take the product in bfloat16, whose steps at 1 / temperature are as large as what is compared.
    with torch.autocast(features.device.type, enabled=False):
        features = at_least_float32(features)
        similarity = features @ features.T / temperature
    itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    left_out = itself.clone() if spared is None else itself | ((spared[:, None] == spared[None, :]) & ~positive)
    # An anchor that nothing is compared with has no softmax.
    left_out &= ~left_out.all(dim=1, keepdim=True)
    log_probability = similarity.masked_fill(left_out, -torch.inf).log_softmax(dim=1)
    positives = positive.sum(dim=1)
    # The diagonal is minus infinity, which times zero would be no number.
    of_positives = log_probability.masked_fill(~positive, 0.0).sum(dim=1)
    anchors = positives > 0
    each = of_positives / positives.clamp(min=1)
    return -(each * anchors).sum() / anchors.sum().clamp(min=1)
