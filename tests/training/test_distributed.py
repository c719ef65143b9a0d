"""Several processes that train one model: the same losses as one, and a clear end when one dies.

Dropout is 0 where losses are compared: each process drops others of its own values than a single
one would, so with dropout two runs are equally good, but not the same.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tiny_run
import torch

from bpnet.build import build_for_training, build_store
from bpnet.checkpoint import BEST, LAST, Checkpoint
from bpnet.config import EvaluateConfig
from bpnet.data.dataset import MomentDataset
from bpnet.data.vocabulary import build_vocabulary
from bpnet.device import pick_rank_device
from bpnet.errors import ConfigError
from bpnet.evaluation.evaluate import evaluate
from bpnet.evaluation.parts import read_parts
from bpnet.evaluation.predict import predict, share
from bpnet.ranks import Ranks
from bpnet.training.metrics_log import METRICS
from bpnet.training.run import train
from bpnet.training.state import TrainingState

EARLY = 12  # steps

SCRIPT = """
import os, signal, sys, time
from bpnet.cli.main import main
from bpnet.training import step

call, calls = step.TrainStep.__call__, []

def fail(*arguments):
    calls.append(1)
    if os.environ["RANK"] == "1" and len(calls) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return call(*arguments)

step.TrainStep.__call__ = fail
main(["train", *sys.argv[1:]])
"""

SILENT = """
import datetime, os, sys, time
from bpnet.distributed import process_group, from_all
from bpnet.ranks import started_ranks

ranks = started_ranks()
with process_group(ranks, datetime.timedelta(seconds=4)):
    from_all(1, ranks)
    if not ranks.first:
        time.sleep(300)
    from_all(2, ranks)
"""


def torchrun(count: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run processes with torchrun, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = ["-m", "torch.distributed.run", f"--nproc-per-node={count}", f"--master-port={port}"]
    return subprocess.run(
        [sys.executable, *launch, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )


def train_in(count: int, root: Path, run_dir: Path, **changes: Any) -> None:
    """Train in so many processes."""
    line = tiny_run.overrides(root, run_dir=run_dir, model__dropout=0.0, **changes)
    done = torchrun(count, "-m", "bpnet.cli.train", *line)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["run_dir"] == str(run_dir)


def records(run_dir: Path) -> list[dict[str, float]]:
    """What stands in metrics.jsonl, but for the time."""
    found = []
    for line in (run_dir / METRICS).read_text().splitlines():
        record = json.loads(line)
        record |= record.pop("validation", {})
        found.append({name: value for name, value in record.items() if name != "seconds"})
    return found


def assert_same_losses(run_dir: Path, other: Path) -> None:
    mine, theirs = records(run_dir), records(other)
    assert len(mine) == len(theirs)
    for one, another in zip(mine, theirs, strict=True):
        # Rounding depends on the size of a batch. In time it decides between two candidates that
        # are equally good, and stage two then judges another one.
        assert one == pytest.approx(another, rel=1e-4 if one["step"] <= EARLY else 5e-3)


# 16 queries in batches of 5: shards of 2 and 3, and a last batch of one pair, without a pair for
# all processes but one.
RUNS: dict[str, tuple[int, dict[str, Any]]] = {
    "as it is by default": (2, {"model.consistency_weight": 1.0}),
    "three processes, points": (3, {"model.proposer": "dense", "trainer.batch_size": 3}),
    "accumulated": (2, {"trainer.accumulate": 2, "trainer.queries_per_video": 1}),
    "slots, stage one alone": (2, {"model.proposer": "set", "model.stage_two": False}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_same_losses_as_one_process(dataset_root: Path, tmp_path: Path, name: str) -> None:
    """All of them, and the validation's metrics; no sample is lost or taken twice in either."""
    count, changes = RUNS[name]
    one, several = tmp_path / "one", tmp_path / "several"
    one.mkdir()
    train(tiny_run.config(dataset_root, model__dropout=0.0, **changes), one)
    train_in(count, dataset_root, several, **changes)
    assert_same_losses(several, one)
    # One process has written, once.
    names = {BEST, LAST, METRICS, "state.pt", "train.log", "config.yaml", ".hydra"}
    assert {path.name for path in several.iterdir()} == names
    log = (several / "train.log").read_text()
    assert log.count("training and 4 validation queries") == 1
    assert f"on cpu, {count} processes, 1 threads" in log
    calibrated = [Checkpoint.load(run_dir / BEST).calibration for run_dir in (one, several)]
    assert calibrated[0] is not None and calibrated[1] == pytest.approx(calibrated[0], rel=0.05)
    assert len(TrainingState.load(several).random["others"]) == count - 1


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2), (2, 2)])
def test_resumed_in_another_number_of_processes(
    dataset_root: Path, tmp_path: Path, first: int, second: int
) -> None:
    """Killed in step 6 by its second process, or ended there; goes on to the same losses."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    train(tiny_run.config(dataset_root, model__dropout=0.0), whole)
    line = tiny_run.overrides(dataset_root, run_dir=cut, model__dropout=0.0)
    script = tmp_path / "dying.py"
    script.write_text(SCRIPT if first > 1 else SCRIPT.replace('"RANK"] == "1"', '"RANK"] == "0"'))
    done = torchrun(first, script, *line)
    assert done.returncode != 0
    assert TrainingState.load(cut).step == 4
    done = torchrun(second, "-m", "bpnet.cli.main", "train", *line, "resume=auto")
    assert done.returncode == 0, done.stderr
    assert "resuming at step 4" in (cut / "train.log").read_text()
    assert_same_losses(cut, whole)


@pytest.mark.slow
def test_evaluated_by_two_processes(dataset_root: Path, tmp_path: Path) -> None:
    """The same answers and numbers, written once; a comparison too."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    train(tiny_run.config(dataset_root), run_dir)
    line = [f"checkpoint={run_dir}", "split=train", "batch_size=3"]
    alone, both = tmp_path / "alone", tmp_path / "both"
    results, _ = evaluate(
        EvaluateConfig(checkpoint=str(run_dir), split="train", batch_size=3, out=str(alone))
    )
    done = torchrun(2, "-m", "bpnet.cli.evaluate", *line, f"out={both}", "calibration=true")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written to") == 1
    written = json.loads((both / "metrics.json").read_text())
    assert written.pop("calibration")["auroc"] > 0
    assert written.keys() == results.keys()
    for name in ("metrics", "oracle_recall", "whole_video"):
        assert written[name] == pytest.approx(results[name]), name
    assert written["num_queries"] == results["num_queries"] == 16
    answers = [(folder / "predictions.jsonl").read_text() for folder in (alone, both)]
    for one, another in zip(*(text.splitlines() for text in answers), strict=True):
        mine, theirs = json.loads(one), json.loads(another)
        assert mine["query"] == theirs["query"]
        for key in ("moments", "stage_one"):
            assert len(mine[key]) == len(theirs[key])
    rows = f"checkpoint={{a: {run_dir}, b: {run_dir}}}"
    done = torchrun(2, "-m", "bpnet.cli.main", "evaluate", rows, "split=train", f"out={both}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written to") == 1


