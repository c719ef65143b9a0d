"""Contrast: which query of a batch belongs to which moment of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bpnet.models.averages import cross_entropy
from bpnet.models.fusion import span_weights
from bpnet.spans import paired_tiou

TEMPERATURE = 0.1  # of the cosines


def contrast_loss(
    clip_keys: Tensor,
    query_keys: Tensor,
    target_spans: Tensor,
    video_index: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Which query belongs to which moment of the batch: cross-entropy both ways (MMN, CLIP).

    Other moments of the same video are told apart too, unless they overlap by half: then neither
    is wrong.

    Args:
        clip_keys: (B, T, M), of length 1.
        query_keys: (B, heads, M), of length 1.
        target_spans: (B, 2) in clip positions.
        video_index: The video of each pair (B,).
        weights: Of the pairs (B,), or None.

    Returns:
        Scalar.
    """
    moments, queries = contrast_keys(clip_keys, query_keys, target_spans)
    return contrast(moments, queries, target_spans, video_index, weights)


def contrast_keys(
    clip_keys: Tensor, query_keys: Tensor, target_spans: Tensor
) -> tuple[Tensor, Tensor]:
    """What `contrast` compares: a key of length 1 for each target moment, and for each query.

    Args:
        clip_keys: (B, T, M), of length 1.
        query_keys: (B, heads, M), of length 1.
        target_spans: (B, 2) in clip positions.

    Returns:
        Both (B, M).
    """
    weights = span_weights(target_spans[:, None].to(clip_keys.dtype), clip_keys.shape[1])
    moments = F.normalize((weights @ clip_keys)[:, 0].float(), dim=-1)
    return moments, F.normalize(query_keys.float().mean(dim=1), dim=-1)


def contrast(
    moments: Tensor,
    queries: Tensor,
    target_spans: Tensor,
    videos: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """`contrast_loss` of keys.

    Args:
        moments: (B, M), of length 1.
        queries: (B, M), of length 1.
        target_spans: (B, 2) in clip positions.
        videos: The video of each pair (B,).
        weights: Of the pairs (B,), or None.

    Returns:
        Scalar.
    """
    logits = queries @ moments.T / TEMPERATURE
    overlaps = paired_tiou(target_spans[:, None], target_spans[None])
    same = (videos[:, None] == videos[None]) & (overlaps >= 0.5)
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(same & ~own, -torch.inf)
    labels = torch.arange(len(logits), device=logits.device)
    both = [cross_entropy(one, labels, weights) for one in (logits, logits.T)]
    return (both[0] + both[1]) / 2
