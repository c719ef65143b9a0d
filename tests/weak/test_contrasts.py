"""Spans of an activation: hand-worked values, and relations that hold for any activation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bpnet.weak.contrasts import (
    activation_candidates,
    best_spans,
    contrasts,
    explained,
    lifted,
    span_support,
)

# Halves add up without rounding, so that what is equal on paper is equal here.
activations = hnp.arrays(
    np.float64, st.integers(1, 24), elements=st.integers(-40, 40).map(lambda value: value / 2)
)
extents = st.sampled_from([0.1, 0.25, 0.5, 0.75])


def test_two_levels_by_hand() -> None:
    # Median 0. Inside (1, 3) the mean is 4, outside 2 of 5 clips; 2 * 5 / 7 to the power 1/2.
    values = np.array([0.0, 4, 4, 0, 0, 2, 0])
    found = contrasts(values, np.array([(1.0, 3), (1, 2), (0, 7)]), 0.5)
    np.testing.assert_allclose(
        found, [(4 - 2 / 5) * (10 / 7) ** 0.5, (4 - 6 / 6) * (6 / 7) ** 0.5, 0]
    )
    spans, its = best_spans(values, 0.5)
    assert spans.tolist() == [[1, 3], [5, 6]]
    assert its[1] == pytest.approx((2 - 8 / 6) * (6 / 7) ** 0.5)


@given(activations)
def test_the_square_is_what_two_levels_explain(values: np.ndarray) -> None:
    """Of every span: the sum of squares about one mean, less that about two."""
    high, size = lifted(values), len(values)
    spans = [(a, b) for a in range(size) for b in range(a + 1, size + 1) if b - a < size]
    if not spans:
        return
    found = contrasts(values, np.array(spans, dtype=np.float64), 0.5)
    for (a, b), value in zip(spans, found, strict=True):
        rest = np.concatenate([high[:a], high[b:]])
        parts = [((part - part.mean()) ** 2).sum() for part in (high[a:b], rest)]
        explained = ((high - high.mean()) ** 2).sum() - sum(parts)
        assert value**2 == pytest.approx(explained, abs=1e-6 * (1 + (high**2).sum()))


@given(activations, extents)
def test_no_other_span_has_more_contrast(values: np.ndarray, extent: float) -> None:
    size = len(values)
    spans = [(a, b) for a in range(size) for b in range(a + 1, size + 1)]
    everywhere = contrasts(values, np.array(spans, dtype=np.float64), extent)
    found, its = best_spans(values, extent)
    assert its[0] == max(everywhere.max(), 0)
    if its[0] == 0:
        assert found.tolist() == [[0, size]]


@given(activations, extents, st.integers(-8, 8), st.sampled_from([0.5, 2.0, 4.0]))
def test_level_and_scale_change_no_span(
    values: np.ndarray, extent: float, level: int, scale: float
) -> None:
    spans, its = best_spans(values, extent)
    others, theirs = best_spans(scale * values + level, extent)
    np.testing.assert_array_equal(spans[0], others[0])
    np.testing.assert_allclose(scale * its[0], theirs[0])


@given(activations, extents)
def test_candidates_lie_in_the_video(values: np.ndarray, extent: float) -> None:
    spans, scores = activation_candidates(values, extent)
    assert (spans[:, 0] < spans[:, 1]).all()
    assert spans.min() >= 0 and spans.max() <= len(values)
    assert len(spans) >= 3 and (scores[:3] == 1).all()
    assert (scores > 0).all() and (scores <= 1).all()


def test_a_plateau_is_found_whole_where_its_peak_is_one_clip() -> None:
    values = np.array([0.0, 0.1, 2, 2, 3, 2, 2, 0, 0.2, 0, 0, 0, 0])
    assert best_spans(values, 0.5)[0][0].tolist() == [2, 7]


@given(activations, extents)
def test_the_best_span_has_full_support(values: np.ndarray, extent: float) -> None:
    span = best_spans(values, extent)[0][:1]
    everywhere = np.array([(a, a + 1) for a in range(len(values))], dtype=np.float64)
    support = span_support(values, extent, np.concatenate([span, everywhere]))
    assert ((support >= 0) & (support <= 1)).all()
    assert support[0] == (1 if best_spans(values, extent)[1][0] > 0 else 0)


def test_two_levels_explain_all_of_two_levels() -> None:
    values = np.array([0.0, 3, 3, 0, 0, 0, 0])
    assert explained(values, np.array([1.0, 3])) == pytest.approx(1)
    assert explained(values, np.array([4.0, 6])) < 0.2
    assert explained(np.ones(4), np.array([0.0, 2])) == 0
