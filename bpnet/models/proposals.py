"""Many candidate spans -> the K proposals that stage two sees."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from bpnet.models.layers import masked_softmax, negative
from bpnet.models.sizes import is_open, possibly
from bpnet.spans import paired_tiou
from bpnet.types import Proposals

NUM_BLOCKS = 64  # along time, in which `expected_spans` sums probabilities up


def choose(candidates: Proposals, num_proposals: int, nms: float | None) -> Proposals:
    """The best candidates, best first.

    Args:
        candidates: N spans a pair, in any order; logits are what they are ordered by.
        num_proposals: Number K of spans to keep.
        nms: A candidate goes when a better one overlaps it by more than this temporal IoU; None:
            none goes.

    Returns:
        min(K, N) proposals a pair, without gradient. Pairs of which fewer are left are filled up
        with their best one, False in the mask.
    """
    with torch.no_grad():
        if is_open(candidates.logits.shape[1]):
            candidates = _lengthened(candidates, num_proposals)
        confidence = candidates.logits.masked_fill(~candidates.mask, -torch.inf)
        count = min(num_proposals, confidence.shape[1])
        if nms is None:
            logits, index = confidence.topk(count, dim=1)
        else:
            logits, index = suppress(candidates.spans, confidence, nms, count)
        mask = logits > -torch.inf
        index = torch.where(mask, index, index[:, :1])
        spans = candidates.spans.gather(1, index[..., None].expand(-1, -1, 2))
    return Proposals(spans, logits.masked_fill(~mask, negative(logits.dtype)), mask)


def _lengthened(candidates: Proposals, by: int) -> Proposals:
    """The same with some that are not there, so that any number of candidates is enough."""
    return Proposals(
        F.pad(candidates.spans, (0, 0, 0, by)),
        F.pad(candidates.logits, (0, by), value=negative(candidates.logits.dtype)),
        F.pad(candidates.mask, (0, by)),
    )


def suppress(spans: Tensor, confidence: Tensor, nms: float, count: int) -> tuple[Tensor, Tensor]:
    """Greedy suppression of a whole batch at once, until ``count`` are kept.

    Args:
        spans: (B, N, 2).
        confidence: (B, N); -inf: not there.
        nms: Temporal IoU that must be exceeded strictly.
        count: Number to keep.

    Returns:
        Confidences (B, count), best first, -inf where no more is left; and their indices.
    """
    left = confidence
    # Starts beside starts and ends beside ends: all of them are read once for each that is kept.
    spans = spans.transpose(1, 2).contiguous().transpose(1, 2)
    kept, indices = [], []
    for _ in range(count):
        best, index = left.max(dim=1)
        kept.append(best)
        indices.append(index)
        chosen = spans.gather(1, index[:, None, None].expand(-1, -1, 2))  # (B, 1, 2)
        gone = paired_tiou(chosen, spans) > nms
        left = left.masked_fill(gone, -torch.inf).scatter(1, index[:, None], -torch.inf)
    return torch.stack(kept, dim=1), torch.stack(indices, dim=1)


def without_repeats(spans: Tensor, scores: Tensor, nms: float) -> Tensor:
    """Mark what lies on a better one: proposals that stage two moves often meet at one moment.

    Args:
        spans: (B, K, 2).
        scores: (B, K), >= 0; -1 where there is nothing.
        nms: Temporal IoU with a better span that must be exceeded strictly.

    Returns:
        The scores, -1 where a span repeats a better one.
    """
    there = scores.masked_fill(scores < 0, -torch.inf)
    kept, index = suppress(spans, there, nms, scores.shape[1])
    # Where no more is left, the index is any.
    none = torch.full_like(scores, -1.0)
    return none.scatter_reduce(1, index, kept.clamp(min=-1.0), reduce="amax")


def expected_iou(candidates: Proposals) -> Tensor:
    """How well each candidate overlaps the moment, if the candidates' probabilities are right.

    ``sum_j p_j tIoU(i, j)`` with p the softmax of the logits: the choice of least expected loss
    where the loss is 1 - IoU, instead of the most probable span. Where people disagree about a
    moment's ends, probability is thinly spread over many spans, and its peak says little.

    Args:
        candidates: N spans a pair.

    Returns:
        Expected temporal IoU (B, N) in [0, 1].
    """
    weights = masked_softmax(candidates.logits, candidates.mask)
    overlaps = paired_tiou(candidates.spans[:, :, None], candidates.spans[:, None])  # (B, N, N)
    return (overlaps @ weights[..., None]).squeeze(-1)


def expected_spans(pairs: Tensor, probabilities: Tensor, video_mask: Tensor) -> Proposals:
    """Spans ordered by their expected IoU, as `expected_iou`, with all T (T + 1) / 2 in the sum.

    In a video of more than `NUM_BLOCKS` clips, neighbouring ones form blocks: all spans from one
    block to another share the probability of their sum, and the most probable of them stands for
    all.

    Args:
        pairs: Log-probability of each first and last clip (B, T, T), -inf where there is no span.
        probabilities: Of the same spans, 0 where there is none; up to a factor.
        video_mask: (B, T).

    Returns:
        One candidate for each pair of blocks (B, N, 2), without gradient; logits are the logarithms
        of their expected IoU.
    """
    # Not in half precision, whatever the network is computed in: the order of spans hangs on it.
    with torch.no_grad(), torch.autocast(pairs.device.type, enabled=False):
        num_clips = pairs.shape[1]
        size = NUM_BLOCKS if is_open(num_clips) else min(num_clips, NUM_BLOCKS)
        # Of each video's own length, so that what else is in the batch changes nothing.
        blocks = (video_mask.sum(dim=1) + NUM_BLOCKS - 1) // NUM_BLOCKS
        last, first = torch.tril_indices(size, size, device=pairs.device)
        spans = pairs.new_zeros(pairs.shape[0], len(first), 2)
        weights, best = spans[..., 0], spans[..., 1]
        for block in _block_sizes(blocks, num_clips):
            width = size * block
            spare = width if is_open(num_clips) else max(0, width - num_clips)
            square, shares = pairs, probabilities
            if possibly(spare > 0):
                square = F.pad(pairs, (0, spare, 0, spare), value=-torch.inf)
                shares = F.pad(probabilities, (0, spare, 0, spare))
            square, shares = square[:, :width, :width], shares[:, :width, :width]
            if block == 1:
                peak, total = square[:, first, last], shares[:, first, last]
                ends = torch.stack([first, last + 1], dim=-1)
            else:
                peaks, index = F.max_pool2d(square[:, None], block, return_indices=True)
                totals = F.avg_pool2d(shares[:, None], block)  # the mean: a video has one size
                peak, index, total = (x[:, 0, first, last] for x in (peaks, index, totals))
                ends = torch.stack([index // width, index % width + 1], dim=-1)
            fits = (blocks == block)[:, None]
            spans = torch.where(fits[..., None], ends.to(spans.dtype), spans)
            weights, best = torch.where(fits, total, weights), torch.where(fits, peak, best)
        mask = best > -torch.inf
        weights = weights / weights.sum(dim=1, keepdim=True)
        # Tensors of a graph that is being traced must not be kept.
        tracing = torch.compiler.is_compiling()
        overlaps = (_block_overlaps if tracing else _kept_block_overlaps)(pairs.device)
        expected = weights @ overlaps[: len(first), : len(first)].to(weights.dtype)
        logits = expected.clamp(min=1e-6).log()
        logits = logits.masked_fill(~mask, negative(logits.dtype))
        # What is not there still has to be a span.
        spans = torch.where(mask[..., None], spans, spans.new_tensor([0.0, 1.0]))
    return Proposals(spans, logits, mask)


def _block_sizes(blocks: Tensor, num_clips: int) -> list[int]:
    """Clips in a block: those that some video has (B,); in a traced graph all that one might."""
    if not is_open(num_clips) and not torch.compiler.is_compiling():
        return sorted(set(blocks.tolist()))
    sizes = [1]
    while possibly(num_clips > NUM_BLOCKS * sizes[-1]):
        sizes.append(sizes[-1] + 1)
    return sizes


def _block_overlaps(device: torch.device) -> Tensor:
    """Temporal IoU of all spans of whole blocks with one another (N, N).

    They come as they end, so that the spans of a shorter video stand first.
    """
    last, first = torch.tril_indices(NUM_BLOCKS, NUM_BLOCKS, device=device)
    spans = torch.stack([first, last + 1], dim=-1).float()
    return paired_tiou(spans[:, None], spans[None])


_kept_block_overlaps = functools.lru_cache(maxsize=8)(_block_overlaps)
