"""Several batches an optimiser step: their mean loss; schedule and resume count such steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_run
import torch

from bpnet.checkpoint import LAST, Checkpoint
from bpnet.errors import ConfigError
from bpnet.training.loop import num_steps
from bpnet.training.metrics_log import METRICS
from bpnet.training.run import train
from bpnet.training.state import TrainingState

# What is left is a mean over pairs; the other losses are means over clips, spans or pairs of pairs.
OVER_PAIRS: dict[str, Any] = {
    "model__dropout": 0.0,
    "model__stage_two": False,
    "model__overlap_weight": 0.0,
    "model__contrast_weight": 0.0,
    "model__highlight_weight": 0.0,
    "trainer__calibrate": False,
}


def losses(run_dir: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run_dir / METRICS).read_text().splitlines()]
    return [line for line in lines if "validation" not in line]


# 16 queries: 8 + 8, or 4 + 4 and 4 + 4. And 6 + 6 + 4, or 3 + 3, 3 + 3 and 3 + 1.
@pytest.mark.parametrize(("whole", "size", "accumulate"), [(8, 4, 2), (6, 3, 2), (8, 2, 4)])
def test_as_one_batch(
    dataset_root: Path, tmp_path: Path, whole: int, size: int, accumulate: int
) -> None:
    found = []
    for name, batch, count in (("whole", whole, 1), ("parts", size, accumulate)):
        (tmp_path / name).mkdir()
        changes = {"trainer__batch_size": batch, "trainer__accumulate": count}
        train(tiny_run.config(dataset_root, **OVER_PAIRS, **changes), tmp_path / name)
        found.append(losses(tmp_path / name))
        assert TrainingState.load(tmp_path / name).step == 3 * -(-16 // whole)
    for one, other in zip(*found, strict=True):
        for name in ("step", "epoch", "lr", "boundary", "total"):
            assert one[name] == pytest.approx(other[name], rel=1e-5)


def test_steps_are_those_of_the_optimiser() -> None:
    def steps(**changes: Any) -> int:
        return num_steps(tiny_run.config(Path(), **changes), 16)

    # Four batches of five, the last one smaller: 2 steps of two, or one of three and one of one.
    assert steps(trainer__accumulate=2) == 6
    assert steps(trainer__accumulate=3) == 6
    assert steps(trainer__accumulate=100) == 3
    assert steps(trainer__accumulate=3, trainer__max_steps=5) == 5


def test_resumed_bit_for_bit(
    dataset_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    changes: dict[str, Any] = {
        "trainer__batch_size": 3,
        "trainer__accumulate": 2,
        "trainer__save_every_steps": 1,
        "trainer__calibrate": False,
    }
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    train(tiny_run.config(dataset_root, **changes), tmp_path / "whole")
    config = tiny_run.config(dataset_root, resume="auto", **changes)
    save = TrainingState.save

    def save_and_die(state: TrainingState, path: Path) -> None:
        save(state, path)
        if state.step == 5:  # in the middle of the second epoch of three steps
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(TrainingState, "save", save_and_die)
        train(config, tmp_path / "cut")
    train(config, tmp_path / "cut")
    mine, theirs = (Checkpoint.load(tmp_path / name / LAST).tensors for name in ("cut", "whole"))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.accumulate=0: expected"):
        tiny_run.config(Path(), trainer__accumulate=0)
