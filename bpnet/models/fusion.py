"""Visual-language fusion: proposals x query -> one vector a proposal, (B, K, D).

The paper names the layer without its equations; ``docs/model.md`` says which reading is which.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bpnet.models.layers import PartedLinear, QueryPool
from bpnet.types import Proposals

NUM_PARTS = 4  # of an aligned span


def span_weights(spans: Tensor, num_clips: int) -> Tensor:
    """How much each clip counts in the mean over a span.

    Args:
        spans: Half-open, real-valued (B, K, 2).
        num_clips: Number of clips T.

    Returns:
        The part of each clip that the span covers, divided by the span's length (B, K, T); a row
        sums to 1.
    """
    left = torch.arange(num_clips, device=spans.device, dtype=spans.dtype)
    start, end = spans[..., :1], spans[..., 1:]
    covered = (torch.minimum(end, left + 1) - torch.maximum(start, left)).clamp(min=0)
    return covered / (end - start)


def split_spans(spans: Tensor, num_parts: int) -> Tensor:
    """Cut every span (B, K, 2) into parts of the same length (B, K num_parts, 2), in order."""
    if num_parts == 1:
        return spans
    start, end = spans[..., :1], spans[..., 1:]
    shares = torch.arange(num_parts + 1, device=spans.device) / num_parts
    edges = start + (end - start) * shares
    return torch.stack([edges[..., :-1], edges[..., 1:]], dim=-1).flatten(1, 2)


class WordFrame(nn.Module):
    """Every word with every clip: attention along time for each word, maximum over the words.

    Args:
        dim: Width D.
        wide_dim: Width inside (512 in the author's code).
    """

    def __init__(self, dim: int, wide_dim: int = 512) -> None:
        super().__init__()
        self.widen = nn.Linear(dim, wide_dim)
        self.attention = nn.MultiheadAttention(wide_dim, num_heads=1, batch_first=True)
        self.narrow = nn.Linear(wide_dim, dim)

    def forward(
        self, frames: Tensor, query: Tensor, video_mask: Tensor, query_mask: Tensor
    ) -> Tensor:
        """Frames (B, T, D) and tokens (B, L, D) to frames (B, T, D)."""
        pairs = self.widen(frames[:, None] * query[:, :, None])  # (B, L, T, wide)
        size, length = pairs.shape[:2]
        flat = pairs.flatten(0, 1)
        padded = ~video_mask[:, None].expand(-1, length, -1).flatten(0, 1)
        attended = self.attention(flat, flat, flat, key_padding_mask=padded, need_weights=False)[0]
        words = attended.unflatten(0, (size, length))
        words = words.masked_fill(~query_mask[:, :, None, None], -torch.inf)
        narrowed: Tensor = self.narrow(words.amax(dim=1))
        return narrowed


class Fusion(nn.Module):
    """Sums up each proposed span and joins it with the query.

    Args:
        kind: ``"query_concat"``: the pooled query joins each span after pooling;
            ``"query_product"``: also its product with the span; ``"word_frame"``: words and clips
            are joined before it; ``"none"``: stage one has joined them already.
        span_feature: ``"mean"`` over the span; ``"ends"``: also the clips at and just outside both
            boundaries; ``"aligned"``: these, and the means of the span's quarters in place of one.
        dim: Width D.
    """

    def __init__(self, kind: str, span_feature: str, dim: int) -> None:
        super().__init__()
        self.word_frame = WordFrame(dim) if kind == "word_frame" else None
        self.project = nn.Linear(dim, dim)
        self.num_parts = NUM_PARTS if span_feature == "aligned" else 1
        self.ends = None
        if span_feature != "mean":
            self.ends = nn.Linear((self.num_parts + 4) * dim, dim)
        reads = {"query_concat": 2, "query_product": 3}.get(kind)
        self.product = kind == "query_product"
        self.query_pool = QueryPool(dim) if reads else None
        self.query_concat = PartedLinear([dim] * reads, dim) if reads else None

    def forward(
        self,
        frames: Tensor,
        query: Tensor,
        video_mask: Tensor,
        query_mask: Tensor,
        proposals: Proposals,
    ) -> Tensor:
        """Describe each proposal.

        Args:
            frames: Clips of stage one (B, T, D).
            query: Encoded tokens (B, L, D).
            video_mask: (B, T).
            query_mask: (B, L).
            proposals: Spans (B, K, 2).

        Returns:
            (B, K, D).
        """
        if self.word_frame is not None:
            frames = self.word_frame(frames, query, video_mask, query_mask)
        # Masked after the projection: its bias must not leak into padded places.
        frames = self.project(frames) * video_mask[..., None]
        parts = split_spans(proposals.spans, self.num_parts)
        spans = span_weights(parts, frames.shape[1]).to(frames.dtype) @ frames
        spans = spans.view(frames.shape[0], -1, self.num_parts * frames.shape[2])  # (B, K, parts D)
        if self.ends is not None:
            spans = self.ends(torch.cat([spans, *_boundary_frames(frames, proposals)], dim=-1))
        if self.query_pool is not None and self.query_concat is not None:
            sentence = self.query_pool(query, query_mask)[:, None]
            joined = [spans, sentence, spans * sentence] if self.product else [spans, sentence]
            spans = self.query_concat(*joined)
        return spans


def _boundary_frames(frames: Tensor, proposals: Proposals) -> list[Tensor]:
    """The clips before and at the start, at and after the end: four of (B, K, D), 0 outside."""
    start = proposals.spans[..., 0].floor().long()
    end = proposals.spans[..., 1].ceil().long() - 1
    framed = nn.functional.pad(frames, (0, 0, 1, 1))  # one zero clip on each side
    places = (start - 1, start, end, end + 1)
    return [
        framed.gather(1, (place + 1)[..., None].expand(-1, -1, frames.shape[-1]))
        for place in places
    ]
