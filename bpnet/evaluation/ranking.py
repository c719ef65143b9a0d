"""What a protocol leaves of ranked moments: rounded, suppressed, cut; NumPy only."""

from __future__ import annotations

import dataclasses

import numpy as np

from bpnet.errors import AnnotationError
from bpnet.evaluation.intervals import Array, Intervals, Ragged, as_rows, check_lengths, pad
from bpnet.evaluation.protocols import Protocol, Rounding
from bpnet.evaluation.suppression import keep, soft_suppress_all, take

_CHUNK = 2**20  # moments at once, padded: 16 MB an array of intervals


@dataclasses.dataclass(frozen=True, eq=False)
class Ranking:
    """The moments that count, best first.

    Attributes:
        moments: N a query (Q, N).
        scores: Their scores (Q, N), 0 where there is no moment; None: not given.
    """

    moments: Intervals
    scores: Array | None


def rank(
    predictions: Ragged,
    protocol: Protocol,
    limit: int,
    scores: Ragged | None = None,
) -> Ranking:
    """Apply the rules that come before counting.

    Args:
        predictions: Per query its moments in seconds (n, 2), best first; n may be 0.
        protocol: Its rounding, suppression and number of moments.
        limit: How many are wanted a query.
        scores: Per query the scores of its moments (n,), in the same order. Their values change
            nothing but soft-NMS, which needs them where a query has more than one moment.

    Returns:
        At most ``limit`` moments a query.

    Raises:
        AnnotationError: There are no queries; moments are not finite or end before they start;
            scores are missing, not finite, negative for soft-NMS, or not as many as the moments.
    """
    check_lengths(predictions=predictions, scores=scores)
    rows = as_rows(predictions, "prediction")
    values = None if scores is None else _score_rows(scores, rows)
    if protocol.soft_nms is not None and any(len(row) > 1 for row in rows):
        _check_decaying(values, protocol)
    if protocol.kept is not None:
        limit = min(limit, protocol.kept)
    if protocol.nms_threshold is None and protocol.soft_nms is None:
        rows = [row[:limit] for row in rows]
        values = None if values is None else [value[:limit] for value in values]
    step = max(1, _CHUNK // max(1, *(len(row) for row in rows)))
    chunks = []
    for first in range(0, len(rows), step):
        moments = pad(rows[first : first + step], "prediction", first)
        some = None if values is None else _pad_scores(values[first : first + step], moments)
        chunks.append(_rank_some(moments, some, protocol, limit))
    return _join(chunks)


def round_times(seconds: Array, rounding: Rounding) -> Array:
    """Times (...) in seconds as Moment-DETR's code rounds them; see `Rounding`."""
    rounded = np.round(seconds, 4)  # it writes four decimals, and then goes on from these
    if rounding.latest_seconds is not None:
        rounded = np.clip(rounded, 0.0, rounding.latest_seconds)
    multiples: Array = np.rint(rounded / rounding.clip_seconds) * rounding.clip_seconds
    return multiples


def _rank_some(moments: Intervals, scores: Array | None, protocol: Protocol, limit: int) -> Ranking:
    if protocol.rounding is not None:
        moments = Intervals(round_times(moments.seconds, protocol.rounding), moments.mask)
    if protocol.nms_threshold is not None:
        places, mask = keep(moments, protocol.nms_threshold, limit)
        if scores is not None:
            scores = np.where(mask, np.take_along_axis(scores, places, axis=1), 0.0)
        return Ranking(take(moments, places, mask), scores)
    if protocol.soft_nms is not None and scores is not None:
        return Ranking(*soft_suppress_all(moments, scores, protocol.soft_nms, limit))
    return Ranking(moments, scores)


def _score_rows(scores: Ragged, rows: list[Array]) -> list[Array]:
    """Per query the scores of its moments (n,)."""
    values = []
    for place, (one, row) in enumerate(zip(scores, rows, strict=True)):
        value = np.asarray(one, np.float64)
        if value.shape != (len(row),) or not np.isfinite(value).all():
            raise AnnotationError(
                f"scores of query number {place}: {value.size} of which "
                f"{np.isfinite(value).sum()} are finite, for {len(row)} moments: expected one "
                "finite score for each"
            )
        values.append(value)
    return values


def _check_decaying(values: list[Array] | None, protocol: Protocol) -> None:
    """Decaying lowers a score only where it is not negative."""
    if values is None:
        raise AnnotationError(
            f"protocol {protocol.name!r} decays scores, but there are none: expected a score for "
            "each moment; choose another protocol"
        )
    for place, value in enumerate(values):
        if (value < 0).any():
            raise AnnotationError(
                f"scores of query number {place}: {value.min()}: protocol {protocol.name!r} decays "
                "scores towards 0: expected scores >= 0, such as probabilities"
            )


def _pad_scores(values: list[Array], moments: Intervals) -> Array:
    """Scores in the places of their moments (Q, N), 0 elsewhere."""
    padded = np.zeros(moments.mask.shape)
    padded[moments.mask] = np.concatenate(values)
    return padded


def _join(chunks: list[Ranking]) -> Ranking:
    width = max(chunk.moments.mask.shape[1] for chunk in chunks)
    size = sum(len(chunk.moments.mask) for chunk in chunks)
    seconds, mask = np.zeros((size, width, 2)), np.zeros((size, width), np.bool_)
    scores = None if chunks[0].scores is None else np.zeros((size, width))
    first = 0
    for chunk in chunks:
        some = chunk.moments
        place = slice(first, first + len(some.mask)), slice(some.mask.shape[1])
        seconds[place], mask[place] = some.seconds, some.mask
        if scores is not None:
            scores[place] = chunk.scores
        first += len(some.mask)
    return Ranking(Intervals(seconds, mask), scores)
