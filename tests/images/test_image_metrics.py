"""Image metrics, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bpnet.errors import AnnotationError
from bpnet.images.metrics import Localized, box_accuracy, localize, metrics_at, pointing


def blob(left: int, top: int, right: int, bottom: int, high: float = 1.0) -> np.ndarray:
    activation = np.zeros((10, 10), np.float32)
    activation[top:bottom, left:right] = high
    return activation


def test_four_pictures() -> None:
    maps = np.stack(
        [
            blob(0, 0, 4, 4),  # the object itself: IoU 1
            blob(0, 0, 4, 2),  # half of it: IoU 0.5
            blob(5, 5, 9, 9),  # elsewhere: 0
            # 16 pixels elsewhere, and 8 of the 16 of the object
            blob(5, 5, 9, 9) + blob(0, 0, 4, 2),
        ]
    )
    labels = np.array([0, 0, 1, 1])
    scores = np.array(
        [
            [9, 1, 1, 1, 1, 1],  # first
            [5, 6, 1, 1, 1, 1],  # second
            [1, 9, 1, 1, 1, 1],  # first
            [6, 1, 5, 4, 3, 2],  # sixth
        ],
        np.float32,
    )
    truths = [[(0.0, 0.0, 4.0, 4.0)]] * 4
    found = localize(maps, scores, labels, truths, thresholds=(0.5,))
    np.testing.assert_array_equal(found.ranks, [0, 1, 0, 5])
    np.testing.assert_allclose(found.overlaps, [[1, 0.5, 0, 0]])
    np.testing.assert_allclose(found.best_overlaps, [[1, 0.5, 0, 0.5]])
    assert metrics_at(found, 0) == {
        "accuracy": 50,
        "top-5 accuracy": 75,
        "Top-1 Loc": 25,
        "Top-5 Loc": 50,
        "GT-known": 50,
        "CorLoc": pytest.approx(75),  # class 0: both; class 1: one of two
    }
    assert metrics_at(found, 0, iou=0.6)["GT-known"] == 25
    # Middle of 100 %, 50 % and 25 % of boxes at IoU 0.3, 0.5 and 0.7.
    assert box_accuracy(found) == pytest.approx((50 + 50 + 25) / 3)


def test_thresholds_of_a_slope() -> None:
    # Columns rise from 0 to 9: a threshold of k / 9 leaves the columns k to 9.
    slope = np.tile(np.arange(10, dtype=np.float32), (10, 1))[None]
    truth = [[(4.0, 0.0, 10.0, 10.0)]]
    found = localize(slope, np.ones((1, 2), np.float32), np.array([0]), truth, (0.01, 0.44, 0.99))
    np.testing.assert_allclose(found.overlaps[:, 0], [6 / 9, 1, 1 / 6])
    np.testing.assert_allclose(box_accuracy(found, (0.7,)), [0, 100, 0])
    assert found.ranks.tolist() == [0]  # equal scores put no class behind another


def test_of_several_objects_the_nearest_counts() -> None:
    truths = [[(0.0, 0.0, 2.0, 2.0), (5.0, 5.0, 9.0, 9.0)]]
    found = localize(blob(5, 5, 9, 9)[None], np.ones((1, 2), np.float32), np.array([1]), truths)
    assert found.overlaps.max() == 1


def test_pointing() -> None:
    maps = np.stack([blob(3, 4, 4, 5), blob(0, 0, 1, 1), np.zeros((10, 10), np.float32)])
    found = localize(maps, np.ones((3, 2), np.float32), np.zeros(3, int), [[(0, 0, 1, 1)]] * 3)
    assert found.points.tolist() == [[3, 4], [0, 0], [0, 0]]
    assert found.overlaps[:, 2].max() == 0  # a flat map has no box
    boxes = [[(0, 0, 1, 1), (3, 4, 4, 5)], [(0, 1, 1, 2)], []]
    assert pointing(found, boxes) == pytest.approx(100 / 3)


def test_pictures_without_a_box_are_refused() -> None:
    scores, labels = np.ones((1, 2), np.float32), np.array([0])
    with pytest.raises(AnnotationError, match="1 pictures, 1 of them without a box"):
        localize(blob(0, 0, 1, 1)[None], scores, labels, [[]])
    with pytest.raises(AnnotationError, match="0 pictures"):
        localize(np.zeros((0, 4, 4), np.float32), np.zeros((0, 2), np.float32), labels[:0], [])


def test_ranks_of_ties() -> None:
    found = Localized(
        np.array([0]), np.array([0]), np.ones((1, 1)), np.ones((1, 1)), np.zeros((1, 2))
    )
    assert metrics_at(found, 0)["Top-1 Loc"] == 100
