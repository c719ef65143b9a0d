"""How well pictures are classified and their objects found; NumPy only.

Top-1 and Top-5 localization, GT-known, MaxBoxAcc (Choe et al., *Evaluating weakly supervised object
localization methods right*, CVPR 2020), CorLoc, and, where it is known where the context is, the
confounder pointing rate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bpnet.errors import AnnotationError
from bpnet.images.boxes import box_iou, boxes_above, normalised

Array = npt.NDArray[np.float64]
Corners = tuple[float, float, float, float]

THRESHOLDS = tuple(percent / 100 for percent in range(5, 100, 5))
IOUS = (0.3, 0.5, 0.7)


@dataclasses.dataclass(frozen=True, eq=False)
class Localized:
    """What became of N pictures of known class and place, at P thresholds.

    Attributes:
        ranks: Place of the true class among the scores, 0 the highest (N,) int64.
        labels: The true classes (N,) int64.
        overlaps: IoU of the largest box of the true class's map with the object (P, N).
        best_overlaps: The same of the best of all boxes of that map (P, N).
        points: Where the map of the true class is highest: column and row (N, 2).
    """

    ranks: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    overlaps: Array
    best_overlaps: Array
    points: npt.NDArray[np.int64]


def localize(
    maps: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    truths: Sequence[Sequence[Corners]],
    thresholds: Sequence[float] = THRESHOLDS,
) -> Localized:
    """Compare the maps of the true classes with the objects.

    Args:
        maps: Of the true class, at the size of the picture (N, S, S).
        scores: Of all classes (N, K).
        labels: The true classes (N,).
        truths: Boxes of the objects of each picture, at least one; of several the nearest counts.
        thresholds: Shares of the range of a map, P of them.

    Returns:
        What became of them.

    Raises:
        AnnotationError: There are no pictures, or one has no box.
    """
    if not len(labels) or not all(truths):
        raise AnnotationError(
            f"{len(labels)} pictures, {sum(not one for one in truths)} of them without a box: "
            "expected at least one picture, and a box for each"
        )
    overlaps = np.zeros((2, len(thresholds), len(labels)))
    points = np.zeros((len(labels), 2), dtype=np.int64)
    for place, (one, truth) in enumerate(zip(maps, truths, strict=True)):
        points[place] = np.unravel_index(one.argmax(), one.shape)[::-1]
        shares = normalised(one)
        for level, threshold in enumerate(thresholds):
            found = [box.corners for box in boxes_above(shares, threshold)]
            if found:
                ious = box_iou(np.array(found)[:, None], np.array(truth)).max(axis=1)
                overlaps[:, level, place] = ious[0], ious.max()
    own = scores[np.arange(len(labels)), labels]
    ranks = (scores > own[:, None]).sum(axis=1)
    return Localized(ranks, labels, overlaps[0], overlaps[1], points)


def metrics_at(found: Localized, level: int, iou: float = 0.5) -> dict[str, float]:
    """The metrics at one threshold.

    Args:
        found: What became of the pictures.
        level: Which of the thresholds.
        iou: From which a box is right.

    Returns:
        Percent by name: ``accuracy``, ``top-5 accuracy``; ``Top-1 Loc`` and ``Top-5 Loc``: the
        class is first, or among the first five, and the box right; ``GT-known``: the box is right,
        given the class; ``CorLoc``: the best of all boxes is right, mean over classes.
    """
    right = found.overlaps[level] >= iou
    rows = {
        "accuracy": found.ranks < 1,
        "top-5 accuracy": found.ranks < 5,
        "Top-1 Loc": (found.ranks < 1) & right,
        "Top-5 Loc": (found.ranks < 5) & right,
        "GT-known": right,
    }
    percent = {name: 100.0 * float(row.mean()) for name, row in rows.items()}
    best = found.best_overlaps[level] >= iou
    by_class = [best[found.labels == label].mean() for label in np.unique(found.labels)]
    return {**percent, "CorLoc": 100.0 * float(np.mean(by_class))}


def box_accuracy(found: Localized, ious: Sequence[float] = IOUS) -> Array:
    """Share of right boxes at each threshold, mean over several IoUs.

    Args:
        found: What became of the pictures.
        ious: From which a box is right.

    Returns:
        Percent (P,); the highest is MaxBoxAcc, over IoUs of 0.3, 0.5 and 0.7 that of version 2 but
        for its choice of the best of all boxes. Chosen on the very pictures that are evaluated it
        is an oracle: on others, take the threshold from a validation part.
    """
    accuracies = [(found.overlaps >= iou).mean(axis=1) for iou in ious]
    mean: Array = 100.0 * np.mean(accuracies, axis=0)
    return mean


def pointing(found: Localized, boxes: Sequence[Sequence[Corners]]) -> float:
    """How often a map is highest inside a box.

    Args:
        found: What became of the pictures.
        boxes: Those of each picture: of its objects, or of its contexts; a picture without any
            counts, too.

    Returns:
        Percent. Of contexts it is the confounder pointing rate.
    """
    hits = [
        any(left <= column < right and top <= row < bottom for left, top, right, bottom in inside)
        for (column, row), inside in zip(found.points.tolist(), boxes, strict=True)
    ]
    return 100.0 * float(np.mean(hits))
