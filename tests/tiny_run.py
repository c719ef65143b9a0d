"""A tiny learnable dataset and runs on it, for the tests of training, inference and commands.

Twelve videos of 16 clips (two have 12), eight wide. A video shows two events at different times;
each word of `WORDS` has a direction of its own in the features, so that the sentence decides which
of the two is meant.
"""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bpnet.config import TrainConfig
from bpnet.settings import from_dict
from bpnet_features import FeatureSpec, FeatureWriter

SPEC = FeatureSpec(backbone="tiny", feature_dim=8, seconds_per_clip=0.5, normalisation="none")
WORDS = ("jumps", "spins", "slides", "blinks")
# Two words about each video, in order of time.
PAIRS = ((0, 1), (2, 3), (1, 0), (3, 2), (0, 2), (1, 3), (2, 0), (3, 1), (0, 3), (2, 1), (1, 2))

# Small, with dropout, so that a resumed run has random states to restore.
SETTINGS = {
    "data.validation_split": "val",
    "data.max_clips": 16,
    "data.max_query_tokens": 12,
    "model.hidden_dim": 16,
    "model.num_heads": 2,
    "model.num_conv_layers": 1,
    "model.word_dim": 12,
    "model.char_dim": 4,
    "model.num_proposals": 12,
    "model.boundary_weight": 2.0,
    "model.highlight_weight": 3.0,
    "model.matching_weight": 10.0,
    "optim.lr": 0.005,
    "trainer.batch_size": 5,
    "trainer.max_epochs": 3,
    "trainer.save_every_steps": 2,
    "trainer.device": "cpu",
}


def write_dataset(root: Path, num_videos: int = 12) -> Path:
    """Write ``features.h5`` and ``annotations.jsonl``: 2/3 of the videos train, 1/6 val, 1/6 test.

    Args:
        root: A folder.
        num_videos: Number of videos, each with two sentences; all train where it is below 6.

    Returns:
        The folder.
    """
    rows = []
    with FeatureWriter(root / "features.h5", SPEC) as writer:
        for number in range(num_videos):
            rng = np.random.default_rng(number)
            num_clips = 12 if number % 6 == 3 else 16
            clips = rng.normal(scale=0.1, size=(num_clips, 8))
            middle = num_clips // 2 + int(rng.integers(-2, 3))
            words = PAIRS[number % len(PAIRS)]
            for word, low, high in zip(words, (0, middle), (middle, num_clips), strict=True):
                start = int(rng.integers(low, low + 2))
                end = int(rng.integers(high - 2, high + 1))
                clips[start:end, word] += 2.0
                part = number * 6 // num_videos
                split = "train" if num_videos < 6 or part < 4 else ("val", "test")[part - 4]
                rows.append(
                    {
                        "qid": f"q{len(rows)}",
                        "video_id": f"v{number}",
                        "query": f"the small circle {WORDS[word]}",
                        "start": start / 2,
                        "end": end / 2,
                        "duration": num_clips / 2,
                        "split": split,
                    }
                )
            writer.add(f"v{number}", clips.astype(np.float32), duration_seconds=num_clips / 2)
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (root / "annotations.jsonl").write_text(lines, encoding="utf-8")
    return root


def overrides(root: Path, **changes: Any) -> list[str]:
    """The command line of a tiny run; ``trainer__max_steps=3`` stands for ``trainer.max_steps=3``.

    Args:
        root: Folder of the dataset.
        changes: Further settings.

    Returns:
        Hydra overrides.
    """
    return ["data=jsonl", *(f"{k}={v}" for k, v in _settings(root, changes).items())]


def config(root: Path, **changes: Any) -> TrainConfig:
    """The config of a tiny run, see `overrides`."""
    values: dict[str, Any] = {group: {} for group in ("data", "model", "optim", "trainer")}
    for key, value in {"data.dataset": "jsonl", **_settings(root, changes)}.items():
        *groups, name = key.split(".")
        inner = values
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = value
    return from_dict(TrainConfig, values)


def _settings(root: Path, changes: dict[str, Any]) -> dict[str, Any]:
    files = {
        "data.features.path": str(root / "features.h5"),
        "data.annotations": str(root / "annotations.jsonl"),
    }
    return {**files, **SETTINGS, **{k.replace("__", "."): v for k, v in changes.items()}}


@functools.cache
def trained() -> tuple[Path, Path]:
    """A dataset and the folder of a run on it, long enough to have learned; made once a session.

    Returns:
        Both folders; nothing may be written into them.
    """
    from bpnet.training.run import train

    # Kept until the process ends: several folders of tests share it.
    holder = tempfile.TemporaryDirectory(prefix="bpnet-tests-")
    _HOLDERS.append(holder)
    root, run_dir = Path(holder.name) / "data", Path(holder.name) / "run"
    root.mkdir()
    run_dir.mkdir()
    write_dataset(root)
    train(config(root, trainer__max_epochs=8, trainer__save_every_steps=100), run_dir)
    return root, run_dir


_HOLDERS: list[tempfile.TemporaryDirectory[str]] = []
