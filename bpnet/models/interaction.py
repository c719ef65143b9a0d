"""Clips read the query: (B, T, D) and (B, L, D) -> frames (B, T, D), which both stages share.

Source: VSLNet's published code (video-query attention, query-guided highlighting). The context
blocks behind them are ours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bpnet.models.encoder import Encoded
from bpnet.models.feature_encoder import ConvBlock
from bpnet.models.layers import PartedLinear, QueryPool, VideoQueryAttention, negative
from bpnet.models.similarity import similarities


@dataclasses.dataclass(frozen=True, eq=False)
class Frames:
    """Clips that have read the query.

    Attributes:
        frames: Weighted by the highlight score (B, T, D).
        highlight_logits: (B, T), -1e30 at padded places; the highlight score is their sigmoid.
    """

    frames: Tensor
    highlight_logits: Tensor


class Interaction(nn.Module):
    """Joins video and query, and marks what the query is about.

    Args:
        attention: Clips read the words.
        query_pool: The query as one vector, given to every clip.
        context: Blocks that let neighbouring clips compare what they have read; may be empty.
        dim: Width D.
        num_similarities: Similarities of a clip and the query that the frames are given.
    """

    def __init__(
        self,
        attention: VideoQueryAttention,
        query_pool: QueryPool,
        context: Sequence[ConvBlock],
        dim: int,
        num_similarities: int = 0,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.query_pool = query_pool
        dims = (dim, dim, num_similarities) if num_similarities else (dim, dim)
        self.query_concat = PartedLinear(dims, dim)
        self.highlight = nn.Linear(dim, 1)
        self.context = nn.ModuleList(context)
        self.context_norm = nn.LayerNorm(dim, eps=1e-6) if context else None

    def forward(
        self, video: Encoded, query: Encoded, video_mask: Tensor, query_mask: Tensor
    ) -> Frames:
        """Join both sides.

        Args:
            video: The clips (B, T, D).
            query: The tokens (B, L, D).
            video_mask: (B, T).
            query_mask: (B, L).

        Returns:
            The frames; padded places are zero.
        """
        frames = self.attention(video.states, query.states, video_mask, query_mask)
        sentence = self.query_pool(query.states, query_mask)
        joined = [frames, sentence[:, None]]
        if video.keys is not None and query.keys is not None:
            joined.append(similarities(video.keys, query.keys))
        frames = self.query_concat(*joined)
        highlight = self.highlight(frames).squeeze(-1)
        highlight = highlight.masked_fill(~video_mask, negative(highlight.dtype))
        frames = frames * torch.sigmoid(highlight)[..., None] * video_mask[..., None]
        for block in self.context:
            frames = block(frames, video_mask)
        if self.context_norm is not None:
            frames = self.context_norm(frames) * video_mask[..., None]
        return Frames(frames, highlight)
