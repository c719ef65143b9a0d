"""What is compared with what: rows from settings, outcomes query by query, what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpnet.config import EvaluateConfig
from bpnet.errors import AnnotationError, ConfigError
from bpnet.evaluation.answers import Answer
from bpnet.evaluation.compare import compare
from bpnet.evaluation.compared_rows import compared_rows
from bpnet.evaluation.comparison_table import cell, format_comparison
from bpnet.evaluation.metrics import localization_metrics
from bpnet.evaluation.outcomes import COLUMNS, outcomes
from bpnet.evaluation.protocols import protocol
from bpnet.types import Annotation


def annotation(number: int, start: float = 0.0, end: float = 10.0) -> Annotation:
    return Annotation(f"q{number}", f"v{number // 2}", "a dog runs", start, end, 20.0, "test")


# tIoU with 0 to 10: exactly 0.5; 0.3; nothing; 1.
MOMENTS = [[(0.0, 5.0)], [(0.0, 3.0), (0.0, 10.0)], [], [(0.0, 10.0)]]


def test_outcomes_by_hand() -> None:
    asked = [annotation(number) for number in range(4)]
    answers = [Answer(moments) for moments in MOMENTS]
    found = outcomes(answers, asked, protocol("vslnet"))
    assert found.values.tolist() == [
        [100.0, 100.0, 0.0, 50.0],
        [100.0, 0.0, 0.0, 30.0],
        [0.0, 0.0, 0.0, 0.0],
        [100.0, 100.0, 100.0, 100.0],
    ]
    # 2D-TAN counts > m, not >= m.
    assert outcomes(answers, asked, protocol("tan")).values[:2].tolist() == [
        [100.0, 0.0, 0.0, 50.0],
        [0.0, 0.0, 0.0, 30.0],
    ]


@pytest.mark.parametrize("name", ["vslnet", "tan", "snag", "moment-detr"])
def test_their_means_are_the_metrics(name: str) -> None:
    rng = np.random.default_rng(0)
    rules = protocol(name, "activitynet")
    pairs = np.sort(rng.uniform(0, 20, size=(30, 5, 2)), axis=-1)
    scores = -np.sort(-rng.uniform(0.01, 1, size=(30, 5)))
    targets = np.sort(rng.uniform(0, 20, size=(30, 2)), axis=-1)
    asked = [annotation(number, *target) for number, target in enumerate(targets.tolist())]
    found = outcomes([Answer(*one) for one in zip(pairs, scores, strict=True)], asked, rules)
    metrics = localization_metrics(pairs, targets, rules, scores=scores)
    assert found.values.mean(axis=0) == pytest.approx([metrics[column] for column in COLUMNS])


def test_one_path_is_no_comparison() -> None:
    assert compared_rows("runs/a", None) is None
    assert compared_rows(None, "a.jsonl") is None
    assert compared_rows(None, None) is None


def test_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b_1", "b_0", "c"):
        (tmp_path / name).mkdir()

    def names(checkpoint: Any, predictions: Any = None) -> dict[str, list[str | None]]:
        rows = compared_rows(checkpoint, predictions)
        assert rows is not None
        return {
            name: [run["checkpoint"] or run["predictions"] for run in runs]
            for name, runs in rows.items()
        }

    assert names(["a", "b"]) == {"a": ["a"], "b": ["b"]}
    assert names(["a"]) == {"a": ["a"]}
    assert names("a", "p.jsonl") == {"a": ["a"], "p.jsonl": ["p.jsonl"]}
    assert names({"ours": ["a", "b"], "theirs": 2024}) == {"ours": ["a", "b"], "theirs": ["2024"]}
    assert names("b_*") == {"b_*": ["b_0", "b_1"]}
    assert names({"ours": ["b_?", "c"]}) == {"ours": ["b_0", "b_1", "c"]}
    assert names(f"{tmp_path}/b_*") == {f"{tmp_path}/b_*": [f"{tmp_path}/b_{n}" for n in (0, 1)]}
    both = compared_rows({"ours": "a"}, {"theirs": "b"})
    assert both == {
        "ours": [{"checkpoint": "a", "predictions": None}],
        "theirs": [{"predictions": "b", "checkpoint": None}],
    }


@pytest.mark.parametrize(
    ("checkpoint", "predictions", "match"),
    [
        (["a", "a"], None, r"checkpoint=\['a', 'a'\]: two rows are called 'a'"),
        ({"x": "a"}, {"x": "b"}, r"predictions=.*two rows are called 'x'"),
        ("gone_*", None, r"checkpoint='gone_\*': no file or folder matches"),
        ([], None, r"checkpoint=\[\]: expected a path"),
        ({"x": []}, None, r"checkpoint=\[\]: expected a path"),
        ({}, None, r"checkpoint=\{\}: expected at least one path"),
        ({"x": {"y": "a"}}, None, r"checkpoint=\{'y': 'a'\}: expected a path, a list"),
        ([["a"]], None, r"checkpoint=\[\['a'\]\]: expected a path, a list"),
    ],
)
def test_faulty_rows(checkpoint: Any, predictions: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        compared_rows(checkpoint, predictions)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Annotations of 4 queries about 2 videos, and predictions of them."""
    rows = [
        {
            "qid": f"q{n}",
            "video_id": f"v{n // 2}",
            "query": "a dog runs",
            "start": 0,
            "end": 10,
            "duration": 20,
            "split": "test",
        }
        for n in range(4)
    ]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    ends = {"good": (10, 10, 10, 10), "half": (5, 10, 5, 10), "poor": (5, 5, 5, 5)}
    for name, values in ends.items():
        pairs = {f"q{n}": [0, end] for n, end in enumerate(values)}
        (tmp_path / f"{name}.json").write_text(json.dumps(pairs))
    return tmp_path


