"""A run that was cut off and resumed equals one that was not, bit for bit."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_run
import torch

from bpnet.checkpoint import BEST, LAST, Checkpoint
from bpnet.errors import BPNetError, CheckpointError, ConfigError
from bpnet.training.metrics_log import METRICS
from bpnet.training.run import train
from bpnet.training.state import STATE, TrainingState
from bpnet.training.step import TrainStep

# Four steps an epoch, three epochs, saved every two steps and at the end of each epoch.
SAVED = (2, 4, 6, 8, 10, 12)


class Killed(Exception):
    """Stands for the end of the process."""


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """All files of a folder, with the time of their last change."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def records(run_dir: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run_dir / METRICS).read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def assert_same_run(run_dir: Path, other: Path) -> None:
    """Weights, losses and the state of the optimiser are equal, not only close."""
    for name in (LAST, BEST):
        mine, theirs = Checkpoint.load(run_dir / name), Checkpoint.load(other / name)
        assert mine.tensors.keys() == theirs.tensors.keys()
        for tensor in mine.tensors:
            assert torch.equal(mine.tensors[tensor], theirs.tensors[tensor]), (name, tensor)
        assert mine.training == theirs.training
    assert records(run_dir) == records(other)
    mine_state, theirs_state = TrainingState.load(run_dir), TrainingState.load(other)
    assert mine_state.step == theirs_state.step
    assert torch.equal(mine_state.random["cpu"], theirs_state.random["cpu"])
    for key, moments in mine_state.optimizer["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, theirs_state.optimizer["state"][key][name])


@pytest.fixture(scope="module")
def whole(dataset_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the uninterrupted run."""
    run_dir = tmp_path_factory.mktemp("whole")
    train(tiny_run.config(dataset_root), run_dir)
    return run_dir


def cut_off_after_saving(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    save = TrainingState.save

    def save_and_die(state: TrainingState, path: Path) -> None:
        save(state, path)
        if state.step == step:
            raise Killed

    monkeypatch.setattr(TrainingState, "save", save_and_die)


def cut_off_in_step(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    train_step, calls = TrainStep.__call__, [0]

    def train_or_die(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] == step:
            raise Killed
        return train_step(*args)

    monkeypatch.setattr(TrainStep, "__call__", train_or_die)


def cut_off_before_saving_at_the_end_of_an_epoch(
    monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """After metrics and both checkpoints were written, and before the state was."""
    save = TrainingState.save

    def save_or_die(state: TrainingState, path: Path) -> None:
        if state.step == step:
            raise Killed
        save(state, path)

    monkeypatch.setattr(TrainingState, "save", save_or_die)


CUTS: list[tuple[Callable[[pytest.MonkeyPatch, int], None], int]] = [
    *((cut_off_after_saving, step) for step in SAVED),
    # Step 1 is before anything was saved: resume=auto begins anew. 5 begins an epoch.
    *((cut_off_in_step, step) for step in (1, 5, 8, 12)),
    (cut_off_before_saving_at_the_end_of_an_epoch, 8),
    (cut_off_before_saving_at_the_end_of_an_epoch, 12),
]


@pytest.mark.parametrize(("cut_off", "step"), CUTS)
def test_resumed_run_equals_the_whole_one(
    dataset_root: Path,
    whole: Path,
    tmp_path: Path,
    cut_off: Callable[[pytest.MonkeyPatch, int], None],
    step: int,
) -> None:
    config = tiny_run.config(dataset_root, resume="auto")
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut_off(monkeypatch, step)
        with pytest.raises(Killed):
            train(config, tmp_path)
    torch.manual_seed(99)  # another process has other random states
    train(config, tmp_path)
    assert_same_run(tmp_path, whole)


def test_cut_off_again_and_again(dataset_root: Path, whole: Path, tmp_path: Path) -> None:
    config = tiny_run.config(dataset_root, resume="auto")
    for step in SAVED:
        with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(Killed):
            cut_off_after_saving(monkeypatch, step)
            train(config, tmp_path)
        assert TrainingState.load(tmp_path).step == step
    train(config, tmp_path)
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer__similar_lengths": True},  # other batches than by chance
        {"model__network": "prefix", "model__num_relation_layers": 0},
    ],
    ids=["similar lengths", "prefix"],
)
def test_other_settings_are_resumed(
    dataset_root: Path, whole: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Another run than by default, and the same again after a cut."""
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    train(tiny_run.config(dataset_root, **changes), tmp_path / "whole")
    assert records(tmp_path / "whole") != records(whole)
    config = tiny_run.config(dataset_root, resume="auto", **changes)
    with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(Killed):
        cut_off_in_step(monkeypatch, 7)
        train(config, tmp_path / "cut")
    train(config, tmp_path / "cut")
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


def test_rare_validation_is_resumed(dataset_root: Path, tmp_path: Path) -> None:
    """Between two validations the last one's metrics stand in the checkpoint all the same."""
    changes: dict[str, Any] = {"trainer__max_epochs": 4, "trainer__validate_every": 2}
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    train(tiny_run.config(dataset_root, **changes), tmp_path / "whole")
    config = tiny_run.config(dataset_root, resume="auto", **changes)
    for step in (10, 12):
        with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(Killed):
            cut_off_after_saving(monkeypatch, step)
            train(config, tmp_path / "cut")
    assert Checkpoint.load(tmp_path / "cut" / LAST).training["validation"] is not None
    train(config, tmp_path / "cut")
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


def test_resuming_a_finished_run_changes_nothing(
    dataset_root: Path, whole: Path, tmp_path: Path
) -> None:
    for path in whole.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = content(tmp_path)
    metrics = train(tiny_run.config(dataset_root, resume="auto"), tmp_path)
    assert metrics == records(whole)[-1]["validation"]
    after = content(tmp_path)
    assert {name: text for name, (text, _) in after.items()} == {
        name: text for name, (text, _) in before.items()
    }


@pytest.mark.parametrize("source", [STATE, ""])
def test_resuming_into_another_folder(
    dataset_root: Path, whole: Path, tmp_path: Path, source: str
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(Killed):
        cut_off_after_saving(monkeypatch, 6)
        train(tiny_run.config(dataset_root), first)
    before = content(first)
    train(tiny_run.config(dataset_root, resume=str(first / source)), second)
    assert content(first) == before
    mine = Checkpoint.load(second / LAST).tensors
    theirs = Checkpoint.load(whole / LAST).tensors
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    # The best so far came along: it may have been of a step before the cut.
    best, whole_best = Checkpoint.load(second / BEST), Checkpoint.load(whole / BEST)
    assert best.training == whole_best.training


def test_settings_that_change_no_number_may_change(
    dataset_root: Path, whole: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(Killed):
        cut_off_after_saving(monkeypatch, 6)
        train(tiny_run.config(dataset_root), tmp_path)
    changes: dict[str, Any] = {"trainer__save_every_steps": 3, "trainer__eval_batch_size": 1}
    train(tiny_run.config(dataset_root, resume="auto", **changes), tmp_path)
    mine = Checkpoint.load(tmp_path / LAST).tensors
    theirs = Checkpoint.load(whole / LAST).tensors
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_changed_settings_are_all_listed(dataset_root: Path, whole: Path) -> None:
    before = content(whole)
    config = tiny_run.config(
        dataset_root, resume="auto", seed=1, optim__lr=0.25, trainer__max_epochs=4
    )
    with pytest.raises(ConfigError) as caught:
        train(config, whole)
    for change in ("seed: 0 != 1", "optim.lr: 0.005 != 0.25", "trainer.max_epochs: 3 != 4"):
        assert change in str(caught.value)
    assert "hidden_dim" not in str(caught.value)
    assert content(whole) == before


def test_a_second_run_in_a_folder_is_refused(dataset_root: Path, whole: Path) -> None:
    before = content(whole)
    with pytest.raises(ConfigError, match=r"holds a run already: give resume=auto"):
        train(tiny_run.config(dataset_root), whole)
    assert content(whole) == before


def test_leftovers_of_a_killed_run_are_removed(dataset_root: Path, tmp_path: Path) -> None:
    (tmp_path / f".{LAST}.x1y2.part").write_bytes(b"half")
    train(tiny_run.config(dataset_root, trainer__max_steps=1), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {BEST, LAST, METRICS, STATE}


def test_nothing_to_resume(dataset_root: Path, tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "gone", tmp_path / STATE):
        with pytest.raises(CheckpointError, match=r"no such file; nothing to resume"):
            train(tiny_run.config(dataset_root, resume=str(source)), tmp_path)


def damage(path: Path, kind: str) -> None:
    data = path.read_bytes()
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "text":
            path.write_bytes(b"<html>404</html>")
        case "another object":
            torch.save({"step": 3}, path)
        case "a tensor":
            torch.save(torch.zeros(3), path)
        case "random":
            path.write_bytes(random.Random(0).randbytes(5000))


@pytest.mark.parametrize(
    "kind", ["empty", "truncated", "text", "another object", "a tensor", "random"]
)
@pytest.mark.filterwarnings("default")  # torch may warn of what it cannot read
def test_a_damaged_state(dataset_root: Path, whole: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / STATE).write_bytes((whole / STATE).read_bytes())
    damage(tmp_path / STATE, kind)
    with pytest.raises(CheckpointError, match=r"state\.pt.*damaged"):
        train(tiny_run.config(dataset_root, resume="auto"), tmp_path)


def test_a_state_of_other_annotations(dataset_root: Path, whole: Path, tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes((whole / STATE).read_bytes())
    text = (dataset_root / "annotations.jsonl").read_text().replace("small", "very small")
    (tmp_path / "annotations.jsonl").write_text(text)
    config = tiny_run.config(
        dataset_root, data__annotations=str(tmp_path / "annotations.jsonl"), resume="auto"
    )
    with pytest.raises(BPNetError, match=r"annotations\.jsonl.* holds other queries"):
        train(config, tmp_path)


def test_every_field_of_the_state_is_written(whole: Path) -> None:
    values = torch.load(whole / STATE, weights_only=True)
    assert set(values) == {field.name for field in dataclasses.fields(TrainingState)}


@pytest.mark.slow
# Forking warns where another test has started threads; workers only read.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_workers_change_no_number(dataset_root: Path, whole: Path, tmp_path: Path) -> None:
    """Nor does being cut off with them, or resuming without."""
    config = tiny_run.config(dataset_root, resume="auto")
    for step, num_workers in ((6, 2), (10, 0), (None, 2)):
        trainer = dataclasses.replace(config.trainer, num_workers=num_workers)
        with pytest.MonkeyPatch.context() as monkeypatch:
            if step is None:
                train(dataclasses.replace(config, trainer=trainer), tmp_path)
            else:
                cut_off_after_saving(monkeypatch, step)
                with pytest.raises(Killed):
                    train(dataclasses.replace(config, trainer=trainer), tmp_path)
    assert_same_run(tmp_path, whole)


@pytest.mark.slow
def test_killed_at_random_times(dataset_root: Path, tmp_path: Path) -> None:
    """SIGKILL, several times, then resume=auto until it is done: the same weights and losses."""
    options = {"trainer__max_epochs": 75, "trainer__save_every_steps": 3, "resume": "auto"}

    def start(run_dir: Path) -> subprocess.Popen[bytes]:
        line = tiny_run.overrides(dataset_root, run_dir=str(run_dir), **options)
        return subprocess.Popen(
            [sys.executable, "-m", "bpnet.cli.train", *line],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    began = time.monotonic()
    process, first_step = start(tmp_path / "whole"), None
    while process.poll() is None:
        if first_step is None and (tmp_path / "whole" / STATE).exists():
            first_step = time.monotonic() - began
        time.sleep(0.01)
    total = time.monotonic() - began
    assert process.returncode == 0 and first_step is not None

    seed = random.randrange(10**6)
    print(f"seed {seed}: first step after {first_step:.1f} s, the run takes {total:.1f} s")
    rng = random.Random(seed)
    kills = 0
    for _ in range(20):
        process = start(tmp_path / "cut")
        if kills < 5:
            # From before the first step to long after it, and never past the end.
            limit = rng.uniform(0.7 * first_step, first_step + 0.2 * (total - first_step))
            try:
                process.wait(limit)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
        if process.wait() == 0:
            break
        state = tmp_path / "cut" / STATE
        where = TrainingState.load(state).step if state.exists() else 0
        print(f"killed after {limit:.2f} s, at step {where} or later")
    assert process.returncode == 0
    assert kills >= 2, "the run was over too soon to be killed"
    assert_same_run(tmp_path / "cut", tmp_path / "whole")
