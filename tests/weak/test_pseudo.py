"""Pseudo moments: hand-worked values, and relations that hold for any candidates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bpnet.evaluation.intervals import tiou
from bpnet.weak.candidates import Candidates
from bpnet.weak.pseudo import clusters, fuse, weights_of


@st.composite
def scored_spans(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    count = draw(st.integers(1, 8))
    starts = draw(st.lists(st.integers(0, 20), min_size=count, max_size=count))
    lengths = draw(st.lists(st.integers(1, 10), min_size=count, max_size=count))
    scores = draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    spans = np.array([(s, s + n) for s, n in zip(starts, lengths, strict=True)], dtype=np.float64)
    return spans, np.array(scores, dtype=np.float64)


def test_a_cluster_is_the_weighted_mean_of_its_members() -> None:
    spans = np.array([(0.0, 10), (2, 12), (20, 24)])  # the first two: 8 of 12
    means, sums = clusters(spans, np.array([3.0, 1, 2]))
    np.testing.assert_allclose(means, [(0.5, 10.5), (20, 24)])
    np.testing.assert_allclose(sums, [4, 2])


@given(scored_spans())
def test_clusters_lose_no_vote(scored: tuple[np.ndarray, np.ndarray]) -> None:
    means, sums = clusters(*scored)
    assert sums.sum() == pytest.approx(scored[1].sum())
    assert (np.diff(sums) <= 1e-9).all()
    assert (means[:, 0] < means[:, 1]).all()
    assert means.min() >= scored[0].min() and means.max() <= scored[0].max()


@given(scored_spans(), st.sampled_from([0.5, 3.0]))
def test_only_shares_of_a_source_count(scored: tuple[np.ndarray, np.ndarray], scale: float) -> None:
    spans, scores = scored
    one, other = (fuse([Candidates(spans, values)], 0.7) for values in (scores, scale * scores))
    np.testing.assert_allclose(one.spans, other.spans)
    assert one.confidence == pytest.approx(other.confidence)
    assert 0 <= one.confidence <= 1


def test_confidence_is_share_times_agreement_times_certainty() -> None:
    one = Candidates(np.array([(0.0, 10), (20, 30)]), np.array([3.0, 1]), 0.5)
    other = Candidates(np.array([(0.0, 5)]), np.array([1.0]), 1.0)
    # Votes: 0.75 + 1 of 2 for the first cluster; the sources' best overlap by a half.
    found = fuse([one, other], 1.0)
    assert found.confidence == pytest.approx(1.75 / 2 * 0.5 * 0.75)
    np.testing.assert_allclose(found.spans, [(0, (0.75 * 10 + 5) / 1.75)])
    assert fuse([one, one], 1.0).confidence == pytest.approx(0.75 * 0.5)


def test_another_moment_is_taught_from_its_share_on() -> None:
    source = Candidates(np.array([(0.0, 10), (20, 30)]), np.array([5.0, 4]))
    assert len(fuse([source], 0.7).spans) == 2
    assert len(fuse([source], 0.9).spans) == 1
    assert len(fuse([source], 1.0).spans) == 1


@given(
    hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)),
    st.sampled_from([0.0, 0.2, 0.5]),
)
def test_weights_have_mean_one(confidences: np.ndarray, left_out: float) -> None:
    weights = weights_of(confidences, left_out)
    assert weights.mean() == pytest.approx(1)
    gone = np.argsort(confidences, kind="stable")[: int(left_out * len(confidences))]
    if weights.max() != weights.min():
        assert (weights[gone] == 0).all()


def test_the_mean_span_of_a_cluster_overlaps_its_leader() -> None:
    spans = np.array([(0.0, 10), (0, 20), (0, 5)])
    means, _ = clusters(spans, np.array([2.0, 1, 1]))
    assert float(tiou(means[0], spans[0])) > 0.5
