"""The annotation files as the datasets publish them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpnet.data.annotations import read_annotations


@pytest.mark.shared
@pytest.mark.parametrize(
    ("dataset", "folder", "split", "num_pairs", "num_kept", "num_videos", "clamped", "dropped"),
    [
        # Counts of the files themselves, counted apart from this reader.
        ("charades_sta", "charades_sta", "train", 12408, 12408, 5338, 1802, 0),
        ("charades_sta", "charades_sta/original", "train", 12408, 12404, 5336, 1802, 4),
        ("charades_sta", "charades_sta", "test", 3720, 3720, 1334, 562, 0),
        ("tacos", "tacos", "train", 9790, 9790, 75, 43, 0),
        ("tacos", "tacos", "val", 4436, 4436, 27, 0, 0),
        ("tacos", "tacos", "test", 4001, 4001, 25, 5, 0),
        ("activitynet", "activitynet_captions", "train", 37421, 37417, 10009, 261, 4),
        ("activitynet", "activitynet_captions", "val_1", 17505, 17505, 4917, 134, 0),
        ("activitynet", "activitynet_captions", "val_2", 17031, 17031, 4885, 111, 0),
    ],
)
def test_published_files(
    shared_dir: Path,
    dataset: str,
    folder: str,
    split: str,
    num_pairs: int,
    num_kept: int,
    num_videos: int,
    clamped: int,
    dropped: int,
) -> None:
    path = shared_dir / "data" / "annotations" / folder
    annotations, report = read_annotations(dataset, path, split)
    assert len(annotations) == num_kept
    assert (report.num_pairs, report.num_kept, report.num_videos) == (
        num_pairs,
        num_kept,
        num_videos,
    )
    assert report.counts["end_after_duration"] == clamped
    assert report.counts["start_not_before_end"] == dropped
    if dataset == "charades_sta" and split == "train":
        assert ("original" if "original" in folder else "repaired") in report.notes[0]
