"""Student's t: quantiles of the printed tables, a half width by hand, and how often it holds."""

from __future__ import annotations

import numpy as np
import pytest

from bpnet.evaluation.t_interval import half_width, quantile


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (10, 2.228), (30, 2.042)],
)
def test_quantiles_of_the_tables(degrees: int, expected: float) -> None:
    assert quantile(0.95, degrees) == pytest.approx(expected, abs=5e-4)


def test_other_levels() -> None:
    assert quantile(0.99, 7) == pytest.approx(3.499, abs=5e-4)
    assert quantile(0.5, 1) == pytest.approx(1.0)  # the quartiles of Cauchy's distribution


def test_by_hand() -> None:
    """1, 2, 3: s = 1, so 4.3027 / sqrt(3) = 2.4841; a constant column has no spread."""
    found = half_width(np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]]))
    assert found == pytest.approx([2.4841, 0.0], abs=5e-5)


def test_it_holds_the_expectation_as_often_as_it_says() -> None:
    numbers = np.random.default_rng(0).normal(3.0, 2.0, size=(3, 4000))
    held = np.abs(numbers.mean(axis=0) - 3.0) <= half_width(numbers)
    assert held.mean() == pytest.approx(0.95, abs=0.012)
