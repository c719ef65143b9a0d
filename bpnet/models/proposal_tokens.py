"""Proposals -> tokens of a trunk, at their boundaries; and what comes out -> one vector each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bpnet.models.places import NUM_WAVES, waves
from bpnet.models.span_means import Summed
from bpnet.types import Proposals

NEAR = 0.1  # share of a span's length that counts as near a place of it; at least one clip


class ProposalTokens(nn.Module):
    """A few tokens for each proposal, evenly from its start to its end.

    Args:
        dim: Width D.
        num_tokens: Tokens n a proposal: 2 are its boundaries; 1 is its middle.
    """

    def __init__(self, dim: int, num_tokens: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.means = nn.Linear(2 * dim, dim)
        self.place = nn.Linear(3 * 2 * NUM_WAVES + 1, dim)
        self.which = nn.Parameter(torch.randn(num_tokens, dim) * 0.02)
        self.join = nn.Linear(num_tokens * dim, dim)

    def forward(
        self, stem: Summed, seconds: Tensor, video_mask: Tensor, proposals: Proposals
    ) -> tuple[Tensor, Tensor]:
        """Make the tokens.

        Args:
            stem: Clips before the trunk (B, T, D), zero where padded.
            seconds: Where they begin and end (B, T, 2).
            video_mask: (B, T).
            proposals: Spans (B, K, 2).

        Returns:
            Tokens (B, K n, D), those of a proposal side by side, and their seconds (B, K n).
        """
        spans = proposals.spans
        lengths = video_mask.sum(dim=1)[:, None, None].to(spans.dtype)  # (B, 1, 1)
        start, end = spans[..., :1], spans[..., 1:]
        count = self.num_tokens
        shares = torch.arange(count, device=spans.device) / max(1, count - 1)
        if count == 1:
            shares = shares + 0.5
        points = start + (end - start) * shares  # (B, K, n)
        reach = (NEAR * (end - start)).clamp(min=1)
        low, high = (points - reach).clamp(min=0), torch.minimum(points + reach, lengths)
        inside = stem.means(spans)[:, :, None].expand(-1, -1, count, -1)
        near = stem.means(torch.stack([low, high], dim=-1).flatten(1, 2))
        means = torch.cat([inside, torch.unflatten(near, 1, (-1, count))], dim=-1)
        places = waves(torch.cat([start, end, end - start], dim=-1) / lengths)
        confidence = proposals.logits.masked_fill(~proposals.mask, 0)[..., None]
        described = self.place(torch.cat([places, confidence], dim=-1).to(means.dtype))
        tokens = self.means(means) + described[:, :, None] + self.which
        return tokens.flatten(1, 2), seconds_at(seconds, points.flatten(1))

    def joined(self, read: Tensor) -> Tensor:
        """What came out of the trunk (B, K n, D) as one vector a proposal (B, K, D)."""
        out: Tensor = self.join(torch.unflatten(read, 1, (-1, self.num_tokens)).flatten(2))
        return out


def seconds_at(seconds: Tensor, points: Tensor) -> Tensor:
    """Clip positions (B, N) as seconds (B, N), by where clips begin and end (B, T, 2)."""
    clip = points.ceil().long().sub(1).clamp(min=0, max=seconds.shape[1] - 1)
    begin, end = (side.gather(1, clip) for side in seconds.to(points.dtype).unbind(dim=-1))
    return begin + (points - clip) * (end - begin)
