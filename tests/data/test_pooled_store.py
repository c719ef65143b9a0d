"""A store converted with max_clips holds what pooling when reading gives."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from folder_source import SPEC, Folder, clips

from bpnet.data.dataset import fit_clips
from bpnet_features import FeatureError, FeatureStore
from bpnet_features.convert import convert


@pytest.mark.parametrize("seconds_per_clip", [None, 0.7])
@pytest.mark.parametrize("known", ["never", "when converting", "when reading"])
@pytest.mark.parametrize("max_clips", [1, 2, 4, 7, 20, 21])
def test_pooling_gives_what_pooling_later_gives(
    tmp_path: Path, seconds_per_clip: float | None, known: str, max_clips: int
) -> None:
    """The same clips and the same edges, to the last bit."""
    folder, out = tmp_path / "release", tmp_path / "f.h5"
    folder.mkdir()
    for number in range(10):
        np.save(folder / f"v{number}.npy", clips(number))
    source = Folder(folder, dataclasses.replace(SPEC, seconds_per_clip=seconds_per_clip))
    # The last clip is late in all of them, so that the end of the grid is not uniform.
    durations = {f"v{number}": 0.7 * (3 + 2 * number) - 0.9 for number in range(10)}
    convert(
        source,
        out,
        max_clips=max_clips,
        durations=durations if known == "when converting" else None,
    )
    store = FeatureStore(out)
    for number in range(10):
        video_id = f"v{number}"
        duration = None if known == "never" else durations[video_id]
        if duration is None and seconds_per_clip is None:
            with pytest.raises(FeatureError, match="neither a duration nor a time base"):
                store.grid(video_id)
            continue
        expected, expected_grid = fit_clips(*source.read(video_id, duration), max_clips)
        read, grid = store.read(video_id, duration if known == "when reading" else None)
        assert np.array_equal(read, expected)
        assert np.array_equal(grid.edges_seconds, expected_grid.edges_seconds)
        assert grid.duration_seconds == expected_grid.duration_seconds
        assert np.array_equal(grid.edges_seconds, store.grid(video_id, duration).edges_seconds)
