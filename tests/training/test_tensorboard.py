"""The optional TensorBoard log, read back by TensorBoard itself."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tiny_run
import torch
from PIL import Image

from bpnet.checkpoint import BEST, Checkpoint
from bpnet.errors import ConfigError
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


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_answers_are_drawn_at_each_validation(dataset_root: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    pytest.importorskip("matplotlib")
    folders = {}
    for figures in (0, 2):
        folders[figures] = tmp_path / str(figures)
        folders[figures].mkdir()
        changes = {"trainer__tensorboard": True, "trainer__figures": figures}
        train(tiny_run.config(dataset_root, **changes), folders[figures])
    board = accumulator.EventAccumulator(str(folders[2]), size_guidance={"images": 0})
    board.Reload()
    records = [json.loads(line) for line in (folders[2] / METRICS).read_text().splitlines()]
    steps = [record["step"] for record in records if "validation" in record]
    assert len(steps) == 3
    names = board.Tags()["images"]
    # The first and the last of the four queries of the part.
    assert names == ["answers/q16", "answers/q19"]
    for name in names:
        drawn = board.Images(name)
        assert [one.step for one in drawn] == steps
        assert len({one.encoded_image_string for one in drawn}) > 1  # the answers change
        image = np.asarray(Image.open(io.BytesIO(drawn[-1].encoded_image_string)))
        assert image.shape[1] == 792 and image.std() > 10
    # They change no number.
    plain, drawing = (Checkpoint.load(folder / BEST).tensors for folder in folders.values())
    assert all(torch.equal(tensor, drawing[name]) for name, tensor in plain.items())


def test_figures_without_tensorboard_are_refused(dataset_root: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer.figures=2: .* trainer.tensorboard=true"):
        tiny_run.config(dataset_root, trainer__figures=2)
