"""Several stores joined hold what they held, and nothing is lost on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bpnet_features import FeatureSpec, FeatureStore, FeatureWriter
from bpnet_features.errors import FeatureError
from bpnet_features.join import join_stores

SPEC = FeatureSpec("made-up", 3, seconds_per_clip=2.0)


def write(path: Path, lengths: dict[str, int], spec: FeatureSpec = SPEC) -> Path:
    rng = np.random.default_rng(len(lengths))
    with FeatureWriter(path, spec, "float16") as writer:
        for name, length in lengths.items():
            clips = rng.normal(size=(length, spec.feature_dim))
            writer.add(name, clips, 2.0 * length - 0.5, stride_seconds=1.9, start_seconds=0.1)
    return path


def test_all_videos_are_there_as_they_were(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    parts = [
        write(folder / "000000.h5", {"b": 4, "a": 1}),
        write(folder / "000001.h5", {"c": 2}),
    ]
    last = write(tmp_path / "last.h5", {"d": 7})
    assert join_stores([folder, last], tmp_path / "all.h5") == 4
    with FeatureStore(tmp_path / "all.h5") as joined:
        assert joined.spec == SPEC
        assert joined.video_ids() == ["a", "b", "c", "d"]
        for path in [*parts, last]:
            with FeatureStore(path) as part:
                for name in part.video_ids():
                    assert joined.entry(name) == part.entry(name)
                    np.testing.assert_array_equal(joined.read_clips(name), part.read_clips(name))


def test_what_cannot_be_joined(tmp_path: Path) -> None:
    one = write(tmp_path / "one.h5", {"a": 2})
    again = write(tmp_path / "again.h5", {"a": 3})
    other = write(tmp_path / "other.h5", {"b": 2}, FeatureSpec("made-up", 4, seconds_per_clip=2.0))
    out = tmp_path / "out.h5"
    with pytest.raises(FeatureError, match=r"video .a.: is in .* already"):
        join_stores([one, again], out)
    with pytest.raises(FeatureError, match="feature_dim"):
        join_stores([one, other], out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FeatureError, match="no store to join"):
        join_stores([tmp_path / "empty"], out)
    assert not out.exists()
    with pytest.raises(FeatureError, match=r"one.h5' is there already"):
        join_stores([again], one)
