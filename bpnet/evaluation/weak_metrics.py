"""Metrics of weakly supervised localization: of activations over time, and of first moments.

They are those of images, carried over to time: CorLoc (Deselaers et al., 2010), GT-known and Top-k
localization, and MaxBoxAcc and PxAP of Choe et al., *Evaluating weakly supervised object
localization methods right* (2020). NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bpnet.errors import AnnotationError
from bpnet.evaluation.intervals import (
    Array,
    BoolArray,
    Intervals,
    Ragged,
    as_rows,
    check_lengths,
    overlaps,
    pad,
    pad_targets,
)

SEGMENT_IOUS = (0.3, 0.5, 0.7)
LOC_IOU = 0.5
# Shares of the range of an activation that are tried as thresholds.
THRESHOLDS = tuple(percent / 100 for percent in range(5, 100, 5))


def gt_known(moments: Ragged, targets: Ragged, iou: float = LOC_IOU) -> float:
    """Share of queries whose first moment fits, the right video being given.

    On pairs of the training part, whose moments training has not seen, this is CorLoc.

    Args:
        moments: Per query its moments in seconds (n, 2), best first; n may be 0.
        targets: Per query its true moments in seconds (m, 2), m >= 1, or its only one (2,).
        iou: Least temporal IoU.

    Returns:
        Percent.

    Raises:
        AnnotationError: There are no queries, not as many moments as targets, or a moment is not
            two finite numbers in order.
    """
    return 100.0 * float(_hits(moments, targets, iou).mean())


def corloc(moments: Ragged, targets: Ragged) -> float:
    """Correct localization: `gt_known` at a temporal IoU of 0.5, of training pairs."""
    return gt_known(moments, targets)


def top_k_localization(
    video_ranks: npt.ArrayLike, moments: Ragged, targets: Ragged, ks: Sequence[int] = (1, 5)
) -> dict[str, float]:
    """Share of queries whose video is found in a corpus, and whose moment fits there.

    Args:
        video_ranks: Place of the right video among all of the corpus, 0 the first (Q,).
        moments: As in `gt_known`, in the right video.
        targets: As there.
        ks: The k of Top-k, each >= 1.

    Returns:
        Percent by name, ``"Top-1 Loc"``.

    Raises:
        AnnotationError: As `gt_known`, or a rank is negative.
    """
    ranks = np.asarray(video_ranks)
    check_lengths(video_ranks=ranks, targets=targets)
    hits = _hits(moments, targets, LOC_IOU)
    if (ranks < 0).any():
        raise AnnotationError(f"video rank {ranks.min()}: expected >= 0, 0 the first")
    return {f"Top-{k} Loc": 100.0 * float((hits & (ranks < k)).mean()) for k in ks}


def segment_at_peak(activation: npt.ArrayLike, threshold: float) -> tuple[int, int]:
    """The run of clips around the most active one that stays above a share of the range.

    Args:
        activation: A number for each clip (T,), T >= 1, finite.
        threshold: Share of the range between least and most, in [0, 1].

    Returns:
        First clip, and the one behind the last.

    Raises:
        AnnotationError: There is no number, or one that is not finite.
    """
    scaled = _scaled(activation, 0)
    low = scaled < threshold
    peak = int(scaled.argmax())
    before, after = np.flatnonzero(low[:peak]), np.flatnonzero(low[peak:])
    start = int(before[-1]) + 1 if len(before) else 0
    return start, peak + int(after[0]) if len(after) else len(scaled)


def segment_accuracy(
    activations: Sequence[npt.ArrayLike],
    targets: Ragged,
    thresholds: Sequence[float] = THRESHOLDS,
) -> Array:
    """How well thresholded activations fit, at each threshold.

    Args:
        activations: Per query a number for each clip of its video (T,).
        targets: Per query its true moments in clips (m, 2), m >= 1, or its only one (2,).
        thresholds: Shares of each activation's range, see `segment_at_peak`.

    Returns:
        Percent of queries with a temporal IoU of at least each of `SEGMENT_IOUS` (thresholds, 3).

    Raises:
        AnnotationError: As `gt_known`, or an activation is not of finite numbers.
    """
    check_lengths(activations=activations, targets=targets)
    wanted = pad_targets(targets)
    found = np.array(
        [[segment_at_peak(one, level) for level in thresholds] for one in activations], np.float64
    )
    segments = Intervals(found, np.ones(found.shape[:2], dtype=bool))
    best = overlaps(segments, wanted).max(axis=2)  # (Q, thresholds)
    return np.stack([100.0 * (best >= iou).mean(axis=0) for iou in SEGMENT_IOUS], axis=1)


def best_threshold(
    activations: Sequence[npt.ArrayLike],
    targets: Ragged,
    thresholds: Sequence[float] = THRESHOLDS,
) -> tuple[float, float]:
    """The threshold of MaxSegAcc: to be chosen on the labelled validation part.

    The value on the test part is the mean of `segment_accuracy` there at this threshold. The best
    value over the thresholds of the test part itself is an oracle, and is to be called so.

    Args:
        activations: As in `segment_accuracy`.
        targets: As there.
        thresholds: As there; of equal ones the first counts.

    Returns:
        The threshold, and the mean accuracy in percent over `SEGMENT_IOUS` there.

    Raises:
        AnnotationError: As `segment_accuracy`.
    """
    means = segment_accuracy(activations, targets, thresholds).mean(axis=1)
    best = int(means.argmax())
    return float(thresholds[best]), float(means[best])


def frame_average_precision(activations: Sequence[npt.ArrayLike], targets: Ragged) -> float:
    """Average precision of clips ranked by activation, against those inside the truth.

    As PxAP: the clips of all videos are ranked together, each activation scaled to [0, 1] in its
    own video; ``sum_i P_i (R_i - R_{i-1})`` over different values. No threshold is chosen.

    Args:
        activations: Per query a number for each clip of its video (T,).
        targets: Per query its true moments in clips (m, 2); a clip is inside whose middle is.

    Returns:
        Percent.

    Raises:
        AnnotationError: As `segment_accuracy`, or no clip is inside.
    """
    check_lengths(activations=activations, targets=targets)
    rows = as_rows(targets, "target")
    scaled = [_scaled(one, place) for place, one in enumerate(activations)]
    inside = [_inside(row, len(one)) for row, one in zip(rows, scaled, strict=True)]
    values, truths = np.concatenate(scaled), np.concatenate(inside)
    if not truths.any():
        raise AnnotationError("no clip lies inside a target: expected moments in clip positions")
    order = np.argsort(-values, kind="stable")
    last = np.append(np.diff(values[order]) != 0, True)
    found = truths[order].cumsum()[last]
    precision = found / (np.flatnonzero(last) + 1)
    return 100.0 * float((precision * np.diff(found, prepend=0)).sum() / truths.sum())


def pointing(
    activations: Sequence[npt.ArrayLike], objects: Ragged, contexts: Ragged
) -> dict[str, float]:
    """Where the most active clip lies: on what the query names, or on what comes with it.

    Args:
        activations: Per query a number for each clip of its video (T,).
        objects: Per query the runs of what it names, in clips (n, 2); n may be 0.
        contexts: Per query the runs of its context, in clips (n, 2); n may be 0.

    Returns:
        ``"pointing"``: percent of queries whose peak is on the object; ``"CPR"``, the confounder
        pointing rate: of those whose peak is on the context and not on the object.

    Raises:
        AnnotationError: There are no queries or not as many of one thing as of another, or numbers
            that are not finite.
    """
    check_lengths(activations=activations, objects=objects, contexts=contexts)
    peaks = np.array([_scaled(one, place).argmax() for place, one in enumerate(activations)])
    on_object, on_context = (
        _contains(pad(as_rows(runs, what), what), peaks + 0.5)
        for runs, what in ((objects, "object"), (contexts, "context"))
    )
    return {
        "pointing": 100.0 * float(on_object.mean()),
        "CPR": 100.0 * float((on_context & ~on_object).mean()),
    }


def _hits(moments: Ragged, targets: Ragged, iou: float) -> BoolArray:
    check_lengths(moments=moments, targets=targets)
    wanted = pad_targets(targets)
    first = pad([row[:1] for row in as_rows(moments, "prediction")], "prediction")
    hits: BoolArray = overlaps(first, wanted).max(axis=(1, 2)) >= iou
    return hits


def _scaled(activation: npt.ArrayLike, place: int) -> Array:
    """An activation from 0 to 1; all 1 where its numbers are equal, as each is the most."""
    values = np.asarray(activation, np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise AnnotationError(
            f"activation of query number {place}: an array {values.shape} with "
            f"{np.isfinite(values).sum()} finite numbers: expected a finite one for each clip"
        )
    width = np.ptp(values)
    if width == 0:
        return np.ones(len(values))
    scaled: Array = (values - values.min()) / width
    return scaled


def _inside(spans: Array, num_clips: int) -> BoolArray:
    middles = np.arange(num_clips) + 0.5
    inside = (spans[:, :1] <= middles) & (middles < spans[:, 1:])
    return np.asarray(inside.any(axis=0))


def _contains(runs: Intervals, places: Array) -> BoolArray:
    inside = (runs.seconds[..., 0] <= places[:, None]) & (places[:, None] < runs.seconds[..., 1])
    return np.asarray((inside & runs.mask).any(axis=1))
