"""Lists of intervals of many queries, padded to arrays, and their temporal IoU; NumPy only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bpnet.errors import AnnotationError

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
# One entry a query: a list of arrays of different lengths, or one array where they are equal.
Ragged = Sequence[npt.ArrayLike] | npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Intervals:
    """Intervals of Q queries, N at most each.

    Attributes:
        seconds: Start and end in seconds (Q, N, 2), start <= end; zero where there is none.
        mask: Where there is one (Q, N); from the left, without gaps.
    """

    seconds: Array
    mask: BoolArray


def as_rows(ragged: Ragged, what: str) -> list[Array]:
    """Lists of intervals as arrays.

    Args:
        ragged: Per query its intervals in seconds (n, 2), or its only one (2,); n may be 0.
        what: Whose they are, for the message: ``"prediction"`` or ``"target"``.

    Returns:
        Per query (n, 2).

    Raises:
        AnnotationError: There are no queries, or something is no list of pairs of numbers.
    """
    if len(ragged) == 0:
        raise AnnotationError("no queries to evaluate: expected at least one (is the split empty?)")
    return [_row(one, what, place) for place, one in enumerate(ragged)]


def pad(rows: Sequence[Array], what: str, first: int = 0) -> Intervals:
    """Put lists of intervals of different lengths into one array, and check their numbers.

    Args:
        rows: What `as_rows` gave, or a part of it.
        what: As in `as_rows`.
        first: Number of the first of these queries, for the message.

    Returns:
        The intervals, N the largest n, at least 1.

    Raises:
        AnnotationError: An interval is not two finite numbers in order.
    """
    counts = np.array([len(row) for row in rows])
    mask = np.arange(max(1, counts.max())) < counts[:, None]
    seconds = np.zeros((*mask.shape, 2))
    seconds[mask] = np.concatenate(rows)
    bad = ~np.isfinite(seconds).all(-1) | (seconds[..., 0] > seconds[..., 1])
    if bad.any():
        query, rank = np.argwhere(bad)[0]
        start, end = seconds[query, rank]
        raise AnnotationError(
            f"{what} of query number {first + query}: {start} to {end} s: expected finite seconds "
            f"with start <= end ({bad.sum()} of {mask.sum()} are not)"
        )
    return Intervals(seconds, mask)


def pad_targets(targets: Ragged) -> Intervals:
    """The true moments of each query, at least one.

    Args:
        targets: Per query its true moments in seconds (m, 2), or its only one (2,).

    Returns:
        The moments (Q, M, 2).

    Raises:
        AnnotationError: There are no queries, one has no moment, or a moment is not two finite
            numbers in order.
    """
    found = pad(as_rows(targets, "target"), "target")
    empty = np.flatnonzero(~found.mask[:, 0])
    if len(empty):
        raise AnnotationError(
            f"target of query number {empty[0]}: no moment: expected at least one for each query "
            f"({len(empty)} of {len(targets)} have none)"
        )
    return found


def check_lengths(**lists: Sequence[object] | npt.NDArray[np.float64] | None) -> None:
    """Make sure that there is one entry for each query.

    Args:
        **lists: By name; None: not given.

    Raises:
        AnnotationError: They differ in length.
    """
    lengths = {name: len(values) for name, values in lists.items() if values is not None}
    if len(set(lengths.values())) > 1:
        found = " and ".join(f"{count} {name}" for name, count in lengths.items())
        raise AnnotationError(f"{found}: expected one for each query")


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


def overlaps(predicted: Intervals, targets: Intervals) -> Array:
    """Temporal IoU of every interval with every target of its query.

    Args:
        predicted: N a query.
        targets: M a query.

    Returns:
        Temporal IoU (Q, N, M); -1 where one of the two is not there, so that it is no hit at any
        threshold, not even at 0.
    """
    values = tiou(predicted.seconds[:, :, None], targets.seconds[:, None])
    there = predicted.mask[:, :, None] & targets.mask[:, None]
    return np.where(there, values, -1.0)


def _row(one: npt.ArrayLike, what: str, place: int) -> Array:
    """The intervals of a query (n, 2)."""
    try:
        row = np.asarray(one, np.float64)
    except (TypeError, ValueError) as err:
        raise AnnotationError(
            f"{what} of query number {place}: {err}: expected pairs of numbers"
        ) from err
    if row.size == 0:
        return np.zeros((0, 2))
    if row.ndim not in (1, 2) or row.shape[-1] != 2:
        raise AnnotationError(
            f"{what} of query number {place}: an array {row.shape}: expected [start, end], or a "
            "list of such pairs"
        )
    return row.reshape(-1, 2)
