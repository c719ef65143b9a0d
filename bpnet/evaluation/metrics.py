"""R@n,IoU=m, mIoU and oracle recall on arrays of moments in seconds; NumPy only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bpnet.evaluation.intervals import (
    Array,
    BoolArray,
    Ragged,
    as_rows,
    check_lengths,
    overlaps,
    pad_targets,
)
from bpnet.evaluation.protocols import VSLNET, Protocol
from bpnet.evaluation.ranking import rank

RANKS = (1, 5)
THRESHOLDS = (0.3, 0.5, 0.7)
_RECALL = re.compile(r"R@(\d+),IoU=([\d.]+)")


def metric_names(
    ranks: Sequence[int] = RANKS, thresholds: Sequence[float] = THRESHOLDS
) -> list[str]:
    """Names of the recalls, in the order of a table: ``"R@1,IoU=0.3"``, ..."""
    return [f"R@{rank},IoU={threshold:g}" for rank in ranks for threshold in thresholds]


def localization_metrics(
    predictions: Ragged,
    targets: Ragged,
    protocol: Protocol,
    ranks: Sequence[int] = RANKS,
    thresholds: Sequence[float] = THRESHOLDS,
    scores: Ragged | None = None,
) -> dict[str, float]:
    """Recall and mean overlap of ranked moments.

    Of several targets of a query the one with the highest temporal IoU counts, for each moment
    anew: for R@1 and mIoU this is Moment-DETR's rule.

    Args:
        predictions: Per query its moments in seconds (n, 2), best first; n may be 0, and such a
            query counts as missed.
        targets: Per query its true moments in seconds (m, 2), m >= 1, or its only one (2,).
        protocol: The rules of counting.
        ranks: The n of R@n, each >= 1; a query with fewer moments counts those it has.
        thresholds: The m of IoU=m, in [0, 1].
        scores: Per query the scores of its moments (n,); only soft-NMS needs them.

    Returns:
        Percent by name: ``"R@1,IoU=0.3"`` ... and last ``"mIoU"``.

    Raises:
        AnnotationError: There are no queries, or not as many predictions as targets; a query has no
            target; moments are not finite or end before they start; scores are not what soft-NMS
            needs.
    """
    best = best_overlaps(predictions, targets, protocol, max(ranks), scores)
    mean = float(best[:, 0].clip(min=0.0).mean())
    return _recalls(best, protocol, ranks, thresholds) | {"mIoU": 100.0 * mean}


def oracle_recall(
    proposals: Ragged,
    targets: Ragged,
    ks: Sequence[int] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    protocol: Protocol = VSLNET,
) -> dict[str, float]:
    """Share of queries of which the best of the first k proposals hits; it bounds stage two.

    Nothing is suppressed, whatever the protocol: stage two sees all proposals. (Voting may move a
    moment to where no proposal is; then the bound does not hold.)

    Args:
        proposals: Per query its proposals in seconds (n, 2), best first.
        targets: As in `localization_metrics`.
        ks: Numbers of proposals, each >= 1; None takes 1, 5 and, where it is more, the largest n.
        thresholds: The m of IoU=m, in [0, 1].
        protocol: Its hit rule and its rounding are used.

    Returns:
        Percent by name: ``"R@k,IoU=m"`` for each k and m.

    Raises:
        AnnotationError: As `localization_metrics`.
    """
    if ks is None:
        most = max(map(len, as_rows(proposals, "prediction")))
        ks = sorted({1, 5, max(5, most)})
    best = best_overlaps(proposals, targets, protocol.without_suppression(), max(ks))
    return _recalls(best, protocol, ks, thresholds)


def best_of_all(oracle: Mapping[str, float] | None) -> tuple[int, dict[str, float]]:
    """The oracle row for the largest k, which stands in a table under the names of R@1.

    Args:
        oracle: What `oracle_recall` gave; may be empty, or None.

    Returns:
        The largest k, 0 where there is none, and its values as ``"R@1,IoU=m"``.
    """
    pairs = (oracle or {}).items()
    found = [(match, value) for name, value in pairs if (match := _RECALL.fullmatch(name))]
    largest = max((int(match[1]) for match, _ in found), default=0)
    return largest, {
        f"R@1,IoU={match[2]}": value for match, value in found if int(match[1]) == largest
    }


def best_overlaps(
    predictions: Ragged,
    targets: Ragged,
    protocol: Protocol,
    limit: int,
    scores: Ragged | None = None,
) -> Array:
    """Temporal IoU of the first moments, after suppression, with the target that each fits best.

    Args:
        predictions: As in `localization_metrics`.
        targets: As there.
        protocol: Its suppression and rounding are used.
        limit: How many moments of each query, N.
        scores: As in `localization_metrics`.

    Returns:
        Temporal IoU (Q, N); -1 where there is no moment.

    Raises:
        AnnotationError: As `localization_metrics`.
    """
    check_lengths(predictions=predictions, targets=targets)
    wanted = pad_targets(targets)
    found = rank(predictions, protocol, limit, scores)
    best: Array = overlaps(found.moments, wanted).max(axis=2)
    return best


def _recalls(
    best: Array, protocol: Protocol, ranks: Sequence[int], thresholds: Sequence[float]
) -> dict[str, float]:
    """Percent of queries that hit, from the overlaps of `best_overlaps`."""

    def percent(hits: BoolArray) -> float:
        return 100.0 * float(hits.any(axis=1).mean())

    return {
        f"R@{count},IoU={threshold:g}": percent(protocol.hits(best[:, :count], threshold))
        for count in ranks
        for threshold in thresholds
    }
