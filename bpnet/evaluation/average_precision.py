"""Mean average precision of ranked moments with several targets (QVHighlights); NumPy only."""

from __future__ import annotations

import numpy as np

from bpnet.evaluation.intervals import (
    Array,
    BoolArray,
    Ragged,
    check_lengths,
    overlaps,
    pad_targets,
)
from bpnet.evaluation.protocols import Protocol
from bpnet.evaluation.ranking import rank

# Multiples of 0.05; dividing integers gives the floats nearest to the decimals.
THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
# Lengths of targets in seconds: more than the first, at most the second.
LENGTHS = {"short": (0.0, 10.0), "middle": (10.0, 30.0), "long": (30.0, np.inf)}
LIMIT = 10


def mean_average_precision(
    predictions: Ragged, targets: Ragged, protocol: Protocol, scores: Ragged | None = None
) -> dict[str, float]:
    """Average precision as Moment-DETR's evaluation of QVHighlights computes it.

    Of each query the first ten moments, sorted by their scores; each takes the best target that is
    still free and that it overlaps by at least the threshold, or counts as wrong. The precision is
    interpolated (the largest at any higher recall) and averaged over the recall of that query;
    then over queries.

    Two differences: a query without an answer counts 0 here, where that code leaves it out of the
    mean; "long" has no upper end here, where it ends at 150 s, the length of those videos.

    Args:
        predictions: Per query its moments in seconds (n, 2), best first; n may be 0.
        targets: Per query its true moments in seconds (m, 2), m >= 1, or its only one (2,).
        protocol: Its rounding and suppression are used. Its hit rule is not: a hit is tIoU >= m.
        scores: Per query the scores of its moments (n,); equal ones keep their order. None: their
            order is that of the scores.

    Returns:
        Percent by name: ``"mAP"`` (mean over thresholds .5, .55, ... .95), ``"mAP@0.5"``,
        ``"mAP@0.75"``, and ``"mAP,short"`` (targets of at most 10 s), ``"mAP,middle"`` (at most
        30 s), ``"mAP,long"``: over the queries that have such a target, with these targets alone;
        a length that no target has is left out.

    Raises:
        AnnotationError: As `bpnet.evaluation.metrics.localization_metrics`.
    """
    check_lengths(predictions=predictions, targets=targets)
    wanted = pad_targets(targets)
    found = rank(predictions, protocol, LIMIT, scores)
    values = overlaps(found.moments, wanted)  # (Q, N, M)
    if found.scores is not None:
        order = np.argsort(
            np.where(found.moments.mask, -found.scores, np.inf), axis=1, kind="stable"
        )
        values = np.take_along_axis(values, order[:, :, None], axis=1)
    precision = _average_precision(values, wanted.mask).mean(axis=0)
    result = {
        "mAP": precision.mean(),
        "mAP@0.5": precision[THRESHOLDS.index(0.5)],
        "mAP@0.75": precision[THRESHOLDS.index(0.75)],
    }
    lengths = wanted.seconds[..., 1] - wanted.seconds[..., 0]
    for name, (low, high) in LENGTHS.items():
        chosen = wanted.mask & (lengths > low) & (lengths <= high)
        some = chosen.any(axis=1)
        if some.any():
            result[f"mAP,{name}"] = _average_precision(values[some], chosen[some]).mean()
    return {name: 100.0 * float(value) for name, value in result.items()}


def _average_precision(values: Array, targets: BoolArray) -> Array:
    """Average precision of each query at each threshold (Q, 10).

    ``values`` are the overlaps (Q, N, M) of the moments, in the order of their scores; ``targets``
    says which targets count (Q, M), at least one a query.
    """
    size, count, width = values.shape
    levels = np.array(THRESHOLDS)[:, None]
    free = np.broadcast_to(targets[:, None], (size, len(levels), width)).copy()  # (Q, 10, M)
    right = np.zeros((size, len(levels), count), np.bool_)
    for place in range(count):
        row = values[:, place, None]  # (Q, 1, M)
        fits = np.where(free & (row >= levels), row, -1.0)
        # Of equally good targets the last, as in Moment-DETR's code, which reverses a sorted list.
        best = (width - 1 - fits[..., ::-1].argmax(axis=-1))[..., None]
        hit = np.take_along_axis(fits, best, axis=-1) >= 0
        right[..., place] = hit[..., 0]
        np.put_along_axis(free, best, np.take_along_axis(free, best, axis=-1) & ~hit, axis=-1)
    precision = right.cumsum(axis=-1) / np.arange(1, count + 1)
    interpolated = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    total = np.where(right, interpolated, 0.0).sum(axis=-1)
    averages: Array = total / targets.sum(axis=1)[:, None]
    return averages
