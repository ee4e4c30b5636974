"""What is put on a pooled vector while training, and thrown away afterwards."""

from __future__ import annotations

import torch
from torch import nn

from subcell.model.objectives.losses import at_least_float32


class ProjectionHead(nn.Module):
    """Three layers with batch normalisation in between; the losses compare its output, scaled to length one.

    Parameters
    ----------
    in_dim, hidden_dim, out_dim : widths; the paper's are 1536, 8192, 512
    """

    def __init__(self, in_dim: int, *, hidden_dim: int, out_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_dim, hidden_dim),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, out_dim, bias=False),
        )

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Project (N, in_dim) to (N, out_dim) of length one; N are all cells of a batch in one view."""
        return nn.functional.normalize(at_least_float32(self.layers(vectors)), dim=1)


class OnlineClassifier(nn.Module):
    """Location classifier that watches the training; see `Pretraining`, which hands it detached vectors.

    Parameters
    ----------
    in_dim : of the pooled vector
    classes : locations
    """

    def __init__(self, in_dim: int, *, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(in_dim, in_dim // 2),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(in_dim // 2, classes),
        )

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes) of vectors (N, in_dim)."""
        return self.layers(vectors)
