"""`model.stage_two=false`: trained, evaluated and asked from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import tiny_run

from bpnet.checkpoint import Checkpoint


def test_train_evaluate_localize(bpnet, dataset_root: Path) -> None:
    settings = tiny_run.overrides(dataset_root, trainer__max_steps=20, model__stage_two="false")
    status, _, err = bpnet("train", *settings, "run_dir=run")
    assert status == 0, err
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    losses = [line for line in lines if "total" in line]
    assert losses and all("boundary" in line and "matching" not in line for line in losses)
    assert losses[-1]["total"] < losses[0]["total"]

    checkpoint = Checkpoint.load(Path("run"))
    assert checkpoint.model["stage_two"] is False
    assert {name.split(".")[0] for name in checkpoint.tensors} == {
        "encoder",
        "interaction",
        "proposer",
    }

    status, table, err = bpnet("evaluate", "checkpoint=run", "device=cpu", "report=1")
    assert status == 0, err
    metrics = json.loads(Path("run/eval_test/metrics.json").read_text())
    assert metrics["metrics"] == metrics["stage_one"]
    assert "two stages" not in table
    assert table.count("\nstage one alone") == 1
    line = ["--checkpoint", "run", "--features", dataset_root / "features.h5", "--json"]
    status, out, err = bpnet("localize", "v11", "the small circle spins", *line)
    assert (status, err) == (0, "")
    scores = [moment["score"] for moment in json.loads(out)[0]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores) and scores[0] > 0
