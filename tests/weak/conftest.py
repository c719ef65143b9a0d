"""A small dataset whose moments can be found from sentences alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bpnet_features import FeatureSpec, FeatureWriter

SPEC = FeatureSpec(backbone="tiny", feature_dim=16, seconds_per_clip=0.5, normalisation="none")
WORDS = (
    "jumps spins slides blinks falls turns opens closes sings waves rolls climbs sits stands runs"
).split()


def write_weak_dataset(root: Path, num_videos: int = 60) -> Path:
    """Videos of 24 clips, 16 wide, with three events each, of fifteen words' directions.

    Four fifths of the videos train; the others are val and test in turn.
    """
    directions = np.random.default_rng(99).normal(size=(len(WORDS), 16))
    rows = []
    with FeatureWriter(root / "features.h5", SPEC) as writer:
        for number in range(num_videos):
            rng = np.random.default_rng(number)
            clips = rng.normal(scale=0.3, size=(24, 16))
            split = "train" if number % 5 else ("val", "test")[number // 5 % 2]
            for part, word in enumerate(rng.choice(len(WORDS), 3, replace=False)):
                start = 8 * part + int(rng.integers(0, 3))
                end = start + int(rng.integers(3, 7))
                clips[start : min(end, 8 * part + 8)] += directions[word]
                rows.append(
                    {
                        "qid": f"q{len(rows)}",
                        "video_id": f"v{number}",
                        "query": f"the small circle {WORDS[word]}",
                        "start": start / 2,
                        "end": min(end, 8 * part + 8) / 2,
                        "duration": 12.0,
                        "split": split,
                    }
                )
            writer.add(f"v{number}", clips.astype(np.float32), duration_seconds=12.0)
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (root / "annotations.jsonl").write_text(lines, encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def weak_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of that dataset; nothing may write into it."""
    return write_weak_dataset(tmp_path_factory.mktemp("weak_dataset"))
