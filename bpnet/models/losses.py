"""Targets for both stages and their losses; names equal log names equal config weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bpnet.config import ModelConfig
from bpnet.models.bpnet import BPNetOutput
from bpnet.spans import paired_tiou
from bpnet.types import Batch, Proposals


def bpnet_losses(output: BPNetOutput, batch: Batch, config: ModelConfig) -> dict[str, Tensor]:
    """Every loss of BPNet, by name.

    Args:
        output: What the model gave.
        batch: The pairs, with targets.
        config: Kinds and weights of the losses.

    Returns:
        Scalars without their weights: ``boundary``, ``highlight`` and, where there is a stage two,
        ``matching``; and the weighted sum ``total``.
    """
    assert batch.target_cells is not None
    stage_one, cells = output.stage_one, batch.target_cells[:, 0]
    losses = {
        "boundary": boundary_loss(
            stage_one.start_logits,
            stage_one.end_logits,
            cells,
            batch.video_mask,
            config.boundary_targets,
        ),
        "highlight": highlight_loss(
            stage_one.highlight_logits, cells, batch.video_mask, config.highlight_extend
        ),
    }
    total = (
        config.boundary_weight * losses["boundary"] + config.highlight_weight * losses["highlight"]
    )
    if output.score_logits is not None:
        losses["matching"] = matching_loss(
            output.score_logits,
            stage_one.proposals,
            batch.target_cells,
            config.matching_loss,
            config.scaled_iou,
        )
        total = total + config.matching_weight * losses["matching"]
    return {**losses, "total": total}


def boundary_loss(
    start_logits: Tensor, end_logits: Tensor, cells: Tensor, video_mask: Tensor, targets: str
) -> Tensor:
    """Cross-entropy of the first and of the last clip of the target, mean over the batch.

    Args:
        start_logits: (B, T).
        end_logits: (B, T).
        cells: Target clips, half-open (B, 2) int64.
        video_mask: (B, T).
        targets: ``"hard"``; or ``"soft"``: half on the clip, a quarter on each neighbour (LPNet).

    Returns:
        Scalar.
    """
    start, end = cells[:, 0], cells[:, 1] - 1
    if targets == "hard":
        return F.cross_entropy(start_logits, start) + F.cross_entropy(end_logits, end)
    lengths = video_mask.sum(dim=1)
    places = torch.arange(start_logits.shape[1], device=cells.device)
    total = start_logits.new_zeros(())
    for logits, cell in ((start_logits, start), (end_logits, end)):
        soft = torch.zeros_like(logits)
        for shift, weight in ((0, 0.5), (-1, 0.25), (1, 0.25)):
            # At the edge of the video the neighbour's share falls to the edge itself.
            neighbour = torch.minimum((cell + shift).clamp(min=0), lengths - 1)
            soft = soft + weight * (places == neighbour[:, None])
        total = total + F.cross_entropy(logits, soft)
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


def highlight_loss(logits: Tensor, cells: Tensor, video_mask: Tensor, extend: float) -> Tensor:
    """Binary cross-entropy, weight 2 inside the target, mean over all real clips of the batch.

    Args:
        logits: (B, T).
        cells: Target clips, half-open (B, 2) int64.
        video_mask: (B, T).
        extend: See `highlight_targets`.

    Returns:
        Scalar.
    """
    targets = highlight_targets(cells, logits.shape[1], extend)
    per_clip = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    weighted = per_clip * (1 + targets)
    return weighted.masked_fill(~video_mask, 0).sum() / video_mask.sum()


def matching_loss(
    score_logits: Tensor,
    proposals: Proposals,
    cells: Tensor,
    kind: str,
    scaled_iou: tuple[float, float],
) -> Tensor:
    """Distance between each proposal's score and its temporal IoU with the nearest target.

    Args:
        score_logits: (B, K).
        proposals: Spans (B, K, 2).
        cells: Clips of each moment of the query, half-open (B, M, 2) int64.
        kind: ``"mse"`` (author's code), ``"bce"``, or ``"scaled_iou_bce"`` (2D-TAN).
        scaled_iou: IoU that counts as 0 and as 1 with ``"scaled_iou_bce"``.

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
    return per_span.masked_fill(~proposals.mask, 0).sum() / proposals.mask.sum()