def two_alone(script: Path, *arguments: str) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
    """Two processes without torchrun, which would end the one when the other has died."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}

    def start(rank: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, script, *arguments],
            env={**os.environ, **where, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start(0), start(1)


@pytest.mark.slow
def test_a_killed_process_ends_the_others(dataset_root: Path, tmp_path: Path) -> None:
    script = tmp_path / "dying.py"
    script.write_text(SCRIPT)
    line = tiny_run.overrides(dataset_root, run_dir=tmp_path / "run")
    first, second = two_alone(script, *line)
    message = first.communicate(timeout=300)[1]
    second.communicate(timeout=60)
    assert second.returncode == -signal.SIGKILL
    assert first.returncode == 2
    last = message.strip().splitlines()[-1]
    assert last.startswith("BPNetError: process 0 of 2: another process has ended, or was not")
    assert "resume=auto" in last


@pytest.mark.slow
def test_a_silent_process_is_not_waited_for_forever(tmp_path: Path) -> None:
    script = tmp_path / "silent.py"
    script.write_text(SILENT)
    first, second = two_alone(script)
    try:
        message = first.communicate(timeout=300)[1]
        assert first.returncode == 1
        assert "BPNetError: process 0 of 2: another process has ended, or was not" in message
        assert "heard of for 4 s" in message
    finally:
        second.kill()
        second.communicate()


@pytest.mark.slow
def test_what_is_wrong_is_told_and_ends_all(dataset_root: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    line = tiny_run.overrides(dataset_root, run_dir=tmp_path / "run", trainer__batch_size=1)
    done = torchrun(2, "-m", "bpnet.cli.train", *line)
    assert done.returncode != 0
    assert "ConfigError: trainer.batch_size=1: expected at least one pair for each" in done.stderr
    assert time.monotonic() - began < 300


def test_fewer_pairs_than_processes_are_refused(dataset_root: Path, tmp_path: Path) -> None:
    config = tiny_run.config(dataset_root, trainer__batch_size=2)
    with pytest.raises(ConfigError, match=r"trainer\.batch_size=2: .* each of the 3 processes"):
        train(config, tmp_path, Ranks(0, 3))


def test_float16_needs_cuda(dataset_root: Path, tmp_path: Path) -> None:
    config = tiny_run.config(dataset_root, trainer__precision="fp16")
    with pytest.raises(ConfigError, match=r"trainer\.precision=fp16 on cpu: expected a CUDA"):
        train(config, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_device_of_a_process() -> None:
    assert pick_rank_device("cpu", Ranks(1, 2, 1, 2)) == torch.device("cpu")
    assert pick_rank_device("cpu", Ranks()) == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"device='cuda:7'"):
        pick_rank_device("cuda:7", Ranks(1, 2, 1, 2))


@pytest.mark.parametrize("size", [2, 3, 7])
def test_each_query_is_answered_by_one_process(dataset_root: Path, size: int) -> None:
    """Sixteen queries, also where that does not divide; and one, where most have none."""
    config = tiny_run.config(dataset_root)
    annotations, store = read_parts(config.data)[0], build_store(config.data)
    queries = [one.query for one in annotations]
    vocabulary, table = build_vocabulary(
        queries, tokenizer="words", characters=True, max_query_tokens=12
    )
    model, _ = build_for_training(config, vocabulary, table, store.spec)
    for asked in (annotations, annotations[:1]):
        dataset = MomentDataset(asked, store, vocabulary, 16)
        options: dict[str, Any] = {"batch_size": 3, "device": torch.device("cpu")}
        parts = [
            list(predict(model, dataset, **options, which=share(len(asked), Ranks(rank, size))))
            for rank in range(size)
        ]
        found = [prediction for part in parts for prediction in part]
        assert [one.annotation for one in found] == asked
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        for one, other in zip(found, predict(model, dataset, **options), strict=True):
            mine = [(m.start_seconds, m.end_seconds, m.score) for m in one.moments]
            theirs = [(m.start_seconds, m.end_seconds, m.score) for m in other.moments]
            assert len(mine) == len(theirs)
            for moment, another in zip(mine, theirs, strict=True):
                assert moment == pytest.approx(another, abs=1e-4)
