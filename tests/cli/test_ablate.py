"""`scripts/ablate.py`: real runs, what it writes, goes on with, and refuses."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_run
import torch

from bpnet.ablation.runs import FINISHED, OUTPUT, num_cores
from bpnet.checkpoint import BEST, Checkpoint
from bpnet.cli.ablate import main
from bpnet.config import EvaluateConfig
from bpnet.evaluation.evaluate import evaluate
from bpnet.evaluation.t_interval import half_width
from bpnet.training import loop
from bpnet.training.run import train
from bpnet.training.state import STATE, TrainingState

COLUMN = "mIoU"


@pytest.fixture
def ablate(
    capsys, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs the script in this process; gives exit status, standard output and error."""
    root = logging.getLogger()
    level = root.level
    monkeypatch.setattr(root, "handlers", [])

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(one) for one in arguments])
        assert isinstance(end.value.code, int)
        return (end.value.code, *capsys.readouterr())

    yield run
    root.setLevel(level)  # the command set its own


@pytest.fixture(scope="module")
def finished(
    dataset_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """An ablation of 2 variants x 2 seeds that is through, made in this process; its command."""
    out = tmp_path_factory.mktemp("ablation")
    shared = tiny_run.overrides(dataset_root, trainer__max_steps=2)
    for name, fusion in (("base", None), ("fusion=none", "none")):
        for seed in (0, 1):
            folder = out / name / f"seed_{seed}"
            folder.mkdir(parents=True)
            changes = {} if fusion is None else {"model__fusion": fusion}
            config = tiny_run.config(dataset_root, trainer__max_steps=2, seed=seed, **changes)
            train(config, folder)
            evaluation = EvaluateConfig(
                checkpoint=str(folder),
                split="validation",
                out=str(folder / "eval_validation_vslnet"),
            )
            evaluate(evaluation)
            own = [] if fusion is None else [f"model.fusion={fusion}"]
            values = {
                "settings": [*shared, *own, f"seed={seed}"],
                "threads": 1,
                "seconds": seed + 2,
            }
            (folder / FINISHED).write_text(json.dumps(values))
    line = ["--out", str(out), "--seeds", "2", "--vary", "model.fusion=none,query_product"]
    return out, [*line, *shared]


def test_the_tables(ablate, finished: tuple[Path, list[str]]) -> None:
    out, line = finished
    status, printed, err = ablate(*line)
    assert (status, err) == (0, "")
    assert printed.count("finished already") == 4
    results = json.loads((out / "ablation.json").read_text())
    assert results["failures"] == []
    base, none = results["variants"]
    # query_product is what the settings are without any change.
    assert (base["name"], base["same"]) == ("base", ["fusion=query_product"])
    assert (none["overrides"], none["seconds"]) == (["model.fusion=none"], 2.5)
    assert none["num_parameters"] < base["num_parameters"]
    (part,) = results["parts"]
    assert part["split"] == "validation"
    metrics = {
        (name, seed): json.loads(
            (out / name / f"seed_{seed}/eval_validation_vslnet/metrics.json").read_text()
        )["metrics"]
        for name in ("base", "fusion=none")
        for seed in (0, 1)
    }
    for row in part["rows"]:
        values = [metrics[row["name"], seed][COLUMN] for seed in (0, 1)]
        assert row["num_runs"] == 2
        assert row["metrics"][COLUMN]["mean"] == pytest.approx(np.mean(values))
        half = half_width(np.array(values)[:, None]).item()
        assert row["metrics"][COLUMN]["half_width"] == pytest.approx(half)
    (difference,) = part["differences"]
    expected = np.mean(
        [metrics["fusion=none", seed][COLUMN] - metrics["base", seed][COLUMN] for seed in (0, 1)]
    )
    cell = difference["metrics"][COLUMN]
    assert (difference["name"], difference["minus"]) == ("fusion=none", "base")
    assert cell["value"] == pytest.approx(expected)
    assert cell["low"] <= cell["value"] <= cell["high"]
    text = (out / "ablation.md").read_text()
    assert text in printed
    assert "| fusion=none - base | 2 |" in text
    assert "- base has the same settings as `fusion=query_product`" in text
    assert "4 queries about 2 videos" in text and "2 videos are few" in text


def test_other_settings_are_refused(ablate, finished: tuple[Path, list[str]]) -> None:
    _, line = finished
    status, _, err = ablate(*line, "optim.lr=0.1")
    assert status == 2
    assert re.match(r"ConfigError: 4 finished runs have other settings \(then != now\): .*", err)
    assert "optim.lr=0.1 seed=0" in err


def test_wrong_command_lines(ablate, dataset_root: Path, tmp_path: Path) -> None:
    shared = tiny_run.overrides(dataset_root)
    out = ["--out", str(tmp_path / "out")]
    vary = ["--vary", "model.fusion=none"]
    cases: list[tuple[list[str], str]] = [
        ([*vary, "--seeds", "0"], r"ConfigError: --seeds 0: expected an integer >= 1"),
        ([*vary, "--jobs", "0"], r"ConfigError: --jobs 0"),
        ([*vary, "seed=3"], r"ConfigError: seed=3: every run has a seed and a folder of its own"),
        ([*vary, "--protocol", "vsl"], r"ConfigError: .*'vsl'"),
        (["--vary", "model.fusionn=none"], r"ConfigError: unknown config key 'model.fusionn'"),
        (["--vary", "model.fusion=nonee"], r"ConfigError: model.fusion='nonee': expected one of"),
        (["--vary", "model.fusion=query_product"], r"ConfigError: all 2 variants have the same"),
        ([], r"ConfigError: nothing to vary"),
    ]
    for line, match in cases:
        status, _, err = ablate(*out, *line, *shared)
        assert status == 2, line
        assert re.match(match, err), err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def threads_of_a_job() -> Iterator[None]:
    """As many threads as the script gives each of two jobs: the last bits of a sum depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, num_cores() // 2))
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("threads_of_a_job")
def test_a_real_grid_that_goes_on(process, checkout, dataset_root: Path, tmp_path: Path) -> None:
    """Two variants, two seeds, two jobs; one run was cut off before, and one variant fails."""
    shared = tiny_run.overrides(dataset_root, trainer__max_steps=2, trainer__save_every_steps=1)
    out = tmp_path / "runs"
    cut = out / "fusion=none_k" / "seed_1"
    line = [
        *("--out", str(out), "--seeds", "2", "--jobs", "2", "--split", "test"),
        *("--variant", "fusion=none k: model.fusion=none", *shared),
    ]
    # A run that was killed after its first step.
    cut.mkdir(parents=True)
    config = tiny_run.config(
        dataset_root,
        trainer__max_steps=2,
        trainer__save_every_steps=1,
        seed=1,
        model__fusion="none",
    )
    save = TrainingState.save

    class Killed(Exception):
        pass

    def save_and_die(state: TrainingState, path: Path) -> None:
        save(state, path)
        raise Killed

    with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(Killed):
        monkeypatch.setattr(loop.TrainingState, "save", save_and_die)
        train(config, cut)
    assert TrainingState.load(cut / STATE).step == 1

    script = checkout / "scripts" / "ablate.py"
    failing = ["--variant", "broken: data.features.path=gone.h5"]
    status, printed, err = process(script, *line, *failing)
    assert (status, err) == (1, ""), printed
    assert "fusion=none k, seed 1: going on" in printed
    assert "resuming at step 1" in (cut / OUTPUT).read_text()
    results = json.loads((out / "ablation.json").read_text())
    assert {(one["variant"], one["seed"]) for one in results["failures"]} == {
        ("broken", 0),
        ("broken", 1),
    }
    for one in results["failures"]:
        assert one["step"] == "train" and one["message"].startswith(
            "ConfigError: data.features='gone.h5'"
        )
        assert Path(one["log"]).is_file()
    assert results["threads"] == max(1, num_cores() // 2)
    (part,) = results["parts"]
    assert (part["split"], [row["num_runs"] for row in part["rows"]]) == ("test", [2, 2])
    assert [row["name"] for row in part["differences"]] == ["fusion=none k"]
    assert "## Failed" in (out / "ablation.md").read_text()
    assert json.loads((cut / FINISHED).read_text())["seconds"] is None
    # The run that was cut off is the one that was not.
    whole = tmp_path / "whole"
    whole.mkdir()
    train(config, whole)
    mine, theirs = Checkpoint.load(cut / BEST), Checkpoint.load(whole / BEST)
    assert all(bool((mine.tensors[name] == theirs.tensors[name]).all()) for name in mine.tensors)

    # The same again, without the one that fails: nothing is trained.
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")}
    status, printed, _ = process(script, *line)
    assert status == 0, printed
    assert printed.count("finished already") == 4
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")} == before
