"""Calibration in a run: in the checkpoint, after a kill, in evaluation and in the Localizer."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import tiny_run
import torch
from safetensors import safe_open

from bpnet import Localizer
from bpnet.build import build_from_checkpoint
from bpnet.checkpoint import BEST, LAST, Checkpoint
from bpnet.config import EvaluateConfig
from bpnet.errors import CheckpointError, ConfigError
from bpnet.evaluation.calibration import Calibration
from bpnet.evaluation.evaluate import evaluate
from bpnet.evaluation.table import format_table
from bpnet.report import write_evaluation_report
from bpnet.training import calibrate, run
from bpnet.training.run import train


@pytest.fixture(scope="module")
def trained() -> tuple[Path, Path]:
    return tiny_run.trained()


def test_it_is_kept_in_the_best_checkpoint(trained: tuple[Path, Path]) -> None:
    values = Checkpoint.load(trained[1] / BEST).calibration
    assert values is not None and set(values) == {"slope", "intercept", "least_score"}
    assert Calibration.from_dict(values).to_dict() == values
    assert Checkpoint.load(trained[1] / LAST).calibration is None


def test_round_trip(trained: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint = Checkpoint.load(trained[1])
    chosen = dataclasses.replace(checkpoint, calibration={"slope": 0.1 + 0.2, "intercept": -1e-17})
    chosen.save(tmp_path / "a.safetensors")
    assert Checkpoint.load(tmp_path / "a.safetensors").calibration == chosen.calibration
    # A file from before there was calibration.
    dataclasses.replace(checkpoint, calibration=None).save(tmp_path / "b.safetensors")
    with safe_open(tmp_path / "b.safetensors", framework="pt") as opened:
        assert "calibration" not in opened.metadata()
    assert Checkpoint.load(tmp_path / "b.safetensors").calibration is None


def test_a_damaged_entry(trained: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint = Checkpoint.load(trained[1])
    dataclasses.replace(checkpoint, calibration={"slope": -1, "intercept": 0}).save(tmp_path / BEST)
    for use in (
        lambda: Localizer.from_pretrained(tmp_path, device="cpu"),
        lambda: evaluate(EvaluateConfig(checkpoint=str(tmp_path))),
    ):
        with pytest.raises(CheckpointError, match=r"calibration with slope -1\.0"):
            use()


def test_the_localizer_says_what_evaluation_says(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    root, run_dir = trained
    config = EvaluateConfig(checkpoint=str(run_dir), split="test", out=str(tmp_path))
    _, predictions = evaluate(config)
    localizer = Localizer.from_pretrained(run_dir, device="cpu")
    calibration = Calibration.from_dict(Checkpoint.load(run_dir).calibration)
    assert calibration is not None
    for prediction in predictions:
        truth = prediction.annotation
        assert truth is not None
        moments = localizer.open_video(root / "features.h5", truth.video_id).localize(truth.query)
        for found, expected in zip(moments, prediction.moments, strict=False):
            assert found.probability == pytest.approx(expected.probability, abs=1e-5)
            assert found.probability == pytest.approx(
                float(calibration.probabilities(found.score)), abs=1e-12
            )
        chances = [one.probability for one in prediction.moments]
        assert chances == sorted(chances, reverse=True)
        assert {one.probability for one in prediction.stage_one} == {None}
    line = json.loads((tmp_path / "predictions.jsonl").read_text().splitlines()[0])
    assert line["moments"][0]["probability"] == predictions[0].moments[0].probability
    assert "probability" not in line["stage_one"][0]


def test_without_it_moments_have_no_probability(trained: tuple[Path, Path], tmp_path: Path) -> None:
    root, run_dir = trained
    dataclasses.replace(Checkpoint.load(run_dir), calibration=None).save(tmp_path / BEST)
    video = Localizer.from_pretrained(tmp_path, device="cpu").open_video(root / "features.h5", "v0")
    (moment,) = video.localize("the small circle jumps", top=1)
    assert moment.probability is None
    assert set(moment.to_dict()) == {"start_seconds", "end_seconds", "score"}
    config = EvaluateConfig(checkpoint=str(tmp_path), split="val", calibration=True)
    row = evaluate(config)[0]["calibration"]
    assert row["probability"] is None and row["fitted"] is None


def test_what_evaluation_says_of_it(trained: tuple[Path, Path], tmp_path: Path) -> None:
    config = EvaluateConfig(
        checkpoint=str(trained[1]), split="validation", calibration=True, out=str(tmp_path)
    )
    results, predictions = evaluate(config)
    row = results["calibration"]
    assert json.loads((tmp_path / "metrics.json").read_text())["calibration"] == row
    assert (row["num_true"], row["num_mismatched"], row["threshold"]) == (4, 4, 0.5)
    means = [one.moments[0].score for one in predictions]
    assert row["score"]["mean_true"] == pytest.approx(sum(means) / 4)
    for values in (row["score"], row["probability"]):
        assert sum(one["count"] for one in values["curve"]) == 8
        assert 0 <= values["ece"] <= 1
    assert row["fitted"] == Checkpoint.load(trained[1]).calibration
    assert 0 <= row["auroc"] <= 1
    table = format_table(results)
    assert f"{100 * row['score']['ece']:.2f} before" in table
    assert f"AUROC {100 * row['auroc']:.2f}" in table
    assert "4 sentences asked about another video" in table
    write_evaluation_report(tmp_path / "report.html", results, predictions[:1], None)
    page = (tmp_path / "report.html").read_text()
    assert page.count('class="reliability"') == 2
    assert page.count("<circle") == sum(
        len(row[name]["curve"]) for name in ("score", "probability")
    )
    # The metrics are those without the second pass, and say nothing of it then.
    plain, _ = evaluate(dataclasses.replace(config, calibration=False))
    assert plain["metrics"] == results["metrics"] and "calibration" not in plain


def test_it_needs_a_checkpoint() -> None:
    with pytest.raises(ConfigError, match="calibration=true: a model is needed"):
        EvaluateConfig(predictions="p.jsonl", calibration=True)


@pytest.fixture(scope="module")
def whole(dataset_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("whole")
    train(tiny_run.config(dataset_root, trainer__max_epochs=1), run_dir)
    return run_dir


def test_killed_before_it_was_kept(
    dataset_root: Path, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Killed(Exception):
        pass

    def die(*args: object) -> None:
        raise Killed

    config = tiny_run.config(dataset_root, trainer__max_epochs=1, resume="auto")
    with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(Killed):
        monkeypatch.setattr(run, "calibrate_best", die)
        train(config, tmp_path)
    assert Checkpoint.load(tmp_path / BEST).calibration is None
    with caplog.at_level("INFO"):
        train(config, tmp_path)
    assert "two more passes over the 4 validation queries" in caplog.text
    mine, theirs = Checkpoint.load(tmp_path / BEST), Checkpoint.load(whole / BEST)
    assert mine.calibration == theirs.calibration is not None
    before = (tmp_path / BEST).stat().st_mtime_ns
    train(config, tmp_path)
    assert (tmp_path / BEST).stat().st_mtime_ns == before


def test_it_changes_no_weight_and_may_be_left_out(
    dataset_root: Path, whole: Path, tmp_path: Path
) -> None:
    config = tiny_run.config(dataset_root, trainer__max_epochs=1, trainer__calibrate=False)
    train(config, tmp_path)
    mine, theirs = Checkpoint.load(tmp_path / BEST), Checkpoint.load(whole / BEST)
    assert mine.calibration is None
    assert all(torch.equal(mine.tensors[name], theirs.tensors[name]) for name in mine.tensors)
    # A finished run without it gets it later.
    train(tiny_run.config(dataset_root, trainer__max_epochs=1, resume="auto"), tmp_path)
    assert Checkpoint.load(tmp_path / BEST).calibration == theirs.calibration


def test_nothing_to_mismatch(
    dataset_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A validation part of one video, and a folder without a best checkpoint."""
    changes = {"data__validation_split": None, "data__validation_fraction": 0.01}
    train(tiny_run.config(dataset_root, trainer__max_steps=1, **changes), tmp_path)
    assert "no calibration: there is no other video" in caplog.text
    assert Checkpoint.load(tmp_path / BEST).calibration is None
    (tmp_path / BEST).unlink()
    train(tiny_run.config(dataset_root, trainer__max_steps=1, resume="auto", **changes), tmp_path)
    assert f"no calibration: there is no {tmp_path / BEST}" in caplog.text


def test_the_pass_disturbs_no_random_state(
    dataset_root: Path, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    config = tiny_run.config(dataset_root)
    checkpoint = dataclasses.replace(Checkpoint.load(trained[1]), calibration=None)
    checkpoint.save(tmp_path / BEST)
    before = torch.get_rng_state()
    found = run.read_parts(config.data)[1]
    store = run.build_store(config.data)
    _, vocabulary = build_from_checkpoint(checkpoint)
    validation = run.MomentDataset(found, store, vocabulary, config.data.max_clips)
    calibrate.calibrate_best(tmp_path, validation, config.trainer, torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)
    assert Checkpoint.load(tmp_path / BEST).calibration is not None
