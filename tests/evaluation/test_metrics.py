import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet.errors import AnnotationError
from bpnet.evaluation.intervals import tiou
from bpnet.evaluation.metrics import (
    best_of_all,
    localization_metrics,
    metric_names,
    oracle_recall,
)
from bpnet.evaluation.protocols import VSLNET

whole_intervals = st.tuples(st.integers(0, 40), st.integers(1, 20)).map(
    lambda pair: (pair[0], pair[0] + pair[1])
)
rankings = st.lists(st.lists(whole_intervals, max_size=6), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("predicted", "target", "expected"),
    [
        ((2, 6), (2, 6), 1),  # equal
        ((0, 4), (2, 6), 2 / 6),  # overlap 2, hull 0..6
        ((2, 4), (0, 8), 2 / 8),  # inside
        ((0, 8), (2, 4), 2 / 8),  # around
        ((0, 2), (2, 4), 0),  # touching
        ((0, 1), (5, 9), 0),  # disjoint
        ((3, 3), (2, 4), 0),  # a point inside
        ((3, 3), (3, 3), 0),  # the same point: no length to share
        ((0.5, 1.75), (1.25, 2.0), 0.5 / 1.5),  # no "+1" anywhere
    ],
)
def test_tiou(predicted, target, expected):
    assert tiou(predicted, target) == pytest.approx(expected)


def test_tiou_broadcasts():
    predicted = np.array([[0.0, 4.0], [2.0, 4.0]])
    targets = np.array([[0.0, 4.0], [0.0, 8.0], [6.0, 8.0]])
    np.testing.assert_allclose(
        tiou(predicted[:, None], targets), [[1, 4 / 8, 0], [2 / 4, 2 / 8, 0]]
    )


@given(whole_intervals, whole_intervals)
def test_tiou_equals_counting_seconds(one, other):
    first, second = set(range(*one)), set(range(*other))
    assert tiou(one, other) == pytest.approx(len(first & second) / len(first | second))


@given(whole_intervals, whole_intervals, st.integers(1, 9), st.integers(-5, 5))
def test_tiou_is_symmetric_and_ignores_scale_and_shift(one, other, scale, shift):
    moved = [scale * np.array(interval) + shift for interval in (one, other)]
    assert tiou(one, other) == tiou(other, one) == pytest.approx(tiou(*moved))


PREDICTIONS = [
    np.array([[0.0, 10.0], [4.0, 8.0]]),  # target 4..8: 4/10, then 4/4
    np.array([[0.0, 6.0]]),  # target 0..10: 6/10
    np.zeros((0, 2)),  # no answer
    np.array([[20.0, 30.0], [0.0, 1.0]]),  # target 2..4: 0 and 0
]
TARGETS = np.array([[4.0, 8.0], [0.0, 10.0], [1.0, 2.0], [2.0, 4.0]])


def test_metrics_of_four_queries():
    metrics = localization_metrics(PREDICTIONS, TARGETS, VSLNET)
    assert metrics == pytest.approx(
        {
            "R@1,IoU=0.3": 100 * 2 / 4,  # the first (.4) and the second (.6)
            "R@1,IoU=0.5": 100 * 1 / 4,  # the second
            "R@1,IoU=0.7": 100 * 0 / 4,
            "R@5,IoU=0.3": 100 * 2 / 4,
            "R@5,IoU=0.5": 100 * 2 / 4,  # the first by its second moment
            "R@5,IoU=0.7": 100 * 1 / 4,
            "mIoU": 100 * (4 / 10 + 6 / 10 + 0 + 0) / 4,
        }
    )
    assert list(metrics) == [
        *("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7"),
        *("R@5,IoU=0.3", "R@5,IoU=0.5", "R@5,IoU=0.7"),
        "mIoU",
    ]
    assert all(type(value) is float for value in metrics.values())


def test_perfect_is_100_and_disjoint_is_0():
    perfect = localization_metrics(TARGETS[:, None], TARGETS, VSLNET)
    disjoint = localization_metrics(TARGETS[:, None] + 100, TARGETS, VSLNET)
    assert set(perfect.values()) == {100.0}
    assert set(disjoint.values()) == {0.0}


