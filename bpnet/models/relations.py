"""Fused proposals -> the same, knowing where they lie, what stage one thinks, and one another."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bpnet.models.places import NUM_WAVES, waves
from bpnet.types import Proposals


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