def evaluation(files: Path, name: str, **changes: Any) -> EvaluateConfig:
    data = {"dataset": "jsonl", "annotations": str(files / "a.jsonl")}
    config = EvaluateConfig(predictions=str(files / f"{name}.json"), data=data)
    return dataclasses.replace(config, **changes)


def test_files_of_predictions(files: Path) -> None:
    out = str(files / "out")
    results = compare(
        {
            "good": [evaluation(files, "good", out=out)],
            "others": [evaluation(files, "half"), evaluation(files, "poor")],
            "copy": [evaluation(files, "good")],
        }
    )
    assert results == json.loads((files / "out" / "comparison.json").read_text())
    assert (results["num_queries"], results["num_videos"]) == (4, 2)
    good, others, _ = results["rows"]
    assert good["metrics"]["mIoU"] == {"value": 100.0, "low": 100.0, "high": 100.0}
    # (50, 100, 50, 100) and (50, 50, 50, 50), mean (50, 75, 50, 75) in both videos.
    assert others["metrics"]["mIoU"] == {"value": 62.5, "low": 62.5, "high": 62.5}
    assert good["spread"] is None
    assert others["spread"]["mIoU"] == pytest.approx(25 / 2**0.5)  # of 75 and 50
    first, second = results["differences"]
    assert (first["name"], first["minus"]) == ("others", "good")
    assert first["metrics"]["mIoU"] == {"value": -37.5, "low": -37.5, "high": -37.5}
    assert first["metrics"]["R@1,IoU=0.7"]["value"] == -75.0
    assert {tuple(one.values()) for one in second["metrics"].values()} == {(0.0, 0.0, 0.0)}
    lines = format_comparison(results).splitlines()
    assert lines[0] == "protocol vslnet, jsonl test, 4 queries about 2 videos, percent"
    assert lines[1].split("  ")[-1].strip() == "mIoU"
    starts = [line.split("  ")[0] for line in lines[2:8]]
    assert starts == ["good", "others (2 runs)", "", "copy", "others - good", "copy - good"]
    assert lines[6].endswith("-37.50 [-37.50, -37.50]*")
    assert lines[7].endswith("+0.00 [+0.00, +0.00]")
    assert "resamples of whole videos" in lines[-2]
    assert lines[-1] == "2 videos are few: the intervals are too narrow"


def test_cells() -> None:
    assert cell({"value": 71.891, "low": 70.0, "high": 73.0}) == "71.89 [70.00, 73.00]"
    tiny = {"value": 0.004, "low": 0.001, "high": 0.009}
    assert cell(tiny, signed=True) == "+0.00 [+0.00, +0.01]*"
    assert cell({**tiny, "low": 0.0}, signed=True) == "+0.00 [+0.00, +0.01]"


def test_other_queries_are_named(files: Path) -> None:
    pairs = {f"q{n}": [0, 10] for n in (0, 1, 3)}
    (files / "some.json").write_text(json.dumps(pairs))
    data = {"dataset": "jsonl", "annotations": str(files / "a.jsonl"), "missing": "drop"}
    rows = {
        "all": [evaluation(files, "good", data=data)],
        "some": [evaluation(files, "some", data=data)],
    }
    with pytest.raises(AnnotationError, match=r"'some' and 'all' answer different .*\(3 and 4; 1"):
        compare(rows)
    with pytest.raises(AnnotationError, match=r"qid 'q2', video 'v1', 'a dog .* only in 'all'"):
        compare(rows)


def test_other_moments_are_other_queries() -> None:
    rules = protocol("vslnet")
    one = outcomes([Answer([(0.0, 5.0)])], [annotation(0)], rules)
    other = outcomes([Answer([(0.0, 5.0)])], [annotation(0, end=9.0)], rules)
    with pytest.raises(AnnotationError, match=r"qid 'q0', .* at \(\(0\.0, 9\.0\),\) s is only in "):
        other.in_order_of(one, ("b", "a"))


def test_the_order_of_the_queries_does_not_matter() -> None:
    rules = protocol("vslnet")
    asked = [annotation(number) for number in range(4)]
    answers = [Answer(moments) for moments in MOMENTS]
    one = outcomes(answers, asked, rules)
    turned = outcomes(answers[::-1], asked[::-1], rules)
    assert turned.in_order_of(one, ("b", "a")).values.tolist() == one.values.tolist()


def test_predictions_alone_need_their_data(files: Path) -> None:
    rows = {name: [evaluation(files, name, data={})] for name in ("good", "poor")}
    with pytest.raises(ConfigError, match=r"good\.json.*Give data\.dataset=.*or a checkpoint"):
        compare(rows)