def test_a_missing_moment_never_hits():
    empty = localization_metrics([[]], [[0.0, 1.0]], VSLNET, ranks=(1,), thresholds=(0.0,))
    assert empty == {"R@1,IoU=0": 0.0, "mIoU": 0.0}


def test_oracle_recall():
    # Best of the first one: .4, .6, -, 0; of the first two: 1, .6, -, 0.
    recall = oracle_recall(PREDICTIONS, TARGETS, ks=(1, 2), thresholds=(0.3, 0.7))
    assert recall == {
        "R@1,IoU=0.3": 50.0,
        "R@1,IoU=0.7": 0.0,
        "R@2,IoU=0.3": 50.0,
        "R@2,IoU=0.7": 25.0,
    }


@pytest.mark.parametrize(("largest", "expected"), [(2, ["1", "5"]), (16, ["1", "5", "16"])])
def test_oracle_recall_reaches_to_the_last_proposal(largest, expected):
    proposals = [[(10.0, 11.0)] * (largest - 1) + [(0.0, 1.0)], [(0.0, 1.0)]]
    recall = oracle_recall(proposals, [(0.0, 1.0)] * 2, thresholds=(0.5,))
    assert list(recall) == [f"R@{k},IoU=0.5" for k in expected]
    assert recall["R@1,IoU=0.5"] == 50.0
    assert recall[f"R@{expected[-1]},IoU=0.5"] == 100.0


@given(rankings, st.data())
def test_more_moments_never_lower_recall(predictions, data):
    size = len(predictions)
    targets = data.draw(st.lists(whole_intervals, min_size=size, max_size=size))
    metrics = localization_metrics(predictions, targets, VSLNET, ranks=(1, 2, 5))
    for threshold in ("0.3", "0.5", "0.7"):
        values = [metrics[f"R@{rank},IoU={threshold}"] for rank in (1, 2, 5)]
        assert 0 <= values[0] <= values[1] <= values[2] <= 100
    for rank in (1, 2, 5):
        values = [metrics[f"R@{rank},IoU={threshold}"] for threshold in ("0.3", "0.5", "0.7")]
        assert values == sorted(values, reverse=True)
    assert metrics["R@1,IoU=0.5"] <= 2 * metrics["mIoU"] + 1e-9  # Markov's inequality


@given(rankings, st.randoms())
def test_the_order_of_queries_does_not_matter(predictions, random):
    pairs = [(moments, (place, place + 5)) for place, moments in enumerate(predictions)]
    shuffled = list(pairs)
    random.shuffle(shuffled)
    plain, mixed = (
        localization_metrics([one for one, _ in part], [target for _, target in part], VSLNET)
        for part in (pairs, shuffled)
    )
    assert plain == pytest.approx(mixed)


def test_no_queries_is_an_error():
    for count in (localization_metrics, oracle_recall):
        with pytest.raises(AnnotationError, match="no queries to evaluate"):
            count([], np.zeros((0, 2)), protocol=VSLNET)


@pytest.mark.parametrize("bad", [(np.nan, 1.0), (0.0, np.inf), (3.0, 2.0)])
def test_an_impossible_moment_is_an_error_and_not_a_miss(bad):
    with pytest.raises(AnnotationError, match="prediction of query number 1"):
        localization_metrics([[(0.0, 1.0)], [(0.0, 1.0), bad]], [(0.0, 1.0)] * 2, VSLNET)
    with pytest.raises(AnnotationError, match="target of query number 0"):
        localization_metrics([[(0.0, 1.0)]], [bad], VSLNET)


def test_names_stand_in_the_order_of_a_table() -> None:
    names = ["R@1,IoU=0.5", "R@1,IoU=0.75", "R@5,IoU=0.5", "R@5,IoU=0.75"]
    assert metric_names((1, 5), (0.5, 0.75)) == names
    assert metric_names()[:3] == ["R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7"]


def test_the_oracle_row_takes_the_largest_k() -> None:
    oracle = {"R@5,IoU=0.5": 50.0, "R@16,IoU=0.5": 80.0, "R@16,IoU=0.7": 60.0, "R@1,IoU=0.7": 9.0}
    assert best_of_all(oracle) == (16, {"R@1,IoU=0.5": 80.0, "R@1,IoU=0.7": 60.0})
    assert best_of_all({}) == best_of_all(None) == (0, {})


