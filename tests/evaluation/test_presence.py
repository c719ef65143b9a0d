"""The score from which a sentence counts as one about the video."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet.errors import ConfigError
from bpnet.evaluation.presence import fit_least_score, presence

SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]), min_size=1, max_size=12)


def test_by_hand() -> None:
    true, others = [0.9, 0.8, 0.6, 0.2], [0.7, 0.1, 0.1]
    # From 0.6: three of four answered, and one wrong one.
    assert presence(true, others, 0.6) == pytest.approx(
        {"precision": 3 / 4, "recall": 3 / 4, "f1": 3 / 4}
    )
    # From 0.2: all four, and the one at 0.7: F1 = 2 x 0.8 x 1 / 1.8 is the best there is.
    assert fit_least_score(true, others) == pytest.approx((0.2 + 0.1) / 2)
    assert presence(true, others, 0.15)["f1"] == pytest.approx(8 / 9)
    assert presence(true, others, 2.0) == {"precision": 1.0, "recall": 0.0, "f1": 0.0}


def test_told_apart_without_a_fault() -> None:
    assert fit_least_score([0.8, 0.9], [0.2, 0.4]) == pytest.approx(0.6)
    assert fit_least_score([0.8, 0.9], []) == 0.8  # nothing speaks against answering all


@given(SCORES, SCORES)
def test_no_threshold_does_better(true: list[float], others: list[float]) -> None:
    chosen = presence(true, others, fit_least_score(true, others))["f1"]
    for least in np.linspace(-0.05, 1.05, 45):
        assert presence(true, others, least)["f1"] <= chosen + 1e-12


def test_nothing_to_fit_to() -> None:
    with pytest.raises(ConfigError, match="no score of a sentence about its own video"):
        fit_least_score([], [0.3])
