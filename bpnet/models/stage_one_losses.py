"""Losses of stage one, and the targets that they are measured against."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bpnet.errors import ConfigError
from bpnet.model_config import ModelConfig
from bpnet.models.averages import counted, cross_entropy, masked_mean
from bpnet.models.cells import nearest_cells
from bpnet.models.dense_proposer import PointPredictions, dense_loss
from bpnet.models.set_proposer import SlotPredictions, set_loss
from bpnet.models.span_proposer import BoundaryLogits
from bpnet.models.stage_one import Evidence
from bpnet.models.window_proposer import WindowScores, window_loss
from bpnet.spans import paired_tiou
from bpnet.types import Batch


def stage_one_loss(evidence: Evidence, batch: Batch, config: ModelConfig) -> Tensor:
    """The loss of the proposer that there is.

    Args:
        evidence: What it predicts.
        batch: The pairs, with targets.
        config: Kinds of the losses.

    Returns:
        Scalar.
    """
    assert batch.target_cells is not None and batch.target_spans is not None
    if batch.weights is not None and not isinstance(evidence, BoundaryLogits):
        raise ConfigError(
            "model.proposer: expected span where moments have weights (supervision=weak, mixed): "
            "the losses of the other proposers count every moment alike"
        )
    match evidence:
        case BoundaryLogits():
            cells = batch.target_cells[:, 0]
            if evidence.start.shape != batch.video_mask.shape:  # of cells, not of clips
                cells = nearest_cells(batch.target_spans / evidence.widths[:, None])
            if config.pair_dim:
                return pair_loss(evidence.pairs, cells, batch.weights)
            return boundary_loss(
                evidence.start,
                evidence.end,
                cells,
                evidence.mask,
                config.boundary_targets,
                batch.weights,
            )
        case PointPredictions():
            return dense_loss(evidence, batch.target_spans)
        case SlotPredictions():
            return set_loss(evidence, _targets(batch.target_spans, batch.target_cells))
        case WindowScores():
            return window_loss(evidence, batch.target_spans, config.scaled_iou)


def _targets(spans: Tensor, cells: Tensor) -> Tensor:
    """Every moment of the queries (B, M, 2): the first exactly, the others in whole clips."""
    repeated = (cells == cells[:, :1]).all(dim=-1, keepdim=True)
    return torch.where(repeated, spans[:, None], cells.to(spans.dtype))


def pair_loss(pairs: Tensor, cells: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy of the target among all spans, mean over the batch.

    Args:
        pairs: Log-probability of each first and last clip (B, T, T).
        cells: Target clips, half-open (B, 2) int64.
        weights: Of the pairs (B,), or None.

    Returns:
        Scalar.
    """
    rows = torch.arange(len(pairs), device=pairs.device)
    return -counted(pairs[rows, cells[:, 0], cells[:, 1] - 1], weights).mean()


def boundary_loss(
    start_logits: Tensor,
    end_logits: Tensor,
    cells: Tensor,
    video_mask: Tensor,
    targets: str,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the first and of the last clip of the target, mean over the batch.

    Args:
        start_logits: (B, T).
        end_logits: (B, T).
        cells: Target clips, half-open (B, 2) int64.
        video_mask: (B, T).
        targets: ``"hard"``; or ``"soft"``: half on the clip, a quarter on each neighbour (LPNet).
        weights: Of the pairs (B,), or None.

    Returns:
        Scalar.
    """
    start, end = cells[:, 0], cells[:, 1] - 1
    if targets == "hard":
        return cross_entropy(start_logits, start, weights) + cross_entropy(end_logits, end, weights)
    lengths = video_mask.sum(dim=1)
    places = torch.arange(start_logits.shape[1], device=cells.device)
    total = start_logits.new_zeros(())
    for logits, cell in ((start_logits, start), (end_logits, end)):
        soft = torch.zeros_like(logits)
        for shift, weight in ((0, 0.5), (-1, 0.25), (1, 0.25)):
            # At the edge of the video the neighbour's share falls to the edge itself.
            neighbour = torch.minimum((cell + shift).clamp(min=0), lengths - 1)
            soft = soft + weight * (places == neighbour[:, None])
        total = total + cross_entropy(logits, soft, weights)
    return total


def highlight_targets(cells: Tensor, num_clips: int, extend: float) -> Tensor:
    """The target span, lengthened on both sides by ``round(extend * length)`` clips.

    Rounds half to even, as VSLNet's Python code does.

    Args:
        cells: Target clips, half-open (B, 2) int64.
        num_clips: Number of clips T.
        extend: Share of the length, >= 0.

    Returns:
        (B, T) float, 1 inside.
    """
    # In double: 0.1 * 5 must be exactly a half, and round to 0.
    margin = (extend * (cells[:, 1] - cells[:, 0]).double()).round().long()
    start, end = (cells[:, 0] - margin)[:, None], (cells[:, 1] + margin)[:, None]
    places = torch.arange(num_clips, device=cells.device)
    return ((places >= start) & (places < end)).float()


def highlight_loss(
    logits: Tensor,
    cells: Tensor,
    video_mask: Tensor,
    extend: float,
    weights: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy, weight 2 inside the target, mean over all real clips of the batch.

    Args:
        logits: (B, T).
        cells: Target clips, half-open (B, 2) int64.
        video_mask: (B, T).
        extend: See `highlight_targets`.
        weights: Of the pairs (B,), or None.

    Returns:
        Scalar.
    """
    targets = highlight_targets(cells, logits.shape[1], extend)
    per_clip = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    weighted = counted(per_clip * (1 + targets), weights)
    return masked_mean(weighted, video_mask)


def overlap_loss(
    logits: Tensor, pairs: Tensor, target_spans: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy on the temporal IoU of every span with the target (2D-TAN's, unscaled).

    Args:
        logits: Of each first and last clip (B, T, T).
        pairs: Of the same shape; -inf where there is no span.
        target_spans: (B, 2) in clips, or cells, as the logits are.
        weights: Of the pairs (B,), or None.

    Returns:
        Scalar, mean over all spans of the batch.
    """
    places = torch.arange(logits.shape[1], device=logits.device, dtype=logits.dtype)
    start, end = torch.meshgrid(places, places + 1, indexing="ij")
    spans = torch.stack([start, end], dim=-1)
    targets = paired_tiou(spans, target_spans[:, None, None].to(logits.dtype))
    per_span = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    per_span = counted(per_span, weights)
    return masked_mean(per_span, pairs > -torch.inf)


def consistency_loss(one: Tensor, other: Tensor) -> Tensor:
    """How far two answers are apart: Kullback-Leibler divergence, mean of both ways (R-Drop).

    Args:
        one: Log-probability of each first and last clip (B, T, T), -inf where there is no span.
        other: The same, with other units dropped.

    Returns:
        Scalar, mean over the batch.
    """
    real = one > -torch.inf
    one, other = one.masked_fill(~real, 0), other.masked_fill(~real, 0)
    apart = (one.exp() - other.exp()) * (one - other)  # 0 where there is no span
    return apart.sum() / (2 * len(one))
