"""Bad and extreme input on its way into training and evaluation.

What a single part does with it stands in that part's own tests: files in ``features/test_store.py``
and ``features/test_check.py``, annotations in ``data/test_annotations.py``, videos and queries at
inference in ``inference/test_localizer.py``, settings and commands in ``cli/``.
"""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tiny_run

from bpnet.checkpoint import BEST
from bpnet.config import EvaluateConfig
from bpnet.errors import AnnotationError, CheckpointError, FeatureError
from bpnet.evaluation.evaluate import evaluate
from bpnet.training.run import train


def write(folder: Path, clips: dict[str, Any], rows: list[dict[str, Any]]) -> Path:
    """A plain feature file, which may hold anything, and annotations; missing fields are sound."""
    with h5py.File(folder / "features.h5", "w") as file:
        for name, array in clips.items():
            file[name] = np.asarray(array, dtype=np.float32)
    with (folder / "annotations.jsonl").open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            sound = {"qid": f"q{number}", "query": "the circle spins", "split": "train"}
            file.write(json.dumps({**sound, "start": 0, "end": 1, "duration": 2, **row}) + "\n")
    return folder


def run(folder: Path, **changes: Any) -> dict[str, float]:
    """Train on it for three steps and validate on the same queries."""
    settings = {
        "data__features__spec": {"backbone": "tiny", "feature_dim": 8},
        "data__validation_split": "train",
        "trainer__batch_size": 2,
        "trainer__max_steps": 3,
    }
    config = tiny_run.config(folder, **{**settings, **changes})
    run_dir = folder / "run"
    run_dir.mkdir()
    metrics = train(config, run_dir)
    assert metrics is not None
    assert all(math.isfinite(value) for value in metrics.values())
    return metrics


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.full((4, 8), np.nan), r"'a'.*NaN or infinite values in 4 of 4 clips"),
        (np.full((4, 8), np.inf), r"'a'.*NaN or infinite"),
        (np.zeros((0, 8)), r"'a'.*(zero clips|at least 1 clip)"),
        (np.zeros((4, 9)), r"'a'.*width 9, the feature spec says 8"),
        (np.zeros(8), r"'a'"),
    ],
)
def test_training_on_bad_features(tmp_path: Path, array: Any, match: str) -> None:
    write(tmp_path, {"a": array}, [{"video_id": "a"}])
    with pytest.raises(FeatureError, match=match):
        run(tmp_path)


def test_videos_of_any_length_train_together(tmp_path: Path) -> None:
    """One clip, two clips (three spans for six proposals), and more than the model has places."""
    clips = {f"v{count}": np.random.default_rng(0).normal(size=(count, 8)) for count in (1, 2, 40)}
    write(tmp_path, clips, [{"video_id": name} for name in clips])
    run(tmp_path)


def test_a_dataset_of_one_clip_each(tmp_path: Path) -> None:
    """Whatever the model answers is the whole video, which is 2 s long; the truth is 1 s of it."""
    write(tmp_path, {"a": np.ones((1, 8))}, [{"video_id": "a"}])
    metrics = run(tmp_path, trainer__batch_size=1, model__refinement_weight=0.0)
    assert (metrics["mIoU"], metrics["R@1,IoU=0.5"], metrics["R@5,IoU=0.7"]) == (50.0, 100.0, 0.0)


def test_equal_features_everywhere(tmp_path: Path) -> None:
    write(tmp_path, {"a": np.zeros((16, 8))}, [{"video_id": "a"}])
    run(tmp_path)


def test_dirty_annotations_are_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"video_id": "a"},
        {"video_id": "a", "start": 1.5, "end": 1.5},
        {"video_id": "a", "start": 1.5, "end": 0.5},
        {"video_id": "a", "start": 1, "end": 2.5},
        {"video_id": "a", "query": "  "},
        {"video_id": "a", "query": "?!"},
    ]
    write(tmp_path, {"a": np.zeros((4, 8))}, rows)
    with caplog.at_level(logging.INFO):
        run(tmp_path)
    assert "jsonl train: 2 of 6 pairs" in caplog.text
    assert "start_not_before_end: 2 dropped" in caplog.text
    assert "end_after_duration: 1 end set to the duration" in caplog.text
    assert "empty_sentence: 2 dropped" in caplog.text
    assert "2 training and 2 validation queries" in caplog.text


def test_nothing_but_dirt(tmp_path: Path) -> None:
    write(tmp_path, {"a": np.zeros((4, 8))}, [{"video_id": "a", "start": 1, "end": 0.5}])
    with pytest.raises(AnnotationError, match=r"no usable pair among 1.*start_not_before_end"):
        run(tmp_path)


def test_a_query_of_500_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"video_id": "a"}, {"video_id": "a", "query": "spins " * 500}]
    write(tmp_path, {"a": np.zeros((4, 8))}, rows)
    with caplog.at_level(logging.WARNING):
        run(tmp_path)
    assert "cut 1 of 2 queries to 12 tokens (data.max_query_tokens)" in caplog.text


def test_evaluating_queries_of_unknown_words(tmp_path: Path) -> None:
    root, run_dir = tiny_run.trained()
    rows = [
        {"video_id": "v0", "query": "xylophone quartz", "split": "test"},
        {"video_id": "v1", "query": "日本語", "split": "test"},
    ]
    write(tmp_path, {}, rows)
    results, predictions = evaluate(
        EvaluateConfig(
            checkpoint=str(run_dir),
            out=str(tmp_path / "out"),
            device="cpu",
            data={
                "features": str(root / "features.h5"),
                "annotations": str(tmp_path / "annotations.jsonl"),
            },
        )
    )
    assert results["num_queries"] == len(predictions) == 2
    assert results["blind"] is None  # there is no training part to fit it on


def test_a_checkpoint_cut_off_anywhere(tmp_path: Path) -> None:
    data = (tiny_run.trained()[1] / BEST).read_bytes()
    file = tmp_path / "model.safetensors"
    for size in np.random.default_rng(0).integers(0, len(data), size=20):
        file.write_bytes(data[:size])
        with pytest.raises(CheckpointError, match=rf"\({size} bytes\): truncated"):
            evaluate(EvaluateConfig(checkpoint=str(file)))
