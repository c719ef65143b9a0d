"""Many candidate spans -> the K proposals that stage two sees."""

from __future__ import annotations

import torch
from torch import Tensor

from bpnet.models.layers import NEGATIVE
from bpnet.spans import paired_tiou
from bpnet.types import Proposals


def choose(candidates: Proposals, num_proposals: int, order: str, nms: float | None) -> Proposals:
    """The best candidates, best first.

    Args:
        candidates: N spans a pair, in any order.
        num_proposals: Number K of spans to keep.
        order: ``"probability"``: by their own logits; ``"expected_iou"``: by `expected_iou`.
        nms: A candidate goes when a better one overlaps it by more than this temporal IoU; None:
            none goes.

    Returns:
        min(K, N) proposals a pair; ``logits`` holds the log of what they are ordered by. Pairs of
        which fewer are left are filled up, False in the mask.
    """
    with torch.no_grad():
        confidence = candidates.logits
        if order == "expected_iou":
            confidence = expected_iou(candidates).clamp(min=1e-6).log()
        confidence = confidence.masked_fill(~candidates.mask, -torch.inf)
        count = min(num_proposals, confidence.shape[1])
        if nms is None:
            logits, index = confidence.topk(count, dim=1)
        else:
            logits, index = suppress(candidates.spans, confidence, nms, count)
        mask = logits > -torch.inf
        # What fills up repeats the best span, so that it is a span at least.
        index = torch.where(mask, index, index[:, :1])
        spans = candidates.spans.gather(1, index[..., None].expand(-1, -1, 2))
    return Proposals(spans, logits.masked_fill(~mask, NEGATIVE), mask)


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
    weights = torch.softmax(candidates.logits.masked_fill(~candidates.mask, NEGATIVE), dim=1)
    overlaps = paired_tiou(candidates.spans[:, :, None], candidates.spans[:, None])  # (B, N, N)
    return (overlaps @ weights[..., None]).squeeze(-1)


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
    left = confidence.clone()
    kept, indices = [], []
    for _ in range(count):
        best, index = left.max(dim=1)
        kept.append(best)
        indices.append(index)
        chosen = spans.gather(1, index[:, None, None].expand(-1, -1, 2))  # (B, 1, 2)
        gone = paired_tiou(chosen, spans) > nms
        left = left.masked_fill(gone, -torch.inf).scatter(1, index[:, None], -torch.inf)
    return torch.stack(kept, dim=1), torch.stack(indices, dim=1)