SEVERAL = [[(0.0, 10.0), (20.0, 40.0)], [(5.0, 9.0)], [(0.0, 4.0), (4.0, 8.0), (8.0, 9.0)]]


def test_of_several_targets_the_best_counts_for_each_moment():
    answers = [
        [(20.0, 34.0), (0.0, 9.0)],  # 14/20 of the second, then 9/10 of the first
        [(0.0, 1.0), (5.0, 8.0)],  # 0, then 3/4
        [(0.0, 8.0)],  # 4/8 of each of two; never their union
    ]
    metrics = localization_metrics(answers, SEVERAL, VSLNET, thresholds=(0.5, 0.7, 0.75))
    assert metrics == pytest.approx(
        {
            "R@1,IoU=0.5": 100 * 2 / 3,
            "R@1,IoU=0.7": 100 * 1 / 3,
            "R@1,IoU=0.75": 0.0,
            "R@5,IoU=0.5": 100 * 3 / 3,
            "R@5,IoU=0.7": 100 * 2 / 3,
            "R@5,IoU=0.75": 100 * 2 / 3,
            "mIoU": 100 * (14 / 20 + 0 + 4 / 8) / 3,
        }
    )
    recall = oracle_recall(answers, SEVERAL, ks=(2,), thresholds=(0.75,))
    assert recall == {"R@2,IoU=0.75": pytest.approx(100 * 2 / 3)}


@given(st.data())
def test_several_targets_equal_the_best_of_each_alone(data):
    targets = data.draw(st.lists(st.lists(whole_intervals, min_size=1, max_size=4), min_size=1))
    size = len(targets)
    answers = data.draw(st.lists(whole_intervals, min_size=size, max_size=size))
    found = localization_metrics([[answer] for answer in answers], targets, VSLNET)["mIoU"]
    pairs = zip(answers, targets, strict=True)
    best = [max(tiou(answer, one) for one in row) for answer, row in pairs]
    assert found == pytest.approx(100 * np.mean(best))


def test_one_target_may_be_given_with_or_without_a_list():
    plain = localization_metrics(PREDICTIONS, TARGETS, VSLNET)
    assert localization_metrics(PREDICTIONS, [[target] for target in TARGETS], VSLNET) == plain
    assert localization_metrics(PREDICTIONS, TARGETS.tolist(), VSLNET) == plain


def test_lists_of_different_lengths():
    with pytest.raises(AnnotationError, match="2 predictions and 1 targets: expected one for each"):
        localization_metrics([[], []], [(0.0, 1.0)], VSLNET)
    with pytest.raises(AnnotationError, match="1 predictions and 2 scores: expected one for each"):
        localization_metrics([[(0, 1)]], [(0.0, 1.0)], VSLNET, scores=[[0.5], [0.5]])
    with pytest.raises(AnnotationError, match=r"query number 0: 2 .* 2 are finite, for 1 moments"):
        localization_metrics([[(0, 1)]], [(0.0, 1.0)], VSLNET, scores=[[0.5, 0.4]])
    with pytest.raises(AnnotationError, match="query number 0: 1 of which 0 are finite"):
        localization_metrics([[(0, 1)]], [(0.0, 1.0)], VSLNET, scores=[[np.nan]])


def test_a_query_without_a_target():
    with pytest.raises(AnnotationError, match=r"target of query number 1: no moment.*1 of 2 have"):
        localization_metrics([[], []], [[(0.0, 1.0)], []], VSLNET)


@pytest.mark.parametrize("bad", [[(0.0, 1.0, 0.9)], [0.0, 1.0, 2.0, 3.0], [[[0.0, 1.0]]], 5.0])
def test_what_is_no_list_of_pairs(bad):
    with pytest.raises(
        AnnotationError, match=r"prediction of query number 0: an array \(.*\[start"
    ):
        localization_metrics([bad], [(0.0, 1.0)], VSLNET)


@pytest.mark.parametrize("bad", [[("a", "b")], [(0.0, 1.0), (2.0,)], [None]])
def test_what_is_no_number(bad):
    with pytest.raises(AnnotationError, match="prediction of query number 0"):
        localization_metrics([bad], [(0.0, 1.0)], VSLNET)
