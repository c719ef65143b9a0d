"""Losses of the activation head: which sentence belongs to which video is all that they know."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from bpnet.models.layers import NEGATIVE
from bpnet.settings import in_range, raise_faults
from bpnet.weak.activation import ActivationHead
from bpnet.weak.hide_and_seek import hide_pieces


@dataclasses.dataclass(frozen=True)
class MilConfig:
    """The losses.

    Attributes:
        temperature: Divides the scores in both directions of InfoNCE.
        contrast_weight: Weight of the contrast of inside and outside.
        threshold: Share of the range of the relevance from which a clip belongs to the span.
        margin: Width of the outside on each side, as a share of the span's length.
        hidden_share: Chance that a piece of the video is hidden in training (hide-and-seek).
        num_pieces: Equal pieces of a video.
    """

    temperature: float = 0.07
    contrast_weight: float = 0.1
    threshold: float = 0.5
    margin: float = 0.25
    hidden_share: float = 0.3
    num_pieces: int = 8

    def __post_init__(self) -> None:
        raise_faults(
            [
                in_range("mil.temperature", self.temperature, 1e-6),
                in_range("mil.contrast_weight", self.contrast_weight, 0),
                in_range("mil.threshold", self.threshold, 0, 1),
                in_range("mil.margin", self.margin, 0),
                in_range("mil.hidden_share", self.hidden_share, 0, 0.999),
                in_range("mil.num_pieces", self.num_pieces, 1),
            ]
        )


def real_negatives(concepts: Tensor, video_index: Tensor, num_videos: int) -> Tensor:
    """Which videos a sentence is known not to be about.

    A video is none of them where its own sentences name all the concepts of this one, as they do
    in its own video. A sentence without concepts is taken to be about its own video alone.

    Args:
        concepts: The concepts of each sentence (Q, K) bool.
        video_index: The video of each sentence (Q,) int64.
        num_videos: Number of videos V.

    Returns:
        (V, Q) bool.
    """
    named = concepts.float()
    of_videos = named.new_zeros(num_videos, named.shape[1]).index_add_(0, video_index, named)
    missing = (of_videos == 0).float() @ named.T
    own = torch.arange(num_videos, device=video_index.device)[:, None] == video_index
    return ((missing > 0) | ~concepts.any(dim=1)) & ~own


def info_nce(
    scores: Tensor,
    video_index: Tensor,
    negatives: Tensor,
    temperature: float,
    weights: Tensor | None = None,
) -> Tensor:
    """Each sentence finds its video among the negatives, and each video its sentence.

    Args:
        scores: (V, Q).
        video_index: The video of each sentence (Q,) int64.
        negatives: What may be compared (V, Q) bool.
        temperature: Divides the scores.
        weights: Of the pairs (Q,), or None: equal.

    Returns:
        The mean loss of both directions, weighted.
    """
    logits = (scores / temperature).masked_fill(~negatives, NEGATIVE)
    positive = scores.gather(0, video_index[None])[0] / temperature
    other_videos = logits.T  # (Q, V)
    other_queries = logits[video_index]  # (Q, Q)
    losses = [
        torch.logsumexp(torch.cat([positive[:, None], others], dim=1), dim=1) - positive
        for others in (other_videos, other_queries)
    ]
    both = torch.stack(losses).mean(dim=0)
    return both.mean() if weights is None else (weights * both).mean()


def same_context_negatives(negatives: Tensor, strata: Tensor, video_index: Tensor) -> Tensor:
    """Keep, of each sentence's negatives, those of its own context, where there are any.

    Args:
        negatives: (V, Q) bool.
        strata: The observed stratum of each video (V,) int64.
        video_index: The video of each sentence (Q,) int64.

    Returns:
        (V, Q) bool.
    """
    same = negatives & (strata[:, None] == strata[video_index])
    return torch.where(same.any(dim=0), same, negatives)


def inside_outside(relevance: Tensor, mask: Tensor, config: MilConfig) -> Tensor:
    """How much less relevant the margins of the found span are than its inside, negated.

    The span is the run around the most relevant clip that stays above a share of the range. The
    relevance is brought to [0, 1], so that the loss rewards no larger numbers.

    Args:
        relevance: Of each pair's clips (B, T).
        mask: (B, T).
        config: Threshold and margin.

    Returns:
        Mean of outside minus inside, in [-1, 1].
    """
    scaled = in_unit_range(relevance, mask)
    inside = span_around_peak(scaled.detach(), mask, config.threshold)
    places = torch.arange(mask.shape[1], device=mask.device)
    first = inside.float().argmax(dim=1, keepdim=True)
    length = inside.sum(dim=1, keepdim=True)
    width = (config.margin * length).ceil().clamp(min=1)
    near = (places >= first - width) & (places < first + length + width)
    outside = near & ~inside & mask
    mean_inside = (scaled * inside).sum(dim=1) / length[:, 0]
    count = outside.sum(dim=1)
    mean_outside = (scaled * outside).sum(dim=1) / count.clamp(min=1)
    return torch.where(count > 0, mean_outside - mean_inside, 0.0).mean()


def in_unit_range(relevance: Tensor, mask: Tensor) -> Tensor:
    """Relevance (B, T) moved and scaled so that a video's least is 0 and its most 1; pads are 0."""
    least = relevance.masked_fill(~mask, torch.inf).amin(dim=1, keepdim=True)
    most = relevance.masked_fill(~mask, -torch.inf).amax(dim=1, keepdim=True)
    return (relevance - least) / (most - least).clamp(min=1e-6) * mask


