"""FeatureSpec: ranges, comparison, JSON."""

from __future__ import annotations

from typing import Any

import pytest

from bpnet_features import FeatureError, FeatureSpec


def test_json_round_trip() -> None:
    spec = FeatureSpec("i3d", 2048, "avgpool", 24.0, 16, 8, None, "l2", ("rgb", "flow"), 3)
    assert FeatureSpec.from_json(spec.to_json(), "here") == spec


def test_streams_may_be_null_or_one_name() -> None:
    values: dict[str, Any] = {"backbone": "i3d", "feature_dim": 4}
    assert FeatureSpec.from_dict({**values, "streams": None}, "here").streams == ()
    assert FeatureSpec.from_dict({**values, "streams": "rgb"}, "here").streams == ("rgb",)
    assert FeatureSpec.from_dict({**values, "streams": ["a", "b"]}, "here").streams == ("a", "b")


def test_stride() -> None:
    assert FeatureSpec("a", 1).stride_seconds is None
    assert FeatureSpec("a", 1, fps=8.0).stride_seconds is None
    assert FeatureSpec("a", 1, fps=8.0, clip_stride_frames=4).stride_seconds == 0.5
    both = FeatureSpec("a", 1, fps=8.0, clip_stride_frames=4, seconds_per_clip=2.0)
    assert both.stride_seconds == 2.0


def test_differences_are_named_and_unknown_fits_everything() -> None:
    known = FeatureSpec("i3d", 1024, fps=8.0, streams=("rgb",))
    assert known.differences(FeatureSpec("i3d", 1024)) == []
    assert known.differences(FeatureSpec("c3d", 1024, fps=25.0, streams=("rgb", "flow"))) == [
        "backbone: 'i3d' != 'c3d'",
        "fps: 8.0 != 25.0",
        "streams: ('rgb',) != ('rgb', 'flow')",
    ]


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"feature_dim": 0}, "feature_dim=0"),
        ({"fps": 0.0}, r"fps=0\.0"),
        ({"fps": float("nan")}, "fps=nan"),
        ({"fps": 10**400}, "fps=1000"),
        ({"seconds_per_clip": -1.0}, r"seconds_per_clip=-1\.0"),
        ({"feature_dim": "many"}, "many"),
        ({"feature_dim": None}, "feature_dim"),
        ({"backbone": None}, "backbone"),
        ({"strides": 3}, r"unknown entries \['strides'\]"),
    ],
)
def test_bad_values_are_named(values: dict[str, Any], match: str) -> None:
    with pytest.raises(FeatureError, match=match):
        FeatureSpec.from_dict({"backbone": "i3d", "feature_dim": 4, **values}, "some.h5")


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", "[" * 100_000])
def test_bad_json_names_the_file(text: str) -> None:
    with pytest.raises(FeatureError, match=r"some\.h5"):
        FeatureSpec.from_json(text, "some.h5")
