"""The profile of a run: its files, and that it changes nothing else."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
import tiny_run
import torch

from bpnet.checkpoint import BEST, LAST, Checkpoint
from bpnet.training.metrics_log import METRICS
from bpnet.training.profile import PHASES, SUMMARY, TRACE
from bpnet.training.run import train
from bpnet.training.state import STATE


def test_it_changes_no_number(dataset_root: Path, tmp_path: Path) -> None:
    """Twelve steps with dropout: three of warm-up, six timed, three traced."""
    records = []
    for name, profile in (("plain", False), ("profiled", True)):
        run_dir = tmp_path / name
        run_dir.mkdir()
        train(tiny_run.config(dataset_root, trainer__profile=profile), run_dir)
        lines = [json.loads(line) for line in (run_dir / METRICS).read_text().splitlines()]
        records.append([{**line, "seconds": 0} for line in lines])
    assert records[0] == records[1]
    for name in (BEST, LAST):
        mine, theirs = (Checkpoint.load(tmp_path / one / name) for one in ("profiled", "plain"))
        assert all(torch.equal(mine.tensors[one], theirs.tensors[one]) for one in theirs.tensors)
    names = {path.name for path in (tmp_path / "profiled").iterdir()}
    assert names == {BEST, LAST, METRICS, STATE, TRACE, SUMMARY}

    with gzip.open(tmp_path / "profiled" / TRACE, "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    for phase in PHASES:
        assert sum(event.get("name") == phase and event["ph"] == "X" for event in events) >= 3
    assert any(event.get("name") == "aten::mm" for event in events)

    page = (tmp_path / "profiled" / SUMMARY).read_text()
    assert "Steps 4 to 9 of this start" in page and "are of steps 10 to 12" in page
    shares = {
        name: (float(ms), float(share))
        for name, ms, share in re.findall(r"^\| ([a-z ]+) \| ([\d.]+) \| ([\d.]+)% \|$", page, re.M)
    }
    assert list(shares) == [*PHASES, "the rest"]
    assert sum(share for _, share in shares.values()) == pytest.approx(100, abs=0.5)
    assert all(shares[phase][0] > 0 for phase in PHASES)
    assert re.search(r"^\| `aten::\w+` \|", page, re.M)  # which ones take longest, the load decides
    for fact in ("trainer.batch_size: 5", "processes: 1", "threads: ", "torch 2.", "device: CPU"):
        assert fact in page


def test_one_step(dataset_root: Path, tmp_path: Path) -> None:
    """Nothing is left to warm up with."""
    train(tiny_run.config(dataset_root, trainer__profile=True, trainer__max_steps=1), tmp_path)
    assert "Steps 1 to 1" in (tmp_path / SUMMARY).read_text()
    # A finished run that is resumed has no step to watch.
    (tmp_path / SUMMARY).unlink()
    config = tiny_run.config(
        dataset_root, trainer__profile=True, trainer__max_steps=1, resume="auto"
    )
    train(config, tmp_path)
    assert not (tmp_path / SUMMARY).exists()