def span_around_peak(scaled: Tensor, mask: Tensor, threshold: float) -> Tensor:
    """The run of clips (B, T) bool around each peak that stays at or above a threshold."""
    peak = scaled.masked_fill(~mask, -1).argmax(dim=1, keepdim=True)
    low = (scaled < threshold) | ~mask
    low = low.scatter(1, peak, False)
    run = low.cumsum(dim=1)  # clips of one run have seen as many low ones
    return (run == run.gather(1, peak)) & ~low


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Videos and sentences about them; no moments.

    Attributes:
        video: Input features (V, T, C).
        video_mask: (V, T).
        queries: The sentences (Q, E).
        concepts: Their concepts (Q, K) bool.
        video_index: Their videos (Q,) int64.
    """

    video: Tensor
    video_mask: Tensor
    queries: Tensor
    concepts: Tensor
    video_index: Tensor


def mil_losses(
    head: ActivationHead, pairs: Pairs, config: MilConfig, clips: Tensor | None = None
) -> dict[str, Tensor]:
    """The losses of a batch, by name; ``total`` is their weighted sum.

    Args:
        head: The head, with its pool.
        pairs: The batch.
        config: The losses.
        clips: What the head reads (V, T, C'), where that is not the input features.

    Returns:
        ``mil``, ``contrast`` and ``total``.
    """
    mask, index = pairs.video_mask, pairs.video_index
    read = pairs.video if clips is None else clips
    mean = (read * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    read = hide_pieces(read, mask, mean[:, None], config.hidden_share, config.num_pieces)
    negatives = real_negatives(pairs.concepts, index, len(mask))
    pool = head.pool
    mode = "none" if pool is None else pool.config.intervention
    strata = weights = None
    if pool is not None and mode != "none":
        context = pool(pairs.video, mask)
        strata = context.strata[:, None] if mode == "backdoor" else None
        if mode == "stratified":
            weights = pool.pair_weights(context.present[index], pairs.concepts)
        if pool.config.context_negatives:
            negatives = same_context_negatives(negatives, context.strata, index)
    found = head(read[:, None], mask[:, None], pairs.queries, pairs.concepts, strata)
    nce = (index, negatives, config.temperature, weights)
    mil = info_nce(found.scores, *nce)
    if found.plain_scores is not None:
        mil = mil + info_nce(found.plain_scores, *nce)
    own = torch.arange(len(index), device=index.device)
    relevance = found.relevance[index, own]
    contrast = inside_outside(relevance, mask[index], config)
    if pool is not None and mode == "cicam":
        best = found.scores.masked_fill(~negatives, NEGATIVE).amax(dim=0)
        right = found.scores[index, own] > best
        pool.maps.update(relevance[right], mask[index][right], pairs.concepts[right])
    return {"mil": mil, "contrast": contrast, "total": mil + config.contrast_weight * contrast}
