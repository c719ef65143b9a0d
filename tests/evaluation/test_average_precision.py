"""Average precision: by hand, and against a plain loop over queries, thresholds and moments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpnet.errors import AnnotationError
from bpnet.evaluation.average_precision import THRESHOLDS, mean_average_precision
from bpnet.evaluation.intervals import tiou
from bpnet.evaluation.protocols import VSLNET, protocol

intervals = st.tuples(st.integers(0, 30), st.integers(1, 40)).map(
    lambda pair: (float(pair[0]), float(pair[0] + pair[1]))
)


def mean(*values: float) -> float:
    return 100 * sum(values) / len(values)


def test_one_target_by_hand():
    # Right at rank 1: 1; at rank 2: precision 1/2 at recall 1; nowhere: 0.
    target = [(0.0, 10.0)]
    for answers, expected in (
        ([(0.0, 10.0), (50.0, 60.0)], 100.0),
        ([(50.0, 60.0), (0.0, 10.0)], 50.0),
        ([(50.0, 60.0)], 0.0),
        ([], 0.0),
    ):
        found = mean_average_precision([answers], [target], VSLNET)
        assert found == dict.fromkeys(("mAP", "mAP@0.5", "mAP@0.75", "mAP,short"), expected)


def test_two_targets_by_hand():
    # Right, wrong, right: 1/2 * 1 + 1/2 * 2/3.
    targets = [(0.0, 10.0), (20.0, 30.0)]
    answers = [(0.0, 10.0), (50.0, 60.0), (20.0, 30.0)]
    assert mean_average_precision([answers], [targets], VSLNET)["mAP"] == pytest.approx(500 / 6)
    # Wrong, right, right: the precision 1/2 at recall 1/2 is interpolated to 2/3.
    answers = [(50.0, 60.0), (0.0, 10.0), (20.0, 30.0)]
    assert mean_average_precision([answers], [targets], VSLNET)["mAP"] == pytest.approx(200 / 3)


def test_a_target_is_found_once():
    # The copy is wrong: the target is taken. With a second target at rank 3: 1/2 + 1/2 * 2/3.
    answers = [(0.0, 10.0), (0.0, 10.0), (20.0, 30.0)]
    assert mean_average_precision([answers], [[(0.0, 10.0)]], VSLNET)["mAP"] == 100.0
    both = mean_average_precision([answers], [[(0.0, 10.0), (20.0, 30.0)]], VSLNET)
    assert both["mAP"] == pytest.approx(500 / 6)


def test_a_moment_takes_the_next_best_target_where_the_best_is_taken():
    # 0..10 and 0..12 overlap both targets by at least .5; the first takes the one it equals.
    targets = [(0.0, 10.0), (0.0, 16.0)]
    found = mean_average_precision([[(0.0, 10.0), (0.0, 9.0)]], [targets], VSLNET)
    # At .5 the second moment finds 0..16 (9/16); from .6 on it does not.
    assert found["mAP@0.5"] == 100.0
    assert found["mAP@0.75"] == 50.0
    assert found["mAP"] == pytest.approx(mean(*[1.0] * 2, *[0.5] * 8))


def test_thresholds_count_from_the_overlap_on():
    # tIoU .75: right at .5, .55, .6, .65, .7 and .75, exactly there too, whatever the hit rule.
    for rules in (VSLNET, protocol("ms-tan")):
        found = mean_average_precision([[(0.0, 7.5)]], [[(0.0, 10.0)]], rules)
        assert (found["mAP@0.75"], found["mAP"]) == (100.0, 60.0)


def test_moments_are_sorted_by_score_and_equal_ones_keep_their_order():
    answers, target = [(50.0, 60.0), (0.0, 10.0)], [(0.0, 10.0)]
    for scores, expected in (([0.9, 0.1], 50.0), ([0.1, 0.9], 100.0), ([0.5, 0.5], 50.0)):
        found = mean_average_precision([answers], [target], VSLNET, [scores])
        assert found["mAP"] == expected


def test_only_ten_moments_count_and_they_are_taken_before_sorting():
    answers = [*[(50.0, 60.0)] * 10, (0.0, 10.0)]
    scores = [[0.1] * 10 + [0.9]]
    assert mean_average_precision([answers], [[(0.0, 10.0)]], VSLNET, scores)["mAP"] == 0.0
    found = mean_average_precision([answers[1:]], [[(0.0, 10.0)]], VSLNET, [scores[0][1:]])
    assert found["mAP"] == 100.0


def test_lengths_of_targets():
    # 10 s is short, 30 s is middle, 30.5 s is long; each with its own queries and targets.
    targets = [[(0.0, 10.0), (20.0, 50.0)], [(0.0, 30.5)]]
    answers = [[(20.0, 50.0), (0.0, 10.0)], []]
    found = mean_average_precision(answers, targets, VSLNET)
    assert found["mAP"] == mean(1, 0)
    assert found["mAP,short"] == 50.0  # among the short ones alone the first moment is wrong
    assert found["mAP,middle"] == 100.0
    assert found["mAP,long"] == 0.0
    assert "mAP,long" not in mean_average_precision(answers[:1], targets[:1], VSLNET)


def test_an_unanswered_query_counts():
    found = mean_average_precision([[], [(0.0, 4.0)]], [[(0.0, 4.0)]] * 2, VSLNET)
    assert found["mAP"] == 50.0


def test_the_protocol_rounds_first():
    rules = protocol("moment-detr", "qvhighlights")
    assert mean_average_precision([[(3.1, 8.9)]], [[(4.0, 8.0)]], rules)["mAP"] == 100.0


def plain_average_precision(answers, targets, threshold):
    free = list(range(len(targets)))
    right = []
    for answer in answers[:10]:
        fits = [place for place in free if tiou(answer, targets[place]) >= threshold]
        right.append(bool(fits))
        if fits:
            free.remove(max(fits, key=lambda place: (tiou(answer, targets[place]), place)))
    precision = [sum(right[: place + 1]) / (place + 1) for place in range(len(right))]
    gains = [max(precision[place:]) for place in range(len(right)) if right[place]]
    return sum(gains) / len(targets)


@settings(max_examples=40)
@given(st.data())
def test_equals_a_plain_loop(data):
    targets = data.draw(st.lists(st.lists(intervals, min_size=1, max_size=4), min_size=1))
    size = len(targets)
    answers = data.draw(st.lists(st.lists(intervals, max_size=12), min_size=size, max_size=size))
    found = mean_average_precision(answers, targets, VSLNET)
    values = np.array(
        [
            [plain_average_precision(one, true, threshold) for threshold in THRESHOLDS]
            for one, true in zip(answers, targets, strict=True)
        ]
    )
    assert found["mAP"] == pytest.approx(100 * values.mean())
    assert found["mAP@0.75"] == pytest.approx(100 * values[:, 5].mean())


def test_bad_lists():
    with pytest.raises(AnnotationError, match="no queries to evaluate"):
        mean_average_precision([], [], VSLNET)
    with pytest.raises(AnnotationError, match="1 predictions and 2 targets"):
        mean_average_precision([[]], [(0.0, 1.0)] * 2, VSLNET)
