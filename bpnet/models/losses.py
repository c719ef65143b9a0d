"""The losses of BPNet; names equal log names equal config weights."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from bpnet.model_config import ModelConfig
from bpnet.models.contrast import contrast_loss
from bpnet.models.dense_proposer import PointPredictions, assign
from bpnet.models.output import BPNetOutput
from bpnet.models.proposal_losses import (
    matching_loss,
    mismatch_loss,
    near_proposals,
    refinement_loss,
)
from bpnet.models.span_proposer import BoundaryLogits
from bpnet.models.stage_one_losses import (
    consistency_loss,
    highlight_loss,
    overlap_loss,
    stage_one_loss,
)
from bpnet.models.window_proposer import WindowScores
from bpnet.types import Batch


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
        counts["refinement"] = near_proposals(proposals, batch.target_spans).sum()
    if strangers is not None:
        counts["mismatch"] = strangers.stage_one.proposals.mask.sum()
    return counts
