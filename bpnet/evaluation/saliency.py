"""How well scores of single clips find the clips that people judged best; NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bpnet.errors import AnnotationError
from bpnet.evaluation.intervals import Array, Ragged, check_lengths
from bpnet.types import Saliency

# The lowest judgement that makes a clip a highlight, on the scale of `Saliency.scores`.
LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}


def highlight_metrics(
    predictions: Ragged, truths: Sequence[Saliency], durations: npt.ArrayLike
) -> dict[str, float]:
    """Highlight mAP and HIT@1 as Moment-DETR's evaluation of QVHighlights computes them.

    A clip is a highlight for an annotator who gave it at least the level. HIT@1: the share of
    queries whose clip with the highest score (of equal ones the first) is a highlight for at least
    one annotator. mAP: the average precision of the ranked clips, interpolated and averaged over
    the steps of recall, for each annotator; averaged over annotators, then over queries. Clips of
    equal scores make one step. An annotator without any highlight counts 0.

    Args:
        predictions: Per query a score for each clip of its video, from the beginning (n,), n >= 1.
            Scores beyond the end of the video count for nothing but HIT@1, where they miss; scores
            that are missing at the end count as 0.
        truths: What people judged, one for each query.
        durations: Lengths of the videos in seconds (Q,).

    Returns:
        Percent by name: ``"mAP,Fair"``, ``"HIT@1,Fair"``, and the same for ``Good`` and
        ``VeryGood``.

    Raises:
        AnnotationError: There are no queries, or not as many of one thing as of another; scores
            are not finite or none; a judged clip lies beyond the end of its video.
    """
    lengths = np.asarray(durations, np.float64)
    check_lengths(predictions=predictions, truths=truths, durations=lengths)
    if len(truths) == 0:
        raise AnnotationError("no queries to evaluate: expected at least one (is the split empty?)")
    precision, hits = [], []
    for place, (one, truth) in enumerate(zip(predictions, truths, strict=True)):
        scores = np.asarray(one, np.float64)
        if scores.ndim != 1 or scores.size == 0 or not np.isfinite(scores).all():
            raise AnnotationError(
                f"saliency of query number {place}: an array {scores.shape} with "
                f"{np.isfinite(scores).sum()} finite numbers: expected a finite score for each clip"
            )
        judged = _judged(truth, lengths[place], place)
        highlights = np.stack([judged >= level for level in LEVELS.values()])  # (3, clips, people)
        best = int(scores.argmax())
        hits.append(highlights[:, best : best + 1].any(axis=(1, 2)))
        fitted = np.zeros(len(judged))
        fitted[: len(scores)] = scores[: len(judged)]
        precision.append(_average_precision(fitted, highlights).mean(axis=-1))
    means = 100.0 * np.mean(precision, axis=0), 100.0 * np.mean(hits, axis=0)
    return {
        f"{name},{level}": float(values[index])
        for index, level in enumerate(LEVELS)
        for name, values in zip(("mAP", "HIT@1"), means, strict=True)
    }


def _judged(truth: Saliency, duration: float, place: int) -> npt.NDArray[np.int64]:
    """What each annotator gave each clip of the video (clips, annotators); 0 where not judged."""
    count = int(duration / truth.clip_seconds)
    outside = [index for index in truth.clip_ids if not 0 <= index < count]
    if outside:
        raise AnnotationError(
            f"saliency of query number {place}: clip {outside[0]} is judged, but a video of "
            f"{duration:g} s has {count} clips of {truth.clip_seconds:g} s"
        )
    judged = np.zeros((count, len(truth.scores[0])), np.int64)
    judged[list(truth.clip_ids)] = truth.scores
    return judged


def _average_precision(scores: Array, highlights: npt.NDArray[np.bool_]) -> Array:
    """Average precision of clips ranked by score (clips,), for highlights (3, clips, people)."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # of clips with equal scores
    found = highlights[:, order].cumsum(axis=1)[:, last]  # (3, steps, annotators)
    precision = found / (np.flatnonzero(last) + 1.0)[:, None]
    interpolated = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    steps = np.diff(found, axis=1, prepend=0) > 0
    total = np.where(steps, interpolated, 0.0).sum(axis=1)
    count = steps.sum(axis=1)
    averages: Array = np.divide(total, count, out=np.zeros(total.shape), where=count > 0)
    return averages
