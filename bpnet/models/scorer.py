"""Matching score: fused proposals -> how well each fits the query (B, K)."""

from __future__ import annotations

from torch import Tensor, nn


class Scorer(nn.Module):
    """Rates each proposal; trained towards its temporal IoU with the target.

    Args:
        dim: Width D.
        hidden_dim: Width of the hidden layer (128 in the author's code).
    """

    def __init__(self, dim: int, hidden_dim: int = 128) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, 1)

    def forward(self, fused: Tensor) -> Tensor:
        """Fused proposals (B, K, D) to logits (B, K); the matching score is their sigmoid."""
        logits: Tensor = self.out(self.hidden(fused).relu())
        return logits.squeeze(-1).float()
