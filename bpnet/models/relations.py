"""Fused proposals -> the same, knowing where they lie, what stage one thinks, and one another."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bpnet.types import Proposals

NUM_WAVES = 8  # of each place, from a wave of four videos' length to one of a 32nd


class Relations(nn.Module):
    """Attention among the proposals of a pair.

    Args:
        dim: Width D.
        num_heads: Attention heads.
        num_layers: Layers.
        dropout: Share that is dropped.
    """

    def __init__(self, dim: int, num_heads: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.place = nn.Linear(3 * 2 * NUM_WAVES + 1, dim)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim, num_heads, 2 * dim, dropout, batch_first=True, norm_first=True
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, fused: Tensor, proposals: Proposals, video_mask: Tensor) -> Tensor:
        """Let proposals read one another.

        Args:
            fused: (B, K, D).
            proposals: Their spans and what stage one thinks of them.
            video_mask: (B, T).

        Returns:
            (B, K, D).
        """
        lengths = video_mask.sum(dim=1)[:, None]
        start, end = (proposals.spans / lengths[..., None]).unbind(dim=-1)
        places = waves(torch.stack([start, end, end - start], dim=-1))
        confidence = proposals.logits.masked_fill(~proposals.mask, 0)[..., None]
        described = torch.cat([places.to(fused.dtype), confidence.to(fused.dtype)], dim=-1)
        fused = fused + self.place(described)
        for layer in self.layers:
            fused = layer(fused, src_key_padding_mask=~proposals.mask)
        normed: Tensor = self.norm(fused)
        return normed


def waves(places: Tensor) -> Tensor:
    """Shares of a video's length (..., N) as sines and cosines (..., 2 N NUM_WAVES)."""
    frequencies = 2.0 ** torch.arange(NUM_WAVES, device=places.device) * (math.pi / 2)
    angles = (places[..., None] * frequencies).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
