"""The bootstrap over videos: worked by hand, exact zeros, and how often its intervals hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet.evaluation import bootstrap as module
from bpnet.evaluation.bootstrap import Estimates, bootstrap


def test_two_videos_by_hand() -> None:
    """Video a has three queries (0, 0, 0), video b has one (100).

    Draws of two videos: aa (1/4), ab or ba (1/2), bb (1/4), with means 0, 100 / 4 = 25, and 100.
    The mean over the four queries is 25; the percentiles 2.5 and 97.5 are 0 and 100.
    """
    values = np.array([0.0, 0.0, 0.0, 100.0]).reshape(1, 4, 1)
    found = bootstrap(values, ["a", "a", "a", "b"])
    assert (found.value.item(), found.low.item(), found.high.item()) == (25.0, 0.0, 100.0)
    # Half of the draws are 25, so that an interval of 40 % holds nothing else.
    narrow = bootstrap(values, ["a", "a", "a", "b"], level=0.4)
    assert (narrow.low.item(), narrow.high.item()) == (25.0, 25.0)


def test_the_percentiles_of_all_draws() -> None:
    """Three videos of one query (0, 30, 90): all 27 draws, each with the same chance.

    Below 2.5 % of the draws there is only 000 (1/27 = 3.7 %), and 999 above 97.5 %. An interval of
    90 % leaves 5 % on each side: 3.7 % are 0, the next 3/27 are 10, so its ends are 10 and 70.
    """
    values = np.array([0.0, 30.0, 90.0]).reshape(1, 3, 1)
    wide = bootstrap(values, "abc")
    assert (wide.low.item(), wide.high.item()) == (0.0, 90.0)
    found = bootstrap(values, "abc", level=0.9)
    assert found.value.item() == 40.0
    assert (found.low.item(), found.high.item()) == pytest.approx((10.0, 70.0))


def test_equal_outcomes_differ_by_nothing() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 50, 4))
    videos = rng.integers(7, size=50).tolist()
    found = bootstrap(values - values.copy(), videos)
    for part in (found.value, found.low, found.high):
        assert part.tolist() == [0.0] * 4


def test_runs_by_hand() -> None:
    """Two runs with outcomes 0 and 10 everywhere: only drawing the runs spreads their mean.

    The draws are 00, 01, 10, 11 with means 0, 5, 5, 10.
    """
    values = np.repeat([0.0, 10.0], 6).reshape(2, 6, 1)
    videos = ["a", "a", "b", "b", "c", "d"]
    fixed = bootstrap(values, videos)
    assert (fixed.low.item(), fixed.value.item(), fixed.high.item()) == (5.0, 5.0, 5.0)
    drawn = bootstrap(values, videos, resample_runs=True)
    assert (drawn.low.item(), drawn.value.item(), drawn.high.item()) == (0.0, 5.0, 10.0)


def test_each_group_of_columns_has_the_names() -> None:
    found = Estimates(*(np.array([1.0, 2.0, 3.0, 4.0]) + shift for shift in (0.0, -0.5, 0.5)))
    first, second = found.cells(["a", "b"])
    assert first["a"] == {"value": 1.0, "low": 0.5, "high": 1.5}
    assert second["b"] == {"value": 4.0, "low": 3.5, "high": 4.5}
    assert list(second) == ["a", "b"]
    with pytest.raises(ValueError, match="cannot reshape"):
        found.cells(["a", "b", "c"])


def test_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    values, videos = rng.normal(size=(3, 40, 2)), (np.arange(40) // 4).tolist()

    def ends(**options: int) -> list[float]:
        found = bootstrap(values, videos, resample_runs=True, num_resamples=500, **options)
        return [*found.low, *found.high]

    whole = ends()
    assert ends() == whole
    assert ends(seed=1) != whole
    monkeypatch.setattr(module, "_CHUNK", 70)  # seven draws of ten videos at once
    assert ends() == pytest.approx(whole, abs=1e-12)


@given(st.data())
def test_the_interval_surrounds_the_mean_and_moves_with_it(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 30))
    numbers = st.floats(-100, 100, allow_subnormal=False)
    values = np.array(data.draw(st.lists(numbers, min_size=size, max_size=size)))
    videos = data.draw(st.lists(st.integers(0, 5), min_size=size, max_size=size))
    found = bootstrap(values.reshape(1, -1, 1), videos, num_resamples=200)
    assert values.min() - 1e-9 <= found.low.item() <= found.high.item() <= values.max() + 1e-9
    moved = bootstrap(values.reshape(1, -1, 1) + 10, videos, num_resamples=200)
    assert moved.low.item() == pytest.approx(found.low.item() + 10, abs=1e-9)
    assert moved.high.item() == pytest.approx(found.high.item() + 10, abs=1e-9)


def covered(num_trials: int, difference: float, by_video: bool) -> float:
    """Share of made data sets of which the interval holds the true difference.

    60 videos with five queries each; the videos differ as much as the queries within them.
    """
    rng = np.random.default_rng(7)
    videos = np.repeat(np.arange(60), 5)
    hits = 0
    for _ in range(num_trials):
        hard = rng.normal(size=60)[videos]
        values = difference + hard + rng.normal(size=300)
        clusters = videos if by_video else np.arange(300)
        found = bootstrap(values.reshape(1, -1, 1), clusters.tolist(), num_resamples=300)
        hits += bool(found.low.item() <= difference <= found.high.item())
    return hits / num_trials


def test_intervals_hold_a_known_difference_as_often_as_they_say() -> None:
    """Nominal 95 %; of 300 trials the standard error is 1.3 points."""
    assert 0.91 <= covered(300, difference=2.5, by_video=True) <= 0.98


def test_resampling_queries_would_give_too_narrow_intervals() -> None:
    """Their variance is (1 + 1) / 300; that of the mean is (1 + 1/5) / 60, three times as much."""
    assert covered(300, difference=2.5, by_video=False) < 0.82
