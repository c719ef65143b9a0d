"""Boxes of regions above a threshold, against flood fill and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bpnet.images.boxes import Box, box_iou, boxes_above, normalised, regions


def flood(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """Connected cells, found one by one."""
    left = set(zip(*np.nonzero(mask), strict=True))
    found = []
    while left:
        waiting, region = [left.pop()], set()
        while waiting:
            row, column = waiting.pop()
            region.add((row, column))
            for near in (
                (row - 1, column),
                (row + 1, column),
                (row, column - 1),
                (row, column + 1),
            ):
                if near in left:
                    left.remove(near)
                    waiting.append(near)
        found.append(region)
    return found


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)))
def test_regions_are_those_of_flood_fill(mask: np.ndarray) -> None:
    found = [
        {(row, column) for row, start, end in region for column in range(start, end)}
        for region in regions(mask)
    ]
    assert sorted(map(sorted, found)) == sorted(map(sorted, flood(mask)))


def test_arms_that_meet_late_are_one_region() -> None:
    u = np.array([[1, 0, 1, 0, 1], [1, 0, 1, 0, 1], [1, 1, 1, 0, 0]], bool)
    assert regions(u) == [
        [(0, 0, 1), (0, 2, 3), (1, 0, 1), (1, 2, 3), (2, 0, 3)],
        [(0, 4, 5), (1, 4, 5)],
    ]


def test_boxes_by_hand() -> None:
    activation = np.full((6, 8), -1.0, np.float32)
    activation[1:3, 1:4] = 2.0  # six pixels
    activation[4:6, 6:8] = 3.0  # four, and the highest
    activation[0, 7] = 0.5  # (0.5 + 1) / 4 = 0.375 of the range
    assert boxes_above(activation, 0.5) == [
        Box(1, 1, 4, 3, score=0.75),
        Box(6, 4, 8, 6, score=1.0),
    ]
    assert len(boxes_above(activation, 0.375)) == 3
    assert [box.corners for box in boxes_above(activation, 1.0)] == [(6, 4, 8, 6)]
    assert boxes_above(np.zeros((3, 3), np.float32), 0.5) == []
    assert Box(1, 2, 3, 4, 0.5).scaled(10, 100) == Box(10, 200, 30, 400, 0.5)


@given(arrays(np.float32, (5, 6), elements=st.floats(-4, 4, width=16)), st.floats(0.1, 10))
def test_scale_and_shift_change_no_box(activation: np.ndarray, scale: float) -> None:
    # Powers of two, so that rounding plays no part.
    moved = activation * np.float32(2.0 ** round(scale)) + np.float32(0)
    np.testing.assert_array_equal(normalised(moved), normalised(activation))
    assert boxes_above(moved, 0.4) == boxes_above(activation, 0.4)


def test_iou_by_hand() -> None:
    assert box_iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert box_iou((0, 0, 2, 2), (2, 0, 4, 2)) == 0
    assert box_iou((0, 0, 2, 2), (5, 5, 6, 6)) == 0
    both = box_iou(np.array([[0, 0, 4, 4], [0, 0, 2, 4]])[:, None], np.array([[0, 0, 4, 4]]))
    np.testing.assert_allclose(both, [[1], [0.5]])
