"""Suppression of near-copies among ranked moments, for many queries at once; NumPy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bpnet.evaluation.intervals import Array, BoolArray, Intervals, tiou
from bpnet.evaluation.protocols import SoftNMS


def suppress(moments: npt.ArrayLike, threshold: float) -> Array:
    """Greedy suppression in ranked order: a moment goes when a better one overlaps it too much.

    2D-TAN's code computes the overlap with the sum of the lengths less the intersection, ours with
    the hull: the same for moments that overlap, and both 0 for others. They differ for two equal
    moments of no length only, which its code suppresses (0/0) and this keeps; it has none.

    Args:
        moments: Intervals in seconds (N, 2), best first.
        threshold: Temporal IoU in [0, 1] that must be exceeded strictly.

    Returns:
        What is kept (M, 2), best first.
    """
    seconds = np.asarray(moments, np.float64).reshape(1, -1, 2)
    kept = suppress_all(Intervals(seconds, np.ones(seconds.shape[:2], np.bool_)), threshold)
    left: Array = kept.seconds[0, kept.mask[0]]
    return left


def suppress_all(moments: Intervals, threshold: float, limit: int | None = None) -> Intervals:
    """`suppress` for every query.

    Args:
        moments: Best first (Q, N, 2).
        threshold: Temporal IoU in [0, 1] that must be exceeded strictly.
        limit: How many are wanted a query, the best ones; None: all.

    Returns:
        What is kept, best first (Q, M, 2).
    """
    places, mask = keep(moments, threshold, limit)
    return take(moments, places, mask)


def keep(
    moments: Intervals, threshold: float, limit: int | None = None
) -> tuple[npt.NDArray[np.int64], BoolArray]:
    """Where the moments are that `suppress_all` keeps.

    Args:
        moments: As there.
        threshold: As there.
        limit: As there.

    Returns:
        Their places among the N (Q, M) int64, best first, and which of the M are real (Q, M).
    """
    size, width = moments.mask.shape
    steps = width if limit is None else min(width, limit)
    rows = np.arange(size)
    alive = moments.mask.copy()
    places, mask = np.zeros((size, steps), np.int64), np.zeros((size, steps), np.bool_)
    for step in range(steps):
        best = alive.argmax(axis=1)
        mask[:, step] = alive[rows, best]
        if not mask[:, step].any():
            break
        places[:, step] = best
        alive &= tiou(moments.seconds, moments.seconds[rows, best][:, None]) <= threshold
        alive[rows, best] = False
    return places, mask


def take(moments: Intervals, places: npt.NDArray[np.int64], mask: BoolArray) -> Intervals:
    """The moments at some places (Q, M), where these are real."""
    chosen = np.take_along_axis(moments.seconds, places[..., None], axis=1)
    return Intervals(np.where(mask[..., None], chosen, 0.0), mask)


def soft_suppress_all(
    moments: Intervals, scores: Array, rules: SoftNMS, limit: int
) -> tuple[Intervals, Array]:
    """SnAG's suppression: the best moment lowers the scores of those that overlap it, and so on.

    Of equal scores the moment that was given first counts as the better; in SnAG's code that
    depends on the order in which earlier ones were taken out. Its float32 and its 1e-6 added to
    lengths are left away.

    Args:
        moments: In any order (Q, N, 2).
        scores: Their scores (Q, N), >= 0.
        rules: The numbers.
        limit: How many are wanted a query, the best ones.

    Returns:
        What is kept, moved by voting, best first, and the scores (Q, M); 0 where there is none.
    """
    size, width = moments.mask.shape
    steps = min(width, limit)
    rows = np.arange(size)
    left = np.where(moments.mask, scores, -np.inf)
    places, mask = np.zeros((size, steps), np.int64), np.zeros((size, steps), np.bool_)
    kept = np.zeros((size, steps))
    for step in range(steps):
        best = left.argmax(axis=1)
        mask[:, step] = left[rows, best] > -np.inf
        if not mask[:, step].any():
            break
        places[:, step] = best
        kept[:, step] = np.where(mask[:, step], left[rows, best], 0.0)
        overlap = tiou(moments.seconds, moments.seconds[rows, best][:, None])
        left *= np.exp(-(overlap**2) / rules.sigma)
        left[left < rules.min_score] = -np.inf
        left[rows, best] = -np.inf
    return _vote(take(moments, places, mask), moments, scores, rules.voting_threshold), kept


def _vote(kept: Intervals, moments: Intervals, scores: Array, threshold: float) -> Intervals:
    """Each kept moment as the mean of all moments that nearly equal it, weighted by score."""
    near = tiou(kept.seconds[:, :, None], moments.seconds[:, None]) >= threshold
    weights = np.where(near & moments.mask[:, None], scores[:, None], 0.0)  # (Q, M, N)
    totals = weights.sum(axis=2, keepdims=True)
    means = np.divide(weights @ moments.seconds, totals, out=kept.seconds.copy(), where=totals > 0)
    return Intervals(np.where(kept.mask[..., None], means, 0.0), kept.mask)
