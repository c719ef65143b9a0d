"""to_single: every half there is, and what is not finite."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet_features import FeatureError, FeatureSpec
from bpnet_features.halves import to_single
from bpnet_features.source import check_clips

ALL = np.arange(2**16, dtype=np.uint16).view(np.float16)
FINITE = ALL[np.isfinite(ALL)]


def test_every_finite_half() -> None:
    single, finite = to_single(FINITE.reshape(-1, 2))
    assert finite and single.dtype == np.float32
    expected = FINITE.astype(np.float32).reshape(-1, 2)
    assert np.array_equal(single.view(np.uint32), expected.view(np.uint32))  # -0.0 too


def test_every_half_that_is_not_finite() -> None:
    others = ALL[~np.isfinite(ALL)]
    assert len(others) == 2 * 2**10  # infinity and 1,023 that are no number, of either sign
    assert not any(to_single(np.array([1.0, half], np.float16))[1] for half in others)


def test_nothing_is_written_to() -> None:
    halves = np.ones((2, 3), np.float16)
    halves.flags.writeable = False
    assert to_single(halves)[0].flags.writeable
    singles = np.ones((2, 3), np.float32)
    assert to_single(singles)[0] is singles


@given(st.lists(st.floats(width=64), max_size=5), st.sampled_from(["<f4", "<f8", ">f2", ">f4"]))
def test_other_types(values: list[float], dtype: str) -> None:
    with np.errstate(over="ignore"):
        array = np.array(values).astype(dtype)
        expected = array.astype(np.float32)
    single, finite = to_single(array)
    assert single.dtype == np.float32
    assert np.array_equal(single, expected, equal_nan=True)
    assert finite == np.isfinite(expected).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_clips_that_are_not_finite_are_named(value: float) -> None:
    clips = np.ones((4, 3), np.float16)
    clips[2:, 1] = value
    with pytest.raises(FeatureError, match=r"video: NaN or infinite values in 2 of 4 .*clip 2"):
        check_clips(clips, FeatureSpec("tiny", 3), "video")
