"""R@n,IoU=m, mIoU and oracle recall on arrays of moments in seconds; NumPy only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from bpnet.errors import AnnotationError
from bpnet.evaluation.protocols import VSLNET, Protocol

Array = npt.NDArray[np.float64]

RANKS = (1, 5)
THRESHOLDS = (0.3, 0.5, 0.7)
_RECALL = re.compile(r"R@(\d+),IoU=([\d.]+)")


def tiou(predicted: npt.ArrayLike, target: npt.ArrayLike) -> Array:
    """Temporal IoU of intervals, place by place.

    ``max(0, min(ends) - max(starts)) / (max(ends) - min(starts))`` with real-valued ends, no "+1".

    Args:
        predicted: Intervals in seconds (..., 2), start <= end.
        target: Intervals in seconds (..., 2) that broadcast with the first.

    Returns:
        Temporal IoU in [0, 1] (...); 0 for disjoint ones, and where both are the same point.
    """
    one, other = np.asarray(predicted, np.float64), np.asarray(target, np.float64)
    left = np.maximum(one[..., 0], other[..., 0])
    right = np.minimum(one[..., 1], other[..., 1])
    hull = np.maximum(one[..., 1], other[..., 1]) - np.minimum(one[..., 0], other[..., 0])
    intersection = np.maximum(right - left, 0.0)
    overlaps: Array = np.divide(intersection, hull, out=np.zeros_like(hull), where=hull > 0)
    return overlaps


def suppress(moments: npt.ArrayLike, threshold: float) -> Array:
    """Greedy suppression in ranked order: a moment goes when a better one overlaps it too much.

    Args:
        moments: Intervals in seconds (N, 2), best first.
        threshold: Temporal IoU that must be exceeded strictly.

    Returns:
        What is kept (M, 2), best first.
    """
    remaining = np.asarray(moments, np.float64).reshape(-1, 2)
    kept = []
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        remaining = remaining[tiou(remaining, best) <= threshold]
    return np.array(kept).reshape(-1, 2)


def metric_names(
    ranks: Sequence[int] = RANKS, thresholds: Sequence[float] = THRESHOLDS
) -> list[str]:
    """Names of the recalls, in the order of a table: ``"R@1,IoU=0.3"``, ..."""
    return [f"R@{rank},IoU={threshold:g}" for rank in ranks for threshold in thresholds]


def localization_metrics(
    predictions: Sequence[npt.ArrayLike],
    targets: npt.ArrayLike,
    protocol: Protocol,
    ranks: Sequence[int] = RANKS,
    thresholds: Sequence[float] = THRESHOLDS,
) -> dict[str, float]:
    """Recall and mean overlap of ranked moments.

    Args:
        predictions: Per query its moments in seconds (n_i, 2), best first; n_i may be 0, and
            such a query counts as missed.
        targets: True moments in seconds (Q, 2).
        protocol: The rules of counting.
        ranks: The n of R@n, each >= 1; a query with fewer moments counts those it has.
        thresholds: The m of IoU=m, in [0, 1].

    Returns:
        Percent by name: ``"R@1,IoU=0.3"`` ... and last ``"mIoU"``.

    Raises:
        AnnotationError: There are no queries, or moments are not finite or end before they start.
    """
    if protocol.nms_threshold is not None:
        predictions = [suppress(moments, protocol.nms_threshold) for moments in predictions]
    overlaps = _ranked_overlaps(predictions, targets, max(ranks))
    first = np.maximum(overlaps[:, 0], 0.0)
    return _recalls(overlaps, protocol, ranks, thresholds) | {"mIoU": 100.0 * float(first.mean())}


def oracle_recall(
    proposals: Sequence[npt.ArrayLike],
    targets: npt.ArrayLike,
    ks: Sequence[int] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    protocol: Protocol = VSLNET,
) -> dict[str, float]:
    """Share of queries of which the best of the first k proposals hits; it bounds stage two.

    Nothing is suppressed, whatever the protocol: stage two sees all proposals.

    Args:
        proposals: Per query its proposals in seconds (k_i, 2), best first.
        targets: True moments in seconds (Q, 2).
        ks: Numbers of proposals, each >= 1; None takes 1, 5 and, where it is more, the
            largest k_i.
        thresholds: The m of IoU=m, in [0, 1].
        protocol: Its hit rule is used.

    Returns:
        Percent by name: ``"R@k,IoU=m"`` for each k and m.

    Raises:
        AnnotationError: As ``localization_metrics``.
    """
    if ks is None:
        ks = sorted({1, 5, max([5, *(len(np.asarray(spans)) for spans in proposals)])})
    return _recalls(_ranked_overlaps(proposals, targets, max(ks)), protocol, ks, thresholds)


def best_of_all(oracle: Mapping[str, float]) -> tuple[int, dict[str, float]]:
    """The oracle row for the largest k, which stands in a table under the names of R@1.

    Args:
        oracle: What `oracle_recall` gave; may be empty.

    Returns:
        The largest k, 0 where there is none, and its values as ``"R@1,IoU=m"``.
    """
    found = [(match, value) for name, value in oracle.items() if (match := _RECALL.fullmatch(name))]
    largest = max((int(match[1]) for match, _ in found), default=0)
    return largest, {
        f"R@1,IoU={match[2]}": value for match, value in found if int(match[1]) == largest
    }


def _recalls(
    overlaps: Array, protocol: Protocol, ranks: Sequence[int], thresholds: Sequence[float]
) -> dict[str, float]:
    """Percent of queries that hit, from overlaps (Q, n) as ``_ranked_overlaps`` gives them."""
    return {
        f"R@{rank},IoU={threshold:g}": 100.0
        * float(protocol.hits(overlaps[:, :rank], threshold).any(axis=1).mean())
        for rank in ranks
        for threshold in thresholds
    }


def _ranked_overlaps(ranked: Sequence[npt.ArrayLike], targets: npt.ArrayLike, size: int) -> Array:
    """Overlaps of the first moments with the target (Q, size); -1 where there is no moment."""
    wanted = np.asarray(targets, np.float64)
    assert wanted.ndim == 2 and wanted.shape[1] == 2, wanted.shape
    assert len(ranked) == len(wanted), (len(ranked), len(wanted))
    if len(wanted) == 0:
        raise AnnotationError("no queries to evaluate: expected at least one (is the split empty?)")
    moments = np.zeros((len(wanted), size, 2))
    missing = np.ones((len(wanted), size), np.bool_)
    for place, one in enumerate(ranked):
        first = np.asarray(one, np.float64).reshape(-1, 2)[:size]
        moments[place, : len(first)] = first
        missing[place, : len(first)] = False
    for what, intervals in (("target", wanted[:, None]), ("prediction", moments)):
        bad = ~np.isfinite(intervals).all(-1) | (intervals[..., 0] > intervals[..., 1])
        if bad.any():
            query, rank = np.argwhere(bad)[0]
            start, end = intervals[query, rank]
            raise AnnotationError(
                f"{what} of query number {query}: {start} to {end} s: expected finite seconds with "
                f"start <= end ({bad.sum()} of {bad.size} are not)"
            )
    # A value below every threshold: a missing moment never hits, not even at IoU=0.
    return np.where(missing, -1.0, tiou(moments, wanted[:, None]))
