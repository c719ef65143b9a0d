"""A run without timestamps: what it sees, what it learns, and that it goes on where it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_run
import torch

from bpnet.build import build_from_checkpoint
from bpnet.checkpoint import BEST, LAST, Checkpoint
from bpnet.config import EvaluateConfig, TrainConfig
from bpnet.errors import AnnotationError, ConfigError
from bpnet.evaluation.evaluate import evaluate
from bpnet.models.bpnet import BPNet
from bpnet.ranks import Ranks
from bpnet.training.run import train
from bpnet.training.state import STATE, TrainingState
from bpnet.training.step import TrainStep
from bpnet.weak import rounds, teach
from bpnet.weak.pairs import read_weak_parts
from bpnet.weak.rounds import check_rounds, train_weakly
from bpnet.weak.run import SHOWN


def config(root: Path, **changes: Any) -> TrainConfig:
    """Two short rounds."""
    settings = {
        "data__max_clips": 24,
        "model__characters": False,
        "supervision__kind": "weak",
        "supervision__teacher_epochs": 3,
        "supervision__teacher_batch_size": 32,
        "trainer__batch_size": 16,
        "trainer__calibrate": False,
        "trainer__max_epochs": 2,
        "trainer__save_every_steps": 4,
    }
    return tiny_run.config(root, **settings | changes)


def same_run(one: Path, other: Path) -> None:
    """Bit for bit the same checkpoints, and the same report."""
    for name in (BEST, LAST):
        mine, theirs = Checkpoint.load(one / name), Checkpoint.load(other / name)
        for tensor in mine.tensors:
            assert torch.equal(mine.tensors[tensor], theirs.tensors[tensor]), (name, tensor)
        assert mine.training == theirs.training
    assert (one / rounds.REPORT).read_text() == (other / rounds.REPORT).read_text()


@pytest.fixture(scope="module")
def whole(weak_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("whole")
    train_weakly(config(weak_root), run_dir)
    return run_dir


def changed_rows(root: Path, to: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    """A copy of the dataset with other rows in its training part."""
    shutil.copy(root / "features.h5", to / "features.h5")
    rows = [json.loads(line) for line in (root / "annotations.jsonl").read_text().splitlines()]
    rows = [change(row) if row["split"] == "train" else row for row in rows]
    (to / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return to


def other_times(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"start": 11.0, "end": 12.0}


def no_times(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("start", "end")}


@pytest.mark.parametrize("change", [other_times, no_times])
def test_moments_of_the_training_part_are_not_used(
    weak_root: Path,
    whole: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "run").mkdir()
    root = changed_rows(weak_root, tmp_path / "data", change)
    train_weakly(config(root), tmp_path / "run")
    for name in (BEST, LAST):
        mine, theirs = Checkpoint.load(tmp_path / "run" / name), Checkpoint.load(whole / name)
        assert all(torch.equal(mine.tensors[key], theirs.tensors[key]) for key in theirs.tensors)
    assert (whole / rounds.REPORT).read_text() == (tmp_path / "run" / rounds.REPORT).read_text()


def test_no_training_batch_of_a_teacher_has_a_moment(
    weak_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, seen = teach._step, []

    def watched(teacher: Any, batch: Any, *args: Any) -> Any:
        seen.append(batch)
        return step(teacher, batch, *args)

    monkeypatch.setattr(teach, "_step", watched)
    train_weakly(config(weak_root, supervision__rounds=1, trainer__max_steps=1), tmp_path)
    assert len(seen) == 3 * 5  # 144 sentences in batches of 32
    for batch in seen:
        assert batch.target_spans is None and batch.target_cells is None
        assert all(sample.annotation is sample.target_span is None for sample in batch.samples)


Cut = Callable[[pytest.MonkeyPatch], None]


class Killed(Exception):
    """Stands for the end of the process."""


def after_saving(folder: str, step: int) -> Cut:
    def cut(monkeypatch: pytest.MonkeyPatch) -> None:
        save = TrainingState.save

        def save_and_die(state: TrainingState, path: Path) -> None:
            save(state, path)
            if (path.parent.name, state.step) == (folder, step):
                raise Killed

        monkeypatch.setattr(TrainingState, "save", save_and_die)

    return cut


def in_step(number: int) -> Cut:
    def cut(monkeypatch: pytest.MonkeyPatch) -> None:
        train_step, calls = TrainStep.__call__, [0]

        def train_or_die(*args: Any) -> Any:
            calls[0] += 1
            if calls[0] == number:
                raise Killed
            return train_step(*args)

        monkeypatch.setattr(TrainStep, "__call__", train_or_die)

    return cut


def before_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*args: Any) -> None:
        raise Killed

    monkeypatch.setattr(rounds, "write_labels", die)


@pytest.mark.parametrize(
    "cut",
    [
        after_saving("teacher_evidence", 5),
        in_step(18 + 7),  # the second student's seventh
        *(
            pytest.param(cut, marks=pytest.mark.slow)
            for cut in (
                after_saving("teacher_evidence", 15),
                before_labels,
                in_step(1),
                after_saving("student_1", 8),
                after_saving("student_1", 18),
                after_saving("student_2", 18),
            )
        ),
    ],
)
def test_resumed_run_equals_the_whole_one(
    weak_root: Path, whole: Path, tmp_path: Path, cut: Cut
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch)
        with pytest.raises(Killed):
            train_weakly(config(weak_root), tmp_path)
    torch.manual_seed(99)  # another process has other random states
    train_weakly(config(weak_root, resume="auto"), tmp_path)
    same_run(tmp_path, whole)


def test_learns_to_localize_from_sentences_alone(weak_root: Path, tmp_path: Path) -> None:
    """Far more than without looking, and its checkpoint is evaluated as any other."""
    settings = config(
        weak_root,
        supervision__teacher_epochs=25,
        supervision__rounds=1,
        optim__lr=0.005,
        trainer__max_epochs=10,
        trainer__validate_every=5,
        model__hidden_dim=32,
    )
    report = train_weakly(settings, tmp_path)
    assert report["teachers"]["evidence"]["validation"]["R@1,IoU=0.5"] >= 70
    results, _ = evaluate(EvaluateConfig(checkpoint=str(tmp_path), device="cpu"))
    found, blind = results["metrics"]["mIoU"], results["blind_best"]["mIoU"]
    assert found > blind + 20, (found, blind)


def test_the_checkpoint_is_an_ordinary_one(weak_root: Path, whole: Path, tmp_path: Path) -> None:
    """The same tensors, names and metadata as of a run with moments."""
    train(config(weak_root, supervision__kind="full", trainer__max_steps=1), tmp_path)
    weak, full = Checkpoint.load(whole), Checkpoint.load(tmp_path)
    for part in ("model", "sizes", "vocabulary", "data"):
        assert getattr(weak, part) == getattr(full, part)
    assert weak.training.keys() == full.training.keys()
    assert weak.metadata().keys() == full.metadata().keys()
    shapes = {name: tensor.shape for name, tensor in full.tensors.items()}
    assert {name: tensor.shape for name, tensor in weak.tensors.items()} == shapes
    assert isinstance(build_from_checkpoint(weak)[0], BPNet)
    for name in (BEST, LAST):
        report = json.loads((whole / rounds.REPORT).read_text())
        student = whole / f"student_{report['chosen']}"
        assert (whole / name).read_bytes() == (student / name).read_bytes()


def test_labelled_validation_is_small_and_told(weak_root: Path, whole: Path) -> None:
    parts = read_weak_parts(config(weak_root))
    assert len({one.video_id for one in parts.validation}) == 2  # 5 % of 48 training videos
    report = json.loads((whole / rounds.REPORT).read_text())
    assert report["labelled_validation_pairs"] == len(parts.validation) == 6
    assert report["labelled_training_pairs"] == 0
    assert [one["round"] for one in report["rounds"]] == [1, 2][: len(report["rounds"])]
    assert set(report["rounds"][0]["pseudo"]) == set(SHOWN)


def test_mixed_keeps_the_moments_of_a_few_videos(weak_root: Path, tmp_path: Path) -> None:
    settings = config(
        weak_root,
        supervision__kind="mixed",
        supervision__labelled_fraction=0.25,
        supervision__rounds=1,
        trainer__max_steps=2,
    )
    parts = read_weak_parts(settings)
    assert len({one.video_id for one in parts.labelled.values()}) == 12  # of 48
    report = train_weakly(settings, tmp_path)
    assert report["labelled_training_pairs"] == len(parts.labelled) == 36
    pairs, weights = rounds.read_labels(tmp_path / "student_1" / rounds.LABELS)
    known = [pair for pair in pairs if pair.qid in parts.labelled]
    assert [parts.labelled[pair.qid] for pair in known] == known
    assert {weights[pair.qid] for pair in known} == {max(weights.values())}
    assert sum(weights.values()) / len(weights) == pytest.approx(1)


def test_carved_validation_is_found_again(weak_root: Path, tmp_path: Path) -> None:
    settings = config(
        weak_root,
        data__validation_split=None,
        data__validation_fraction=0.04,
        supervision__rounds=1,
        trainer__max_steps=2,
    )
    report = train_weakly(settings, tmp_path)
    assert report["labelled_validation_pairs"] == 6
    evaluate(EvaluateConfig(checkpoint=str(tmp_path), split="validation", device="cpu"))


def test_without_validation(weak_root: Path, tmp_path: Path) -> None:
    settings = config(
        weak_root,
        data__validation_split=None,
        data__validation_fraction=0,
        trainer__max_steps=2,
    )
    report = train_weakly(settings, tmp_path)
    assert report["validation"] is None and report["chosen"] == 2
    assert report["teachers"]["evidence"] == {"extent": 0.5, "validation": None}
    assert (tmp_path / LAST).is_file() and not (tmp_path / BEST).exists()


def test_several_teachers(weak_root: Path, tmp_path: Path) -> None:
    settings = config(
        weak_root,
        supervision__teachers=["evidence", "mil", "gaussian"],
        supervision__pool={"min_videos": 4, "min_without": 1},
        supervision__gaussian={"num_masks": 2, "dim": 16, "num_heads": 2, "num_layers": 1},
        trainer__max_steps=2,
    )
    report = train_weakly(settings, tmp_path)
    assert set(report["teachers"]) == {"evidence", "mil", "gaussian"}
    assert (tmp_path / "teacher_gaussian" / STATE).is_file()


def test_a_worse_round_is_not_chosen(
    weak_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, falling = rounds.train, iter([50.0, 40.0])

    def spoiled(config: Any, folder: Path, **options: Any) -> None:
        train(config, folder, **options)
        for name in (BEST, LAST):
            checkpoint = Checkpoint.load(folder / name)
            if name == BEST:
                checkpoint.training["validation"]["mIoU"] = next(falling)
            checkpoint.save(folder / name)

    monkeypatch.setattr(rounds, "train", spoiled)
    report = train_weakly(config(weak_root, supervision__rounds=3, trainer__max_steps=1), tmp_path)
    assert report["chosen"] == 1 and len(report["rounds"]) == 2
    assert (tmp_path / BEST).read_bytes() == (tmp_path / "student_1" / BEST).read_bytes()
    assert not (tmp_path / "student_3").exists()


def test_what_is_refused(weak_root: Path, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds a run already: give resume=auto"):
        check_rounds(config(weak_root), whole)
    with pytest.raises(ConfigError, match=r"supervision.rounds: 2 != 3"):
        check_rounds(config(weak_root, supervision__rounds=3, resume="auto"), whole)
    with pytest.raises(ConfigError, match=r"resume='elsewhere'.*expected auto"):
        check_rounds(config(weak_root, resume="elsewhere"), tmp_path)
    with pytest.raises(ConfigError, match=r"in 2 processes: expected one"):
        train_weakly(config(weak_root), tmp_path, Ranks(0, 2))
    with pytest.raises(ConfigError, match=r"model.proposer='dense'.*expected 'span'"):
        train_weakly(config(weak_root, model__proposer="dense"), tmp_path)
    with pytest.raises(ConfigError, match=r"'supervision.pool.x'"):
        check_rounds(config(weak_root, supervision__pool={"x": 1}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_video_cannot_be_told_from_another(weak_root: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "run").mkdir()

    def one_video(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"video_id": "v1"}

    root = changed_rows(weak_root, tmp_path / "data", one_video)
    with pytest.raises(ConfigError, match=r"all 144 training sentences are about the video 'v1'"):
        train_weakly(config(root), tmp_path / "run")


def test_nothing_is_carved_out_of_sentences_alone(weak_root: Path, tmp_path: Path) -> None:
    root = changed_rows(weak_root, tmp_path, no_times)
    options = {"data__validation_split": None, "data__validation_fraction": 0.1}
    parts = read_weak_parts(config(root, **options))
    assert (len(parts.queries), parts.validation) == (144, [])
    with pytest.raises(AnnotationError, match=r"none of the 144 training sentences has a moment"):
        read_weak_parts(config(root, supervision__kind="mixed"))


def test_some_rows_may_have_moments(weak_root: Path, tmp_path: Path) -> None:
    def of_two_videos(row: dict[str, Any]) -> dict[str, Any]:
        return row if row["video_id"] in ("v1", "v2") else no_times(row)

    root = changed_rows(weak_root, tmp_path, of_two_videos)
    options = {"supervision__kind": "mixed", "supervision__labelled_fraction": 1}
    parts = read_weak_parts(config(root, **options))
    assert len(parts.queries) == 144
    assert {one.video_id for one in parts.labelled.values()} == {"v1", "v2"}


def test_sentences_without_words(weak_root: Path, tmp_path: Path) -> None:
    root = changed_rows(weak_root, tmp_path, lambda row: row | {"query": "..."})
    with pytest.raises(AnnotationError, match=r"none of its 144 queries of split 'train' has a"):
        read_weak_parts(config(root))
