"""Rows that see no video, printed beside every result: a model must beat them to count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bpnet.errors import AnnotationError, ConfigError
from bpnet.evaluation.intervals import Array, Ragged, check_lengths, tiou
from bpnet.evaluation.metrics import localization_metrics, metric_names
from bpnet.evaluation.protocols import VSLNET, Protocol
from bpnet.types import Annotation

# Grid step of 0.025; dividing integers gives the floats nearest to the decimals.
_GRID = np.arange(41) / 40
_THRESHOLDS = {f"R@1,IoU={percent / 100:g}": percent / 100 for percent in range(5, 100, 5)}
_CHUNK = 1024  # moments at once: 820 intervals x 1024 x 8 bytes = 7 MB an array


def fit_constant_interval(
    relative_targets: npt.ArrayLike,
    objective: str,
    protocol: Protocol = VSLNET,
) -> tuple[float, float]:
    """The one interval that is the best answer to every query.

    Args:
        relative_targets: Moments of the training part as parts of their videos (N, 2), in [0, 1].
        objective: ``"mIoU"``, or ``"R@1,IoU=m"`` with m a multiple of 0.05.
        protocol: Its hit rule is used.

    Returns:
        Start and end on a grid of 0.025 in [0, 1]; of equally good ones the earliest, shortest.

    Raises:
        ConfigError: The objective is none of these.
        AnnotationError: There are no moments to fit on.
    """
    return _fit(relative_targets, [objective], protocol)[objective]


def blind_rows(
    train_annotations: Sequence[Annotation],
    targets: Ragged,
    durations: npt.ArrayLike,
    protocol: Protocol,
) -> dict[str, dict[str, Any]]:
    """What is reached without looking at a video.

    Args:
        train_annotations: What the constant interval is fitted on: every moment of every query.
        targets: True moments in seconds of the part that is evaluated: per query (m, 2), or its
            only one (2,).
        durations: Lengths of their videos in seconds (Q,), > 0.
        protocol: The rules of counting.

    Returns:
        ``"constant"``: ``"interval"``, start and end as parts of the video, fitted for mIoU, and
        its R@1,IoU=m and mIoU in percent. ``"constant_best"``: each of these metrics with the
        interval fitted for that very metric. ``"whole_video"``: the metrics of answering the
        whole video.

    Raises:
        AnnotationError: There is nothing to fit on or nothing to evaluate, or not as many
            durations as queries.
    """
    relative = [
        (start / one.duration_seconds, end / one.duration_seconds)
        for one in train_annotations
        for start, end in one.moments
    ]
    names = [*metric_names(ranks=(1,)), "mIoU"]
    fitted = _fit(relative, names, protocol)
    lengths = np.asarray(durations, np.float64)
    check_lengths(targets=targets, durations=lengths)

    def evaluate(interval: tuple[float, float]) -> dict[str, float]:
        answers = lengths[:, None, None] * np.array(interval)  # (Q, 1, 2)
        return localization_metrics(answers, targets, protocol, ranks=(1,))

    rows = {interval: evaluate(interval) for interval in {*fitted.values(), (0.0, 1.0)}}
    return {
        "constant": {"interval": list(fitted["mIoU"]), **rows[fitted["mIoU"]]},
        "constant_best": {name: rows[fitted[name]][name] for name in names},
        "whole_video": dict(rows[0.0, 1.0]),
    }


def _fit(
    relative_targets: npt.ArrayLike, objectives: Sequence[str], protocol: Protocol
) -> dict[str, tuple[float, float]]:
    """The best interval for each objective, from one pass over the moments."""
    for objective in objectives:
        if objective != "mIoU" and objective not in _THRESHOLDS:
            raise ConfigError(
                f"objective {objective!r} is unknown: expected 'mIoU' or 'R@1,IoU=m' with m one "
                "of 0.05, 0.1, ..., 0.95"
            )
    moments = np.asarray(relative_targets, np.float64).reshape(-1, 2)
    if len(moments) == 0:
        raise AnnotationError("no annotations to fit the blind row on: expected at least one")
    starts, ends = np.triu_indices(len(_GRID), k=1)
    intervals = np.stack([_GRID[starts], _GRID[ends]], axis=-1)
    totals: dict[str, Array] = {objective: np.zeros(len(intervals)) for objective in objectives}
    for first in range(0, len(moments), _CHUNK):
        overlaps = tiou(intervals[:, None], moments[None, first : first + _CHUNK])
        for objective in objectives:
            threshold = _THRESHOLDS.get(objective)
            gain = overlaps if threshold is None else protocol.hits(overlaps, threshold)
            totals[objective] += gain.sum(axis=1)
    best = {objective: intervals[int(total.argmax())] for objective, total in totals.items()}
    return {objective: (float(start), float(end)) for objective, (start, end) in best.items()}
