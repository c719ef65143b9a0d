"""Interval arithmetic: against counting on whole numbers, and by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bpnet.spans import nms, paired_tiou, tiou

INTERVALS = [(start, end) for start, end in itertools.combinations(range(7), 2)]


def test_tiou_counts_cells() -> None:
    spans = torch.tensor(INTERVALS, dtype=torch.float64)
    overlaps = tiou(spans, spans)
    assert overlaps.shape == (len(INTERVALS), len(INTERVALS))
    for (i, first), (j, second) in itertools.product(enumerate(INTERVALS), repeat=2):
        cells, others = set(range(*first)), set(range(*second))
        expected = len(cells & others) / len(cells | others)
        assert overlaps[i, j].item() == pytest.approx(expected, abs=1e-12)


times = st.integers(-3000, 3000).map(lambda value: value / 30)
intervals = st.tuples(times, times).map(sorted)


@given(intervals, intervals)
def test_tiou_is_symmetric_and_in_range(first: list[float], second: list[float]) -> None:
    one, other = torch.tensor([first]), torch.tensor([second])
    value = tiou(one, other)
    assert torch.equal(value, tiou(other, one))
    assert 0 <= value.item() <= 1
    assert tiou(one, one).item() == (1.0 if first[0] < first[1] else 0.0)
    assert torch.equal(paired_tiou(one, other), value[0])


def test_paired_tiou_broadcasts() -> None:
    spans = torch.tensor([[[0.0, 2.0], [1.0, 3.0]], [[2.0, 4.0], [0.0, 4.0]]])  # (2, 2, 2)
    target = torch.tensor([[0.0, 2.0], [2.0, 4.0]])
    values = paired_tiou(spans, target[:, None])
    assert torch.allclose(values, torch.tensor([[1.0, 1 / 3], [1.0, 0.5]]))


def test_points_have_no_overlap() -> None:
    points = torch.tensor([[1.0, 1.0], [2.0, 2.0]])
    assert tiou(points, points).tolist() == [[0, 0], [0, 0]]


SPANS = torch.tensor([[0.0, 4.0], [0.0, 2.0], [1.0, 4.0], [6.0, 8.0]])
# tiou of 0 with 1: 2/4, with 2: 3/4; of 1 with 2: 1/4; 3 stands alone.


@pytest.mark.parametrize(
    ("scores", "threshold", "kept"),
    [
        ([0.9, 0.8, 0.7, 0.1], 0.5, [0, 1, 3]),  # 0.5 is not exceeded by 0.5
        ([0.9, 0.8, 0.7, 0.1], 0.4, [0, 3]),
        ([0.7, 0.8, 0.9, 0.95], 0.5, [3, 2, 1]),
        ([0.5, 0.5, 0.5, 0.5], 0.4, [0, 3]),  # of equal ones the first
        ([0.5, 0.6, 0.6, 0.7], 1.0, [3, 1, 2, 0]),
        ([0.1, 0.2, 0.3, 0.4], 0.0, [3, 2]),
    ],
)
def test_nms(scores: list[float], threshold: float, kept: list[int]) -> None:
    answer = nms(SPANS, torch.tensor(scores), threshold)
    assert answer.dtype == torch.int64
    assert answer.tolist() == kept


def test_nms_of_nothing() -> None:
    assert nms(torch.zeros(0, 2), torch.zeros(0), 0.5).tolist() == []
