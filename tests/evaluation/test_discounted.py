import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet.errors import AnnotationError
from bpnet.evaluation.discounted import discounted_recall
from bpnet.evaluation.metrics import localization_metrics
from bpnet.evaluation.protocols import TAN, VSLNET

intervals = st.tuples(st.integers(0, 30), st.integers(1, 20)).map(
    lambda pair: (float(pair[0]), float(pair[0] + pair[1]))
)


def test_by_hand():
    # Video of 100 s, target 0..50. First query 10..50: tIoU .8, errors 10 and 0: .9 * 1.
    # Second 0..30, a miss at .7 (.6), then 5..45, tIoU .8, errors 5 and 5: .95 * .95.
    answers = [[(10.0, 50.0)], [(0.0, 30.0), (5.0, 45.0)]]
    found = discounted_recall(answers, [(0.0, 50.0)] * 2, [100.0, 100.0], VSLNET)
    assert found["dR@1,IoU=0.7"] == pytest.approx(100 * 0.9 / 2)
    assert found["dR@5,IoU=0.7"] == pytest.approx(100 * (0.9 + 0.9025) / 2)
    # At .5 the first moment of the second query hits too, with 1 * .8; the better hit counts.
    assert found["dR@1,IoU=0.5"] == pytest.approx(100 * (0.9 + 0.8) / 2)
    assert found["dR@5,IoU=0.5"] == pytest.approx(100 * (0.9 + 0.9025) / 2)
    assert list(found) == [f"dR@{n},IoU={m}" for n in (1, 5) for m in (0.3, 0.5, 0.7)]


def test_of_several_targets_the_largest_discount_among_hits_counts():
    # 0..10 against 0..20 (tIoU .5, 1 * .9) and 1..11 (tIoU 9/11, .99 * .99).
    found = discounted_recall([[(0.0, 10.0)]], [[(0.0, 20.0), (1.0, 11.0)]], [100.0], VSLNET)
    assert found["dR@1,IoU=0.3"] == pytest.approx(100 * 0.99**2)


def test_the_hit_rule_is_that_of_the_protocol():
    answers, targets = [[(0.0, 5.0)]], [(0.0, 10.0)]
    assert discounted_recall(answers, targets, [10.0], VSLNET)["dR@1,IoU=0.5"] == 50.0
    assert discounted_recall(answers, targets, [10.0], TAN)["dR@1,IoU=0.5"] == 0.0


def test_an_error_beyond_the_duration_counts_as_all_of_it():
    # 0..22 against 0..10 of a video of 10 s: tIoU 10/22, the end is off by 12 s.
    found = discounted_recall([[(0.0, 22.0)]], [(0.0, 10.0)], [10.0], VSLNET)
    assert found["dR@1,IoU=0.3"] == 0.0


def test_an_empty_answer_counts_nothing():
    assert set(discounted_recall([[]], [(0.0, 1.0)], [2.0], VSLNET).values()) == {0.0}


@given(st.data())
def test_never_above_recall_and_never_falling_with_n(data):
    targets = data.draw(st.lists(st.lists(intervals, min_size=1, max_size=3), min_size=1))
    size = len(targets)
    answers = data.draw(st.lists(st.lists(intervals, max_size=6), min_size=size, max_size=size))
    durations = np.full(size, 50.0)
    plain = localization_metrics(answers, targets, VSLNET, ranks=(1, 2, 5))
    found = discounted_recall(answers, targets, durations, VSLNET, ranks=(1, 2, 5))
    for threshold in (0.3, 0.5, 0.7):
        values = [found[f"dR@{n},IoU={threshold}"] for n in (1, 2, 5)]
        assert values == sorted(values)
        for n, value in zip((1, 2, 5), values, strict=True):
            assert 0 <= value <= plain[f"R@{n},IoU={threshold}"] + 1e-9


def test_a_perfect_answer_is_not_discounted():
    found = discounted_recall([[(1.0, 4.0)]], [(1.0, 4.0)], [9.0], VSLNET)
    assert set(found.values()) == {100.0}


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_duration_that_is_none(bad):
    with pytest.raises(AnnotationError, match=r"duration of query number 1: .*\(1 of 2 are not\)"):
        discounted_recall([[], []], [(0.0, 1.0)] * 2, [2.0, bad], VSLNET)
    with pytest.raises(AnnotationError, match="1 targets and 2 durations"):
        discounted_recall([[]], [(0.0, 1.0)], [2.0, 3.0], VSLNET)
