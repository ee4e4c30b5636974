"""From the tokens of an image to one vector."""

from __future__ import annotations

import torch
from torch import nn


class GatedAttentionPooling(nn.Module):
    """Weighted sum of all tokens, the class token included, once per head.

    score = Linear(tanh(Linear(x)) * gelu(Linear(x))), softmax over tokens, heads side by side: SubCell's pooling, which
    is Ilse et al. 2018 (arXiv 1802.04712, equation 9) with a GELU instead of a sigmoid in the gate.

    Parameters
    ----------
    width : numbers in a token
    gate_dim : numbers in a gate
    heads : how many weighted sums are taken
    dropout : of the tokens in front of both gates, while training
    """

    def __init__(self, width: int, *, gate_dim: int, heads: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        self.attention_v = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, gate_dim), nn.Tanh())
        self.attention_u = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, gate_dim), nn.GELU())
        self.attention = nn.Linear(gate_dim, heads)
        self.dim = heads * width

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pool.

        Parameters
        ----------
        tokens : (N, T, width)

        Returns
        -------
        vector : (N, heads * width)
        attention : (N, heads, T), sums to 1 over the tokens
        """
        scores = self.attention(self.attention_v(tokens) * self.attention_u(tokens))
        attention = scores.transpose(1, 2).softmax(dim=-1)
        return (attention @ tokens).flatten(1), attention


class MeanPooling(nn.Module):
    """Mean over all tokens: SubCell's variants without `-Pool`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dim = width

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, None]:
        """See `GatedAttentionPooling.forward`; there is no attention."""
        return tokens.mean(dim=1), None
