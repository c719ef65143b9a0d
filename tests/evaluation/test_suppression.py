"""NMS and soft-NMS: by hand, by properties, and against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet.evaluation import ranking
from bpnet.evaluation.intervals import pad, tiou
from bpnet.evaluation.protocols import TAN, SoftNMS, protocol
from bpnet.evaluation.ranking import rank
from bpnet.evaluation.suppression import soft_suppress_all, suppress, suppress_all

whole_intervals = st.tuples(st.integers(0, 40), st.integers(1, 20)).map(
    lambda pair: (float(pair[0]), float(pair[0] + pair[1]))
)
thresholds = st.sampled_from([0.0, 0.3, 0.5, 1.0])


def test_suppression_is_strictly_greater():
    first = (0.0, 10.0)
    exactly_half, more = (0.0, 5.0), (0.0, 5.25)
    assert suppress([first, exactly_half], 0.5).tolist() == [list(first), list(exactly_half)]
    assert suppress([first, more], 0.5).tolist() == [list(first)]


def test_what_is_suppressed_does_not_suppress():
    # The second overlaps the first by 8/12, the third the second by 8/12, the first by 4/16.
    ranked = [(0.0, 10.0), (2.0, 12.0), (6.0, 16.0)]
    assert suppress(ranked, 0.5).tolist() == [[0.0, 10.0], [6.0, 16.0]]


def test_touching_and_disjoint_moments_stay_even_at_zero():
    ranked = [(0.0, 10.0), (10.0, 12.0), (20.0, 22.0), (9.0, 11.0)]
    assert suppress(ranked, 0.0).tolist() == [[0.0, 10.0], [10.0, 12.0], [20.0, 22.0]]


def test_nothing_to_suppress():
    assert suppress([], 0.5).shape == (0, 2)


@given(whole_intervals, whole_intervals)
def test_hull_and_sum_less_intersection_are_the_same_overlap(one, other):
    """2D-TAN suppresses by the second and counts by the first."""
    shared = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    union = (one[1] - one[0]) + (other[1] - other[0]) - shared
    assert tiou(one, other) == pytest.approx(shared / union)


def test_two_equal_points_are_the_only_difference():
    # 0/0 in 2D-TAN, where a comparison with NaN suppresses; here they do not overlap.
    assert suppress([(3.0, 3.0), (3.0, 3.0)], 0.5).tolist() == [[3.0, 3.0]] * 2
    assert suppress([(0.0, 9.0), (3.0, 3.0)], 0.5).tolist() == [[0.0, 9.0], [3.0, 3.0]]


@given(st.lists(whole_intervals, max_size=8), thresholds)
def test_the_first_stays_and_nothing_that_overlaps_too_much(moments, threshold):
    kept = suppress(moments, threshold)
    assert len(kept) == 0 if not moments else tuple(kept[0]) == moments[0]
    for place, moment in enumerate(kept):
        assert (tiou(kept[:place], moment) <= threshold).all()
    lost = [one for one in moments if list(one) not in kept.tolist()]
    for moment in lost:
        assert (tiou(kept, moment) > threshold).any()


@given(st.lists(st.lists(whole_intervals, max_size=7), min_size=1, max_size=6), thresholds)
def test_many_queries_at_once_equal_each_alone(queries, threshold):
    moments = pad([np.array(one).reshape(-1, 2) for one in queries], "prediction")
    kept = suppress_all(moments, threshold)
    limited = suppress_all(moments, threshold, limit=2)
    for place, one in enumerate(queries):
        alone = suppress(one, threshold).tolist()
        assert kept.seconds[place, kept.mask[place]].tolist() == alone
        assert limited.seconds[place, limited.mask[place]].tolist() == alone[:2]
        assert (kept.seconds[place, ~kept.mask[place]] == 0).all()


@pytest.mark.parametrize("name", ["tan", "snag", "vslnet"])
def test_ranking_in_pieces_equals_ranking_at_once(name, monkeypatch):
    rng = np.random.default_rng(5)
    sizes = rng.integers(0, 9, 40)
    answers = [np.sort(rng.random((size, 2)) * 30, axis=1) for size in sizes]
    scores = [np.sort(rng.random(size))[::-1] for size in sizes]
    whole = rank(answers, protocol(name), 5, scores)
    monkeypatch.setattr(ranking, "_CHUNK", 50)
    pieces = rank(answers, protocol(name), 5, scores)
    np.testing.assert_array_equal(whole.moments.seconds, pieces.moments.seconds)
    np.testing.assert_array_equal(whole.moments.mask, pieces.moments.mask)
    np.testing.assert_array_equal(whole.scores, pieces.scores)


def test_scores_follow_their_moments():
    answers, scores = [[(0.0, 10.0), (0.0, 9.0), (20.0, 30.0)], []], [[0.9, 0.8, 0.7], []]
    kept = rank(answers, TAN, 5, scores)
    assert kept.scores[:, :2].tolist() == [[0.9, 0.7], [0.0, 0.0]]


def plain_soft_nms(moments, scores, rules, limit):
    """The same with lists, a loop and no padding."""
    left = [[score, place] for place, score in enumerate(scores)]
    kept = []
    while left and len(kept) < limit:
        best = max(left, key=lambda one: (one[0], -one[1]))
        left.remove(best)
        kept.append(best)
        for one in left:
            overlap = float(tiou(moments[one[1]], moments[best[1]]))
            one[0] *= math.exp(-(overlap**2) / rules.sigma)
        left = [one for one in left if one[0] >= rules.min_score]
    result = []
    for score, place in kept:
        near = [
            other
            for other in range(len(moments))
            if float(tiou(moments[place], moments[other])) >= rules.voting_threshold
        ]
        total = sum(scores[other] for other in near)
        start, end = moments[place]
        if total > 0:
            start, end = (
                sum(scores[other] * moments[other][side] for other in near) / total
                for side in (0, 1)
            )
        result.append((start, end, score))
    return result


scored = st.tuples(whole_intervals, st.sampled_from([0.0, 0.0005, 0.001, 0.3, 0.5, 0.9, 1.0]))


@given(
    st.lists(st.lists(scored, max_size=7), min_size=1, max_size=4),
    st.sampled_from([0.3, 0.9]),
    st.sampled_from([0.6, 0.95]),
    st.integers(1, 6),
)
def test_soft_suppression_equals_a_plain_loop(queries, sigma, voting, limit):
    rules = SoftNMS(sigma=sigma, min_score=0.001, voting_threshold=voting)
    moments = pad(
        [np.array([one for one, _ in row]).reshape(-1, 2) for row in queries], "prediction"
    )
    scores = np.zeros(moments.mask.shape)
    scores[moments.mask] = [score for row in queries for _, score in row]
    kept, values = soft_suppress_all(moments, scores, rules, limit)
    for place, row in enumerate(queries):
        expected = plain_soft_nms(
            [one for one, _ in row], [score for _, score in row], rules, limit
        )
        count = int(kept.mask[place].sum())
        assert count == len(expected)
        found = np.column_stack([kept.seconds[place, :count], values[place, :count]])
        np.testing.assert_allclose(found, np.array(expected).reshape(-1, 3), atol=1e-12)
