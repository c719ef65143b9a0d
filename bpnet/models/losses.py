"""Targets for both stages and their losses; names equal log names equal config weights."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from bpnet.errors import ConfigError
from bpnet.model_config import ModelConfig
from bpnet.models.bpnet import BPNetOutput
from bpnet.models.cells import nearest_cells
from bpnet.models.dense_proposer import PointPredictions, assign, dense_loss
from bpnet.models.fusion import span_weights
from bpnet.models.set_proposer import SlotPredictions, set_loss
from bpnet.models.span_proposer import BoundaryLogits
from bpnet.models.stage_one import Evidence
from bpnet.models.window_proposer import WindowScores, window_loss
from bpnet.spans import paired_tiou
from bpnet.types import Batch, Proposals

TEMPERATURE = 0.1  # of the cosines in `contrast_loss`
LEAST_IOU = 0.4  # above which `refinement_loss` moves a proposal


def bpnet_losses(
    output: BPNetOutput,
    batch: Batch,
    config: ModelConfig,
    strangers: BPNetOutput | None = None,
    copies: BPNetOutput | None = None,
) -> dict[str, Tensor]:
    """Every loss of BPNet, by name.

    Where pairs have weights, these multiply what each adds to the losses that are about its moment;
    ``mismatch`` and ``consistency`` are about none. Of mean 1, they leave the losses their size.

    Args:
        output: What the model gave.
        batch: The pairs, with targets.
        config: Kinds and weights of the losses.
        strangers: What it gave to sentences of other videos, for ``mismatch``.
        copies: What it gave to the same pairs with other units dropped, for ``consistency``.

    Returns:
        Scalars without their weights: ``boundary``, ``highlight`` and, where there is something to
        train by it, ``overlap``, ``contrast``, ``consistency``, ``matching``, ``refinement`` and
        ``mismatch``; and the weighted sum ``total``.
    """
    assert batch.target_cells is not None and batch.target_spans is not None
    stage_one, cells, weights = output.stage_one, batch.target_cells[:, 0], batch.weights
    losses = {
        "boundary": stage_one_loss(stage_one.evidence, batch, config),
        "highlight": highlight_loss(
            stage_one.highlight_logits, cells, batch.video_mask, config.highlight_extend, weights
        ),
    }
    if output.score_logits is not None:
        losses["matching"] = matching_loss(
            output.score_logits,
            dataclasses.replace(stage_one.proposals, spans=output.spans.detach()),
            batch.target_cells,
            config.matching_loss,
            config.scaled_iou,
            weights,
        )
        if config.refinement_weight:
            losses["refinement"] = refinement_loss(
                output.spans, stage_one.proposals, batch.target_spans, weights=weights
            )
    evidence = stage_one.evidence
    if isinstance(evidence, BoundaryLogits) and evidence.overlaps is not None:
        targets = batch.target_spans / evidence.widths[:, None]
        losses["overlap"] = overlap_loss(evidence.overlaps, evidence.pairs, targets, weights)
    if config.contrast_weight and stage_one.clip_keys is not None:
        assert stage_one.query_keys is not None
        losses["contrast"] = contrast_loss(
            stage_one.clip_keys,
            stage_one.query_keys,
            batch.target_spans,
            batch.video_index,
            weights,
        )
    if copies is not None:
        other = copies.stage_one.evidence
        assert isinstance(evidence, BoundaryLogits) and isinstance(other, BoundaryLogits)
        losses["consistency"] = consistency_loss(evidence.pairs, other.pairs)
    if strangers is not None and strangers.score_logits is not None:
        losses["mismatch"] = mismatch_loss(strangers.score_logits, strangers.stage_one.proposals)
    return {**losses, "total": weighted_sum(losses, config)}


def _counted(values: Tensor, weights: Tensor | None) -> Tensor:
    """Values (B, ...) times the weights (B,) of their pairs, where there are any."""
    if weights is None:
        return values
    return values * weights.view(-1, *[1] * (values.ndim - 1))


def weighted_sum(losses: dict[str, Tensor], config: ModelConfig) -> Tensor:
    """The sum of losses (scalars by name), each with its weight of the config."""
    weights: dict[str, float] = {name: getattr(config, f"{name}_weight") for name in losses}
    weighted = [weights[name] * loss for name, loss in losses.items()]
    return sum(weighted[1:], start=weighted[0])


def loss_counts(
    output: BPNetOutput,
    batch: Batch,
    strangers: BPNetOutput | None = None,
    copies: BPNetOutput | None = None,
) -> dict[str, Tensor]:
    """Over how many things each loss is a mean: what the means of parts of a batch are joined by.

    Args:
        output: What the model gave.
        batch: The pairs, with targets.
        strangers: What it gave to sentences of other videos.
        copies: What it gave to the same pairs with other units dropped.

    Returns:
        Counts by name, for every loss of `bpnet_losses` but ``contrast``, which compares all pairs
        with each other. ``boundary`` of the proposer ``set`` is two means; its count is exact where
        all queries have equally many moments.
    """
    assert batch.target_spans is not None
    evidence, proposals = output.stage_one.evidence, output.stage_one.proposals
    pairs = torch.tensor(len(batch.target_spans), device=batch.target_spans.device)
    counts = {} if copies is None else {"consistency": pairs}
    match evidence:
        case PointPredictions():
            pairs = assign(evidence, batch.target_spans).sum()
        case WindowScores():
            pairs = evidence.mask.sum()
    counts |= {"boundary": pairs, "highlight": batch.video_mask.sum()}
    if isinstance(evidence, BoundaryLogits) and evidence.overlaps is not None:
        counts["overlap"] = (evidence.pairs > -torch.inf).sum()
    if output.score_logits is not None:
        counts["matching"] = proposals.mask.sum()
        counts["refinement"] = _near(proposals, batch.target_spans).sum()
    if strangers is not None:
        counts["mismatch"] = strangers.stage_one.proposals.mask.sum()
    return counts


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
    return -_counted(pairs[rows, cells[:, 0], cells[:, 1] - 1], weights).mean()


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
        return _cross_entropy(start_logits, start, weights) + _cross_entropy(
            end_logits, end, weights
        )
    lengths = video_mask.sum(dim=1)
    places = torch.arange(start_logits.shape[1], device=cells.device)
    total = start_logits.new_zeros(())
    for logits, cell in ((start_logits, start), (end_logits, end)):
        soft = torch.zeros_like(logits)
        for shift, weight in ((0, 0.5), (-1, 0.25), (1, 0.25)):
            # At the edge of the video the neighbour's share falls to the edge itself.
            neighbour = torch.minimum((cell + shift).clamp(min=0), lengths - 1)
            soft = soft + weight * (places == neighbour[:, None])
        total = total + _cross_entropy(logits, soft, weights)
    return total


def _cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the batch."""
    if weights is None:
        return F.cross_entropy(logits, targets)
    return (weights * F.cross_entropy(logits, targets, reduction="none")).mean()


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
    weighted = _counted(per_clip * (1 + targets), weights)
    return weighted.masked_fill(~video_mask, 0).sum() / video_mask.sum()


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
    per_span = _counted(per_span, weights)
    return per_span.masked_fill(~proposals.mask, 0).sum() / proposals.mask.sum()


