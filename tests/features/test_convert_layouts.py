"""convert of every published layout: named or recognised, read back value for value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import releases

from bpnet_features import FeatureSource, FeatureStore, open_features
from bpnet_features.convert import convert


def check_store(source: FeatureSource, path: Path, expected: dict[str, np.ndarray]) -> None:
    """The store gives what the source gives, and that is what was published."""
    store = FeatureStore(path)
    assert store.spec == source.spec
    assert store.video_ids() == sorted(expected)
    for video_id, array in expected.items():
        duration = None if store.spec.stride_seconds is not None else 30.0
        clips, grid = store.read(video_id, duration)
        assert np.array_equal(clips, array)
        assert grid.edges_seconds.tolist() == (
            source.grid(video_id, duration).edges_seconds.tolist()
        )
        assert grid.duration_seconds == source.grid(video_id, duration).duration_seconds


@pytest.mark.parametrize("how", ["by name", "auto"])
@pytest.mark.parametrize("name", releases.LAYOUTS)
def test_every_layout(tmp_path: Path, name: str, how: str) -> None:
    (tmp_path / "release").mkdir()
    path, expected = releases.LAYOUTS[name](tmp_path / "release")
    options: dict[str, Any] = {"layout": name}
    if how == "auto":
        options = {"spec": releases.AUTO_SPECS.get(name)}
    source = open_features(path, **options)
    done = convert(source, tmp_path / "f.h5")
    assert (done.num_videos, done.dropped) == (len(expected), ())
    assert done.num_clips == sum(map(len, expected.values()))
    check_store(source, tmp_path / "f.h5", expected)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["f.h5", "release"]


@pytest.mark.parametrize("normalise", ["none", "l2"])
@pytest.mark.parametrize("name", releases.STREAMS)
def test_streams_are_joined(tmp_path: Path, name: str, normalise: str) -> None:
    (tmp_path / "release").mkdir()
    path, expected, streams = releases.STREAMS[name](tmp_path / "release")
    source = open_features(path, streams=streams, normalise=normalise)
    assert any("normalise l2: " in note for note in source.notes) == (normalise == "l2")
    convert(source, tmp_path / "f.h5")
    if normalise == "l2":
        expected = {video_id: source.read_clips(video_id) for video_id in expected}
    check_store(source, tmp_path / "f.h5", expected)
    spec = FeatureStore(tmp_path / "f.h5").spec
    assert (spec.streams, spec.normalisation) == (source.spec.streams, normalise)


@pytest.mark.parametrize(
    "name", ["2d-tan", "lgi", "mmaction2-csv", pytest.param("drn", marks=pytest.mark.slow)]
)
def test_several_processes(tmp_path: Path, monkeypatch, name: str) -> None:
    """Readers of all kinds can be handed to another process."""
    monkeypatch.setattr("bpnet_features.workers.ALONE_SECONDS", 0)
    monkeypatch.setattr("bpnet_features.convert.TASK_BYTES", 1)
    (tmp_path / "release").mkdir()
    path, expected = releases.LAYOUTS[name](tmp_path / "release")
    source = open_features(path, layout=name)
    convert(source, tmp_path / "one.h5", jobs=1)
    convert(source, tmp_path / "two.h5", jobs=2)
    check_store(source, tmp_path / "two.h5", expected)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
