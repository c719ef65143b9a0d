"""`bpnet evaluate bias=true`: of a checkpoint and of a file of predictions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest


def test_a_checkpoint(bpnet, dataset_root: Path, run_dir: Path, tmp_path: Path) -> None:
    text = (dataset_root / "annotations.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    # The other event of the same video is what may be mistaken for the moment.
    lines = [
        {
            "qid": row["qid"],
            "context": [
                [other["start"], other["end"]]
                for other in rows
                if other["video_id"] == row["video_id"] and other["qid"] != row["qid"]
            ],
        }
        for row in rows
    ]
    (tmp_path / "contexts.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    line = [f"checkpoint={run_dir}", "split=train", "out=o", "bias=true"]
    status, out, err = bpnet(
        "evaluate", *line, "other_splits=[val,test]", "confounders=contexts.jsonl"
    )
    assert status == 0, err
    results = json.loads(Path("o/metrics.json").read_text())
    bias = results["bias"]
    assert [row["name"] for row in bias["rows"]] == [
        "as it is",
        "2 s of noise before",
        "2 s of other videos before",
        "4 s of noise before",
        "4 s of other videos before",
        "noise in place of the video",
        "constant interval",
        "constant interval, 2 s before",
        "constant interval, 4 s before",
    ]
    as_it_is = bias["rows"][0]["metrics"]
    assert as_it_is["mIoU"]["value"] == pytest.approx(results["metrics"]["mIoU"])
    blind = bias["rows"][6]["metrics"]
    assert blind["mIoU"]["value"] == pytest.approx(results["blind"]["mIoU"])
    assert [row["name"] for row in bias["parts"]] == ["train", "val", "test"]
    assert bias["parts"][0]["metrics"] == as_it_is
    assert bias["confounder"]["num_queries"] == 16
    # All videos fill the model's 16 positions.
    assert any(re.match(r"4 s more: 16 of 16 queries", note) for note in bias["notes"])
    for text in ("noise in place of the video", "constant interval, val", "at the confounder"):
        assert text in out
    # The model was trained on these queries, and what it knows it knows from the video.
    without = bias["rows"][5]
    assert without["difference"]["mIoU"]["high"] < 0


def test_a_file_of_predictions(bpnet, dataset_root: Path, run_dir: Path) -> None:
    assert bpnet("evaluate", f"checkpoint={run_dir}", "split=test", "out=o")[0] == 0
    line = [
        "predictions=o/predictions.jsonl",
        "data.dataset=jsonl",
        f"data.annotations={dataset_root / 'annotations.jsonl'}",
        "out=p",
        "bias=true",
    ]
    status, out, err = bpnet("evaluate", *line)
    assert status == 0, err
    bias = json.loads(Path("p/metrics.json").read_text())["bias"]
    assert [row["name"] for row in bias["rows"]] == ["as it is", "constant interval"]
    assert bias["parts"] is bias["confounder"] is None
    assert "constant interval" in out


def test_what_does_not_fit(bpnet, run_dir: Path) -> None:
    cases = {
        "shift_seconds=[3]": r"ConfigError: shift_seconds=\[3.*\]: .*with bias=true only",
        "bias=true shift_seconds=[0]": r"shift_seconds=\[0.*\]: expected seconds > 0",
        "bias=true confounders=gone.json": "confounders='gone.json': no such file",
        "bias=true other_splits=[gone] out=o": "AnnotationError: .*'gone'",
    }
    for line, match in cases.items():
        status, _, err = bpnet("evaluate", f"checkpoint={run_dir}", *line.split())
        assert status == 2
        assert re.search(match, err), err
    status, _, err = bpnet("evaluate", f"checkpoint={{a: {run_dir}, b: {run_dir}}}", "bias=true")
    assert status == 2 and "not of a comparison" in err