def mismatch_loss(score_logits: Tensor, proposals: Proposals) -> Tensor:
    """Binary cross-entropy of scores that ought to be 0: the sentence is about another video.

    Args:
        score_logits: (B, K).
        proposals: What is scored.

    Returns:
        Scalar, mean over the real proposals of the batch.
    """
    per_span = F.softplus(score_logits)
    return per_span.masked_fill(~proposals.mask, 0).sum() / proposals.mask.sum()


def refinement_loss(
    spans: Tensor,
    proposals: Proposals,
    target_spans: Tensor,
    least_iou: float = LEAST_IOU,
    weights: Tensor | None = None,
) -> Tensor:
    """1 - IoU with the target of the refined proposals that are near it to begin with.

    Args:
        spans: Refined (B, K, 2).
        proposals: What they were.
        target_spans: (B, 2) in clip positions.
        least_iou: IoU above which a proposal is near.
        weights: Of the pairs (B,), or None.

    Returns:
        Scalar, mean over the near proposals of the batch; 0 without any.
    """
    near = _near(proposals, target_spans, least_iou)
    missed = _counted(1 - paired_tiou(spans, target_spans[:, None].to(spans.dtype)), weights)
    return missed.masked_fill(~near, 0).sum() / near.sum().clamp(min=1)


def _near(proposals: Proposals, target_spans: Tensor, least_iou: float = LEAST_IOU) -> Tensor:
    """The proposals that are refined towards the targets (B, 2): (B, K) bool."""
    targets = target_spans[:, None].to(proposals.spans.dtype)
    return proposals.mask & (paired_tiou(proposals.spans, targets) > least_iou)


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
    both = [_cross_entropy(one, labels, weights) for one in (logits, logits.T)]
    return (both[0] + both[1]) / 2


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
    per_span = _counted(per_span, weights)
    real = pairs > -torch.inf
    return per_span.masked_fill(~real, 0).sum() / real.sum()


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
