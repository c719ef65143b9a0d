"""The worked example of docs/data.md, with its own lines: a JSONL, a yaml, and the commands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from bpnet_features import FeatureSpec, FeatureWriter

DOCS = Path(__file__).resolve().parents[2] / "docs" / "data.md"


@pytest.fixture
def blocks() -> list[str]:
    """The code blocks of the section, in order: JSONL, yaml, commands."""
    section = DOCS.read_text(encoding="utf-8").split("## Your own dataset")[1].split("\n## ")[0]
    return re.findall(r"```\w+\n(.*?)```", section, re.DOTALL)


def test_the_worked_example(bpnet, blocks: list[str], tmp_path: Path) -> None:
    lines, yaml, commands = blocks
    rows = [json.loads(line) for line in lines.splitlines()]
    # A few more videos to train on.
    rows += [{**rows[0], "qid": f"more{n}", "video_id": f"kitchen_1{n}"} for n in range(4)]
    (tmp_path / "mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "mine.yaml").write_text(yaml)
    with FeatureWriter(tmp_path / "mine.h5", FeatureSpec("tiny", 8, seconds_per_clip=1.0)) as file:
        for video_id, duration in {row["video_id"]: row["duration"] for row in rows}.items():
            clips = np.random.default_rng(0).normal(size=(int(duration), 8))
            file.add(video_id, clips, duration)
    run = [line.split("#")[0].split() for line in commands.splitlines()]
    run = [words[1:] for words in run if words[:3] != ["bpnet", "features", "extract"]]
    assert [words[0] for words in run] == ["data", "features", "train", "evaluate"]
    run[2] += ["trainer.max_steps=2", "trainer.device=cpu", "model.hidden_dim=16"]
    run[3] += ["device=cpu"]
    for words in run:
        status, out, err = bpnet(*words)
        assert status == 0, (words, err)
    assert "1 queries" in out
    assert "constant interval" in out and "whole video" in out
