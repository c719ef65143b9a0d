"""The optional TensorBoard log, read back by TensorBoard itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_run

from bpnet.training.metrics_log import METRICS
from bpnet.training.run import train


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # TensorBoard's own dependencies warn
def test_metrics_reach_tensorboard(dataset_root: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(tiny_run.config(dataset_root, trainer__tensorboard=True), tmp_path)
    board = accumulator.EventAccumulator(str(tmp_path))
    board.Reload()
    records = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    losses = [(r["step"], r["total"]) for r in records if "validation" not in r]
    scores = [(r["step"], r["validation"]["mIoU"]) for r in records if "validation" in r]
    shown = [(e.step, pytest.approx(e.value, rel=1e-5)) for e in board.Scalars("train/total")]
    assert losses == shown
    shown = [(e.step, pytest.approx(e.value, rel=1e-5)) for e in board.Scalars("validation/mIoU")]
    assert scores == shown
