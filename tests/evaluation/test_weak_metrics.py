"""Metrics of weak supervision: worked by hand, and their relations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet.errors import AnnotationError
from bpnet.evaluation.weak_metrics import (
    best_threshold,
    corloc,
    frame_average_precision,
    gt_known,
    pointing,
    segment_accuracy,
    segment_at_peak,
    top_k_localization,
)

# First moments overlap by 1, 1/2, 1/3 and 0; the fifth query has no answer.
MOMENTS = [[[2, 6], [0, 1]], [[0, 4]], [[0, 2]], [[5, 6]], []]
TARGETS = [[2, 6], [0, 2], [1, 3], [[0, 2], [7, 9]], [0, 1]]


def test_gt_known_counts_first_moments_that_fit() -> None:
    assert gt_known(MOMENTS, TARGETS) == corloc(MOMENTS, TARGETS) == pytest.approx(40.0)
    assert gt_known(MOMENTS, TARGETS, 0.3) == pytest.approx(60.0)
    assert gt_known(MOMENTS, TARGETS, 0.51) == pytest.approx(20.0)


def test_of_several_targets_the_nearest_counts() -> None:
    assert gt_known([[[7, 9]]], [[[0, 2], [7, 9]]]) == 100.0


def test_top_k_needs_the_video_and_the_moment() -> None:
    # The moments of the first two fit; their videos are found at places 0 and 4.
    found = top_k_localization([0, 4, 0, 0, 0], MOMENTS, TARGETS)
    assert found == {"Top-1 Loc": pytest.approx(20.0), "Top-5 Loc": pytest.approx(40.0)}
    known = top_k_localization([0] * 5, MOMENTS, TARGETS, ks=(1,))
    assert known["Top-1 Loc"] == pytest.approx(gt_known(MOMENTS, TARGETS))


def test_the_segment_is_the_run_around_the_peak() -> None:
    activation = [0, 6, 2, 5, 10, 7, 4, 9, 0]
    assert segment_at_peak(activation, 0.5) == (3, 6)  # 9 is another run
    assert segment_at_peak(activation, 0.4) == (3, 8)
    assert segment_at_peak(activation, 0.95) == (4, 5)
    assert segment_at_peak(activation, 0.0) == (0, 9)
    assert segment_at_peak([3.0], 0.5) == (0, 1)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=9), st.integers(1, 5), st.integers(-5, 5))
def test_scale_and_shift_change_no_segment(values: list[int], scale: int, shift: int) -> None:
    moved = [scale * value + shift for value in values]
    assert segment_at_peak(values, 0.5) == segment_at_peak(moved, 0.5)
    start, end = segment_at_peak(values, 0.5)
    assert start <= int(np.argmax(values)) < end


def test_segment_accuracy_at_each_threshold() -> None:
    activations = [[0, 4, 10, 10, 4, 0], [10, 0, 0, 0, 0, 0]]
    targets = [[1, 5], [0, 3]]
    # At 0.3: clips 1 to 4 (tIoU 1) and clip 0 (1/3); at 0.8: clips 2 and 3 (1/2), and clip 0.
    found = segment_accuracy(activations, targets, (0.3, 0.8))
    assert found.tolist() == [[100, 50, 50], [100, 50, 0]]
    threshold, value = best_threshold(activations, targets, (0.8, 0.3))
    assert (threshold, value) == (0.3, pytest.approx(200 / 3))


def test_the_first_of_equal_thresholds_is_chosen() -> None:
    assert best_threshold([[0, 1, 0]], [[1, 2]], (0.4, 0.6))[0] == 0.4


def test_frame_average_precision_by_hand() -> None:
    # Scaled: 1, .5, 0 and 0, 1, .25; inside: clips 0 and 1 of the first, 2 of the second.
    activations, targets = [[4, 2, 0], [0, 8, 2]], [[0, 2], [2, 3]]
    # At 1: 1 of 2 found; at .5: 2 of 3; at .25: 3 of 4; at 0: all found already.
    expected = (1 / 2 + 2 / 3 + 3 / 4) / 3
    assert frame_average_precision(activations, targets) == pytest.approx(100 * expected)


def test_frame_average_precision_of_a_perfect_and_of_a_flat_activation() -> None:
    assert frame_average_precision([[0, 1, 1, 0]], [[1, 3]]) == 100.0
    assert frame_average_precision([[2, 2, 2, 2]], [[1, 3]]) == 50.0  # the share inside


def test_pointing_on_the_object_and_on_the_context() -> None:
    activations = [[0, 9, 0, 0], [0, 0, 0, 9], [9, 0, 0, 0], [0, 0, 9, 0]]
    objects = [[[1, 2]], [[0, 1]], [[1, 2]], [[2, 4]]]
    contexts = [[[3, 4]], [[2, 4]], [], [[1, 3]]]  # the last peak is on both
    assert pointing(activations, objects, contexts) == {"pointing": 50.0, "CPR": 25.0}
    nowhere = [np.zeros((0, 2))] * 4
    assert pointing(activations, nowhere, contexts)["CPR"] == 50.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gt_known([], []), "no queries"),
        (lambda: gt_known([[[0, 1]]], TARGETS), "1 moments and 5 targets"),
        (lambda: top_k_localization([-1], [[[0, 1]]], [[0, 1]]), "video rank -1"),
        (lambda: segment_at_peak([1, np.nan], 0.5), "with 1 finite numbers"),
        (lambda: segment_at_peak([], 0.5), "an array"),
        (lambda: frame_average_precision([[0, 1]], [[5, 6]]), "no clip lies inside"),
        (lambda: pointing([[0, 1]], [[[0, 1]]], []), "0 contexts"),
        (lambda: segment_accuracy([[0, 1]], [[]]), "no moment"),
    ],
)
def test_what_is_wrong_is_named(call, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        call()
