"""Matching score: fused proposals -> how well each fits the query (B, K)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bpnet.types import Proposals

FARTHEST = 0.45  # share of its length by which a boundary moves at most: the two never meet


class Scorer(nn.Module):
    """Rates each proposal; trained towards its temporal IoU with the target.

    Args:
        dim: Width D.
        hidden_dim: Width of the hidden layer (128 in the author's code).
        residual: Whether the score begins as stage one's confidence, and only differs from it where
            training says so.
    """

    def __init__(self, dim: int, hidden_dim: int = 128, residual: bool = False) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, 1)
        self.trust = nn.Parameter(torch.ones(())) if residual else None
        if residual:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, fused: Tensor, proposals: Proposals) -> Tensor:
        """Rate proposals.

        Args:
            fused: (B, K, D).
            proposals: What stage one thinks of them.

        Returns:
            Logits (B, K); the matching score is their sigmoid.
        """
        logits: Tensor = self.out(self.hidden(fused).relu()).squeeze(-1).float()
        if self.trust is None:
            return logits
        confidence = proposals.logits.float().exp().clamp(1e-3, 1 - 1e-3)
        return logits + self.trust * torch.logit(confidence)


class Refiner(nn.Module):
    """Moves the boundaries of each proposal, off the grid of whole clips.

    Args:
        dim: Width D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, 2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, fused: Tensor, proposals: Proposals, video_mask: Tensor) -> Tensor:
        """Refine proposals.

        Args:
            fused: (B, K, D).
            proposals: The spans that are moved.
            video_mask: (B, T).

        Returns:
            Spans (B, K, 2) within the video, start < end where the proposal is real.
        """
        moves = torch.tanh(self.out(self.hidden(fused).relu()).float()) * FARTHEST
        lengths = proposals.spans[..., 1:] - proposals.spans[..., :1]
        last = video_mask.sum(dim=1)[:, None, None].to(moves.dtype)
        spans: Tensor = torch.minimum((proposals.spans + moves * lengths).clamp(min=0), last)
        return spans
