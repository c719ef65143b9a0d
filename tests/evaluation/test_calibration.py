"""Platt scaling, reliability and mismatched pairs: by hand, and on made scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet.errors import CheckpointError, ConfigError
from bpnet.evaluation.calibration import MIN_SLOPE, Calibration, fit_calibration
from bpnet.evaluation.negatives import mismatched
from bpnet.evaluation.reliability import Bin, auroc, calibration_error, reliability_curve
from bpnet.types import Annotation

IDENTITY = Calibration(1.0, 0.0)


def made(count: int, slope: float, intercept: float, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Scores, and whether they are right: with the probability that this calibration gives."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.02, 0.98, size=count)
    return scores, rng.random(count) < Calibration(slope, intercept).probabilities(scores)


def error(probabilities: np.ndarray, right: np.ndarray) -> float:
    return calibration_error(reliability_curve(probabilities, right))


def test_calibrated_scores_stay() -> None:
    scores, right = made(20_000, 1.0, 0.0)
    found = fit_calibration(scores, right)
    assert found.slope == pytest.approx(1.0, abs=0.05)
    assert found.intercept == pytest.approx(0.0, abs=0.05)
    assert error(scores, right) < 0.02
    assert error(found.probabilities(scores), right) < 0.02


@pytest.mark.parametrize(("slope", "intercept"), [(0.4, -1.0), (3.0, 2.0)])
def test_a_distorted_score_is_repaired(slope: float, intercept: float) -> None:
    scores, right = made(20_000, slope, intercept)
    assert error(scores, right) > 0.1
    found = fit_calibration(scores, right)
    assert found.slope == pytest.approx(slope, rel=0.08)
    assert found.intercept == pytest.approx(intercept, rel=0.08)
    fresh, fresh_right = made(20_000, slope, intercept, seed=1)
    assert error(found.probabilities(fresh), fresh_right) < 0.02


def test_one_score_by_hand() -> None:
    """Four right and two wrong at one score: the mean of 5/6 (four times) and 1/4 (twice)."""
    found = fit_calibration([0.5] * 6, [True] * 4 + [False] * 2)
    assert found.probabilities(0.5) == pytest.approx((4 * 5 / 6 + 2 * 1 / 4) / 6)


def test_two_scores_by_hand() -> None:
    """Two right at 0.8 and two wrong at 0.2: two numbers meet both targets, 3/4 and 1/4.

    logit(0.8) = log 4, logit(3/4) = log 3, so a = log 3 / log 4 and b = 0.
    """
    found = fit_calibration([0.8, 0.8, 0.2, 0.2], [True, True, False, False])
    assert found.slope == pytest.approx(math.log(3) / math.log(4))
    assert found.intercept == pytest.approx(0.0, abs=1e-9)


def test_scores_of_the_wrong_order_keep_it() -> None:
    scores, right = made(2_000, 1.0, 0.0)
    found = fit_calibration(1 - scores, right)
    assert found.slope == MIN_SLOPE
    probabilities = found.probabilities(1 - scores)
    assert probabilities.mean() == pytest.approx(right.mean(), abs=0.005)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.3])
@pytest.mark.parametrize("right", [True, False])
def test_one_answer_is_enough(value: float, right: bool) -> None:
    found = fit_calibration([value], [right])
    assert found.slope > 0 and math.isfinite(found.intercept)
    assert found.probabilities(value) == pytest.approx(2 / 3 if right else 1 / 3, abs=1e-6)


scores_and_right = st.lists(
    st.tuples(st.floats(0, 1, allow_subnormal=False), st.booleans()), min_size=1, max_size=40
)


@given(scores_and_right)
def test_any_fit_is_monotone_and_the_best(pairs: list[tuple[float, bool]]) -> None:
    scores, right = map(np.array, zip(*pairs, strict=True))
    found = fit_calibration(scores, right)
    probabilities = found.probabilities(np.linspace(0, 1, 21))
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert (np.diff(probabilities) >= 0).all()
    num_right = right.sum()
    targets = np.where(right, (num_right + 1) / (num_right + 2), 1 / (len(right) - num_right + 2))

    def loss(one: Calibration) -> float:
        chances = one.probabilities(scores).clip(1e-300, 1 - 1e-16)
        return float(-(targets * np.log(chances) + (1 - targets) * np.log1p(-chances)).sum())

    for slope, intercept in ((1, 0), (1.01, 0), (0.99, 0), (1, 0.01), (1, -0.01)):
        slope, intercept = max(found.slope * slope, MIN_SLOPE), found.intercept + intercept
        assert loss(found) <= loss(Calibration(slope, intercept)) + 1e-6


def test_probabilities_by_hand() -> None:
    """logit(0.8) = log 4; twice that minus log 2 is log 8: 8/9."""
    assert Calibration(2.0, -math.log(2)).probabilities(0.8) == pytest.approx(8 / 9)
    assert IDENTITY.probabilities([0.1, 0.9]) == pytest.approx([0.1, 0.9])
    assert IDENTITY.probabilities([0.0, 1.0]) == pytest.approx([0.0, 1.0], abs=2e-6)


@pytest.mark.parametrize("value", [-1.0, 1.5, math.nan])
def test_scores_that_are_no_probabilities(value: float) -> None:
    with pytest.raises(ConfigError, match=rf"score {value}: .*\(1 of 2 are not\)"):
        IDENTITY.probabilities([0.5, value])


def test_rounding_is_forgiven() -> None:
    assert IDENTITY.probabilities([1 + 1e-7, -1e-7]) == pytest.approx([1.0, 0.0], abs=2e-6)


def test_nothing_to_fit() -> None:
    with pytest.raises(ConfigError, match="nothing to calibrate on"):
        fit_calibration([], [])


def test_plain_values() -> None:
    one = Calibration(1.25, -0.1)
    assert Calibration.from_dict(one.to_dict()) == one
    assert Calibration.from_dict(None) is None


@pytest.mark.parametrize(
    "values",
    [{}, {"slope": 1}, {"slope": "a", "intercept": 0}, {"slope": [1], "intercept": 0}, [1]],
)
def test_damaged_values(values: object) -> None:
    with pytest.raises(CheckpointError, match=r"calibration .*: expected the numbers slope and"):
        Calibration.from_dict(values)  # type: ignore[arg-type]


@pytest.mark.parametrize("slope", [0.0, -1.0, math.nan, math.inf])
def test_impossible_values(slope: float) -> None:
    with pytest.raises(CheckpointError, match=f"slope {slope}, .*expected finite numbers"):
        Calibration.from_dict({"slope": slope, "intercept": 0.0})
    with pytest.raises(CheckpointError, match="least_score nan: expected finite numbers"):
        Calibration.from_dict({"slope": 1.0, "intercept": 0.0, "least_score": math.nan})


def test_the_error_by_hand() -> None:
    """Two bins of two: said 0.15, seen 0.5; said 0.85, seen 1: (0.35 + 0.15) / 2."""
    curve = reliability_curve([0.9, 0.1, 0.8, 0.2], [True, False, True, True], num_bins=2)
    assert curve == [
        Bin(pytest.approx(0.15), 0.5, 2),
        Bin(pytest.approx(0.85), 1.0, 2),
    ]
    assert calibration_error(curve) == pytest.approx(0.25)


def test_equal_probabilities_share_a_bin() -> None:
    probabilities, right = [0.1, 0.5, 0.5, 0.5, 0.9, 0.9], [False, True, False, True, True, True]
    curve = reliability_curve(probabilities, right, num_bins=3)
    assert [(one.probability, one.right, one.count) for one in curve] == [
        (pytest.approx(0.4), 0.5, 4),
        (pytest.approx(0.9), 1.0, 2),
    ]
    assert reliability_curve(probabilities[::-1], right[::-1], num_bins=3) == curve
    assert [one.count for one in reliability_curve([0.3], [True])] == [1]


@given(scores_and_right, st.integers(1, 12))
def test_bins_hold_every_answer_once(pairs: list[tuple[float, bool]], num_bins: int) -> None:
    scores, right = map(np.array, zip(*pairs, strict=True))
    curve = reliability_curve(scores, right, num_bins)
    assert len(curve) <= num_bins
    assert sum(one.count for one in curve) == len(pairs)
    assert sum(one.count * one.right for one in curve) == pytest.approx(right.sum())
    assert 0 <= calibration_error(curve) <= 1


def test_auroc_by_hand() -> None:
    """Of six pairs, (0.5, 0.5) is a tie, (0.5, 0.7) is lost, four are won: 4.5 / 6."""
    assert auroc([0.5, 0.9], [0.1, 0.5, 0.7]) == pytest.approx(4.5 / 6)
    assert auroc([1.0], [0.0]) == 1.0
    assert auroc([0.4, 0.4], [0.4]) == 0.5


def annotation(number: int, video: str, query: str) -> Annotation:
    return Annotation(f"q{number}", video, query, 1.0, 2.0, 10.0 + len(video), "val")


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=15))
def test_mismatched_pairs(pairs: list[tuple[int, int]]) -> None:
    asked = [
        annotation(number, "v" * (video + 1), f"Sentence {sentence}.")
        for number, (video, sentence) in enumerate(pairs)
    ]
    said = {(one.video_id, one.query) for one in asked}
    lengths = {one.video_id: one.duration_seconds for one in asked}
    found = mismatched(asked)
    assert found == mismatched(asked)
    by_qid = {one.qid: one for one in found}
    assert len(by_qid) == len(found)
    for one in asked:
        others = {video for video, _ in said if (video, one.query) not in said}
        assert (one.qid in by_qid) == bool(others)
        if others:
            other = by_qid[one.qid]
            assert other.query == one.query
            assert other.video_id in others
            assert (other.start_seconds, other.end_seconds) == (0.0, lengths[other.video_id])
            assert other.duration_seconds == lengths[other.video_id]


def test_the_same_sentence_in_other_letters() -> None:
    asked = [annotation(0, "a", "A dog runs."), annotation(1, "b", "a dog, runs")]
    assert mismatched(asked) == []
    asked.append(annotation(2, "ccc", "a cat"))
    assert [(one.qid, one.video_id) for one in mismatched(asked)][:2] == [
        ("q0", "ccc"),
        ("q1", "ccc"),
    ]


def test_another_seed_asks_about_others() -> None:
    asked = [annotation(number, f"v{number}", f"sentence {number}") for number in range(20)]
    videos = [[one.video_id for one in mismatched(asked, seed)] for seed in range(3)]
    assert len({tuple(one) for one in videos}) == 3
    # Nothing has to be avoided here, so every video is asked about once.
    assert all(len(set(one)) == 20 for one in videos)
