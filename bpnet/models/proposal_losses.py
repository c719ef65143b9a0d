"""Losses of stage two: how far its scores, and the boundaries it moves, are from the truth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bpnet.models.averages import counted, masked_mean
from bpnet.spans import paired_tiou
from bpnet.types import Proposals

LEAST_IOU = 0.4  # with the target, above which a proposal is near it


def matching_loss(
    score_logits: Tensor,
    proposals: Proposals,
    cells: Tensor,
    kind: str,
    scaled_iou: tuple[float, float],
    weights: Tensor | None = None,
) -> Tensor:
    """Distance between each proposal's score and its temporal IoU with the nearest target.

    Args:
        score_logits: (B, K).
        proposals: Spans (B, K, 2).
        cells: Clips of each moment of the query, half-open (B, M, 2) int64.
        kind: ``"mse"`` (author's code), ``"bce"``, or ``"scaled_iou_bce"`` (2D-TAN).
        scaled_iou: IoU that counts as 0 and as 1 with ``"scaled_iou_bce"``.
        weights: Of the pairs (B,), or None.

    Returns:
        Scalar, mean over the real proposals of the batch.
    """
    overlaps = paired_tiou(proposals.spans[:, :, None], cells[:, None].to(proposals.spans.dtype))
    targets = overlaps.amax(dim=2)  # (B, K)
    if kind == "mse":
        per_span = (torch.sigmoid(score_logits) - targets).square()
    else:
        if kind == "scaled_iou_bce":
            low, high = scaled_iou
            targets = ((targets - low) / (high - low)).clamp(0, 1)
        per_span = F.binary_cross_entropy_with_logits(score_logits, targets, reduction="none")
    per_span = counted(per_span, weights)
    return masked_mean(per_span, proposals.mask)


def mismatch_loss(score_logits: Tensor, proposals: Proposals) -> Tensor:
    """Binary cross-entropy of scores that ought to be 0: the sentence is about another video.

    Args:
        score_logits: (B, K).
        proposals: What is scored.

    Returns:
        Scalar, mean over the real proposals of the batch.
    """
    per_span = F.softplus(score_logits)
    return masked_mean(per_span, proposals.mask)


def refinement_loss(
    spans: Tensor,
    proposals: Proposals,
    target_spans: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """1 - IoU with the target of the refined proposals that are near it to begin with.

    Args:
        spans: Refined (B, K, 2).
        proposals: What they were.
        target_spans: (B, 2) in clip positions.
        weights: Of the pairs (B,), or None.

    Returns:
        Scalar, mean over the near proposals of the batch; 0 without any.
    """
    near = near_proposals(proposals, target_spans)
    missed = counted(1 - paired_tiou(spans, target_spans[:, None].to(spans.dtype)), weights)
    return missed.masked_fill(~near, 0).sum() / near.sum().clamp(min=1)


def near_proposals(proposals: Proposals, target_spans: Tensor) -> Tensor:
    """The proposals that are refined towards the targets (B, 2): (B, K) bool."""
    targets = target_spans[:, None].to(proposals.spans.dtype)
    return proposals.mask & (paired_tiou(proposals.spans, targets) > LEAST_IOU)
