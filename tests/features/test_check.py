"""What is in a store, and whether it covers what is wanted."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from bpnet_features import FeatureSource, FeatureSpec, FeatureStore, FeatureWriter, open_features
from bpnet_features.check import check, inspect

SPEC = FeatureSpec(backbone="tiny", feature_dim=3)


def plain(path: Path, **spec: object) -> FeatureSource:
    """A file of another project, 3 wide."""
    return open_features(path, layout="hdf5", spec={"backbone": "tiny", "feature_dim": 3, **spec})


def test_inspect(tiny_store: Path) -> None:
    summary = inspect(FeatureStore(tiny_store))
    assert summary.num_videos == 4
    assert summary.clips == (16, 16, 16)
    assert summary.num_clips == 64
    assert summary.dtypes == ("float32",)
    assert summary.widths == (8,)
    assert summary.duration_seconds == 32.0
    assert summary.num_bytes == tiny_store.stat().st_size
    text = "\n".join(summary.lines())
    for part in ("tiny.h5", "backbone=tiny", "seconds_per_clip=0.5", "4 videos, 64 clips", "16"):
        assert part in text
    assert "layer" not in text


def test_inspect_of_an_empty_file(tmp_path: Path) -> None:
    FeatureWriter(tmp_path / "f.h5", SPEC).close()
    summary = inspect(FeatureStore(tmp_path / "f.h5"))
    assert (summary.num_videos, summary.clips) == (0, (0, 0, 0))
    assert "0 videos" in "\n".join(summary.lines())


def test_inspect_of_a_mixed_plain_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["a"] = np.ones((2, 3), np.float16)
        file["b"] = np.ones((5, 4), np.float64)
        file["c"] = np.ones((1, 2, 3))
        file.create_group("d")
    summary = inspect(plain(tmp_path / "f.h5"))
    assert (summary.num_videos, summary.num_odd, summary.num_unknown_durations) == (4, 2, 2)
    assert summary.clips == (2, 3.5, 5)
    text = "\n".join(summary.lines())
    for part in (
        "layout hdf5",
        "width 3, 4",
        "float16, float64",
        "2 entries",
        "2 videos of unknown",
    ):
        assert part in text


def test_sound_store(tiny_store: Path) -> None:
    report = check(FeatureStore(tiny_store), {"v0": 8.0, "v1": 8.4, "v2": None})
    assert report.ok
    assert (report.num_wanted, report.num_unwanted) == (3, 1)
    assert "3 wanted, 1 others" in report.lines()[0]


def test_all_faults_are_collected_by_kind(tmp_path: Path) -> None:
    clips = np.ones((4, 3), np.float32)
    bad = clips.copy()
    bad[2, 1] = np.inf
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["good"] = clips
        file["infinite"] = bad
        file["nan.avi"] = clips * np.nan
        file["empty"] = clips[:0]
        file["narrow"] = clips[:, :2]
        file["whole"] = clips.astype(np.int32)
        file["deep"] = clips[None]
        file["group/one"] = clips
        file["group/two"] = clips
        file["nobody"] = clips
    names = ["good", "infinite", "nan", "empty", "narrow", "whole", "deep", "group", "gone"]
    report = check(plain(tmp_path / "f.h5"), dict.fromkeys(names, 8.0))
    assert not report.ok
    assert report.num_unwanted == 1
    assert {kind: len(lines) for kind, lines in report.faults.items()} == {
        "NaN or infinite": 2,
        "zero clips": 1,
        "wrong width": 1,
        "wrong type": 2,
        "not one array": 1,
        "missing": 1,
    }
    assert report.faults["NaN or infinite"][0].startswith(
        "'infinite': NaN or infinite values in 1 of 4 clips, first in clip 2"
    )
    assert report.faults["wrong width"] == (
        "'narrow': features have width 2, the feature spec says 3 (feature_dim)",
    )
    assert report.faults["missing"] == ("'gone'",)


def test_first_five_are_shown(tiny_store: Path) -> None:
    report = check(FeatureStore(tiny_store), {f"x{number}": 8.0 for number in range(8)})
    lines = report.lines()
    assert lines[1] == "missing: 8"
    assert lines[2:7] == [f"  'x{number}'" for number in range(5)]
    assert lines[7:] == ["  and 3 more"]
    assert len(report.faults["missing"]) == 8


@pytest.mark.parametrize(
    ("stride", "stored", "annotated", "fits"),
    [
        (2.0, 8.0, 9.9, True),  # within one stride of 2 s
        (2.0, 8.0, 10.1, False),
        (2.0, 8.0, 6.1, True),
        (2.0, 8.0, 5.9, False),
        (None, 8.0, 9.9, True),  # the stride is 8 s / 4 clips
        (None, 8.0, 10.1, False),
        (0.01, 8.0, 8.09, True),  # at least 0.1 s
        (0.01, 8.0, 8.11, False),
    ],
)
def test_durations(
    tmp_path: Path, stride: float | None, stored: float, annotated: float, fits: bool
) -> None:
    with FeatureWriter(tmp_path / "f.h5", SPEC) as writer:
        writer.add("a", np.ones((4, 3)), stored, stride_seconds=stride)
    report = check(FeatureStore(tmp_path / "f.h5"), {"a": annotated})
    assert report.ok == fits
    if not fits:
        assert f"8.00 s in the store, {annotated:.2f} s" in report.faults["durations disagree"][0]


def test_durations_of_a_plain_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["a"] = np.ones((4, 3), np.float32)
    # 4 clips every 8 frames at 8 a second cover 4 s; each sees 16 frames: 5 s, and up to 1 s left.
    store = plain(tmp_path / "f.h5", fps=8.0, clip_stride_frames=8, clip_length_frames=16)
    assert check(store, {"a": 5.9}).ok
    assert "more than 2.00 s" in check(store, {"a": 6.1}).faults["durations disagree"][0]
    assert "ends at 1.50 s" in check(store, {"a": 1.5}).faults["wrong time base"][0]
    # Without a stride there is nothing to compare, and without a duration nothing to go by.
    bare = plain(tmp_path / "f.h5")
    assert check(bare, {"a": 600.0}).ok
    assert "neither a duration" in check(bare, {"a": None}).faults["wrong time base"][0]
