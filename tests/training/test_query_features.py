"""Precomputed token features in place of words: from training to the Localizer."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tiny_run

from bpnet.checkpoint import Checkpoint
from bpnet.config import EvaluateConfig
from bpnet.errors import CheckpointError, ConfigError, FeatureError
from bpnet.evaluation.evaluate import evaluate
from bpnet.inference.localizer import Localizer
from bpnet.training.run import train
from bpnet_features import FeatureStore

WIDTH = 12


def token_features(query: str) -> npt.NDArray[np.float32]:
    """A direction of its own for every word, and some noise that is the same each time."""
    rows = []
    for word in query.split():
        place = tiny_run.WORDS.index(word) if word in tiny_run.WORDS else 7
        row = np.random.default_rng(len(word)).normal(scale=0.1, size=WIDTH)
        row[place] += 2.0
        rows.append(row)
    return np.array(rows, dtype=np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny dataset, and the token features of its queries."""
    root = tiny_run.write_dataset(tmp_path_factory.mktemp("query_features"))
    (root / "text").mkdir()
    for line in (root / "annotations.jsonl").read_text().splitlines():
        row = json.loads(line)
        array = token_features(row["query"])
        np.savez(root / "text" / f"qid{row['qid']}.npz", last_hidden_state=array)
    return root


def settings(root: Path, **more: Any) -> dict[str, Any]:
    return {
        "data__query_features__path": str(root / "text"),
        "data__query_features__spec": {"backbone": "tiny-text"},
        **more,
    }


@pytest.fixture(scope="module")
def run_dir(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(tiny_run.config(files, **settings(files, trainer__max_epochs=30)), folder)
    return folder


def test_what_the_checkpoint_knows(run_dir: Path) -> None:
    checkpoint = Checkpoint.load(run_dir)
    spec = checkpoint.query_spec
    assert spec is not None and (spec.backbone, spec.feature_dim) == ("tiny-text", WIDTH)
    assert checkpoint.sizes["query_dim"] == WIDTH
    assert not any("words" in name or "characters" in name for name in checkpoint.tensors)


def test_it_learns_and_both_ways_agree(files: Path, run_dir: Path) -> None:
    results, predictions = evaluate(EvaluateConfig(checkpoint=str(run_dir), split="train"))
    assert results["metrics"]["mIoU"] > results["blind_best"]["mIoU"] + 10
    localizer = Localizer.from_pretrained(run_dir, "cpu")
    with FeatureStore(files / "features.h5") as store:
        for prediction in predictions[:4]:
            truth = prediction.annotation
            assert truth is not None
            video = localizer.open_video(store, truth.video_id)
            found = video.localize(token_features(truth.query), top=3)
            for one, other in zip(found, prediction.moments, strict=False):
                assert one.start_seconds == pytest.approx(other.start_seconds, abs=1e-5)
                assert one.score == pytest.approx(other.score, abs=1e-5)


def test_sentences_are_refused_by_such_a_model(files: Path, run_dir: Path) -> None:
    video = Localizer.from_pretrained(run_dir, "cpu").open_video(files / "features.h5", "v0")
    with pytest.raises(ConfigError, match=r"does not read words: give arrays \(L, 12\)"):
        video.localize("the small circle jumps")
    with pytest.raises(ConfigError, match=r"shape \(4, 5\): expected arrays \(L, 12\)"):
        video.localize(np.zeros((4, 5), np.float32))
    with pytest.raises(ConfigError, match="NaN or infinite"):
        video.localize([np.full((4, WIDTH), np.nan)])


def test_arrays_are_refused_by_a_model_of_words() -> None:
    root, run_dir = tiny_run.trained()
    video = Localizer.from_pretrained(run_dir, "cpu").open_video(root / "features.h5", "v0")
    with pytest.raises(ConfigError, match="the model reads words"):
        video.localize(np.zeros((4, WIDTH), np.float32))


def test_other_features_are_refused(files: Path, run_dir: Path) -> None:
    changed = {"path": str(files / "text"), "spec": {"backbone": "bert"}}
    config = EvaluateConfig(checkpoint=str(run_dir), data={"query_features": changed})
    with pytest.raises(CheckpointError, match="backbone: 'tiny-text' != 'bert'"):
        evaluate(config)


def test_missing_queries(
    files: Path, run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    part = tmp_path / "text"
    part.mkdir()
    for file in sorted((files / "text").iterdir()):
        if file.name != "qidq23.npz":  # one of the test part
            (part / file.name).write_bytes(file.read_bytes())
    moved = {"path": str(part), "spec": {"backbone": "tiny-text"}}
    config = EvaluateConfig(
        checkpoint=str(run_dir), out=str(tmp_path / "out"), data={"query_features": moved}
    )
    with pytest.raises(FeatureError, match=r"1 of the queries are not in .*: q23"):
        evaluate(config)
    config = dataclasses.replace(config, data={**config.data, "missing": "drop"})
    with caplog.at_level(logging.WARNING):
        results, _ = evaluate(config)
    assert results["num_dropped"]["missing_query_features"] == 1
    assert "0 videos and 1 queries have no features" in caplog.text


def test_long_queries_are_cut_and_counted(
    files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_run.config(
        files, **settings(files, data__max_query_tokens=3, trainer__max_steps=1)
    )
    with caplog.at_level(logging.WARNING):
        train(config, tmp_path)
    assert "cut 16 of 16 queries to 3 tokens" in caplog.text
