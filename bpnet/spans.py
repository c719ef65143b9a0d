"""Interval arithmetic on (..., 2), in clip positions or in seconds: start < end, half-open."""

from __future__ import annotations

import torch
from torch import Tensor


def paired_tiou(spans: Tensor, others: Tensor) -> Tensor:
    """Temporal IoU of intervals, place by place.

    ``max(0, min(ends) - max(starts)) / (max(ends) - min(starts))``: the hull in the denominator
    equals the union where the two overlap, and the value is 0 where they do not.

    Args:
        spans: Intervals (..., 2).
        others: Intervals (..., 2) that broadcast with the first.

    Returns:
        Temporal IoU in [0, 1] (...); 0 where both are the same single point.
    """
    left = torch.maximum(spans[..., 0], others[..., 0])
    right = torch.minimum(spans[..., 1], others[..., 1])
    hull = torch.maximum(spans[..., 1], others[..., 1]) - torch.minimum(
        spans[..., 0], others[..., 0]
    )
    tiny = torch.finfo(hull.dtype).tiny
    return (right - left).clamp(min=0) / hull.clamp(min=tiny)


def tiou(spans: Tensor, others: Tensor) -> Tensor:
    """Temporal IoU of every interval with every other one.

    Args:
        spans: Intervals (N, 2).
        others: Intervals (M, 2).

    Returns:
        Temporal IoU (N, M) in [0, 1].
    """
    return paired_tiou(spans[:, None], others[None])


def nms(spans: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Greedy suppression: an interval goes when a better one overlaps it by more than a threshold.

    Args:
        spans: Intervals (N, 2).
        scores: Their scores (N,); of equal ones the first counts as the better.
        threshold: Temporal IoU that must be exceeded strictly, as in 2D-TAN.

    Returns:
        Indices of what is kept (M,) int64, best first.
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    overlaps = tiou(spans, spans)
    kept: list[int] = []
    for index in order.tolist():
        if all(overlaps[index, other] <= threshold for other in kept):
            kept.append(index)
    return torch.tensor(kept, dtype=torch.int64, device=spans.device)
