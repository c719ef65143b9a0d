"""The rows of ``bias=true``: a model that looks at the video against one that knows positions."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bpnet.data.annotations import read_annotations
from bpnet.data.parts import opposite_parts
from bpnet.errors import AnnotationError
from bpnet.evaluation.answers import Answer, AnsweredQueries
from bpnet.evaluation.bias import (
    changed_rows,
    confounder_row,
    part_rows,
)
from bpnet.evaluation.bootstrap import bootstrap_difference
from bpnet.evaluation.confounders import read_confounders
from bpnet.evaluation.protocols import PROTOCOLS, VSLNET
from bpnet.evaluation.shift import ChangedAnswers, shift_seconds
from bpnet.types import Annotation
from bpnet_features.confounder_files import write_confounded
from bpnet_features.confounder_knobs import Confounder


def asked(number: int, start: float, end: float, duration: float = 20.0) -> Annotation:
    return Annotation(f"q{number}", f"v{number}", "a door", start, end, duration, "test")


# 40 videos of 20 s; all moments lie from 5 to 10 s.
ALIKE = [asked(number, 5.0, 10.0) for number in range(40)]


def answered(annotations: list[Annotation], *moments: tuple[float, float]) -> AnsweredQueries:
    """All queries with the same moments; without any, each with its true one."""
    return AnsweredQueries(
        [Answer(np.array(moments or one.moments), scores=[1.0]) for one in annotations],
        annotations,
    )


def moved(seconds: float) -> list[Annotation]:
    return [
        dataclasses.replace(
            one,
            start_seconds=one.start_seconds + seconds,
            end_seconds=one.end_seconds + seconds,
            duration_seconds=one.duration_seconds + seconds,
        )
        for one in ALIKE
    ]


def test_one_that_looks_keeps_and_one_that_knows_positions_loses() -> None:
    later = moved(20.0)  # from 25 to 30 s of 40 s
    looks = changed_rows(
        answered(ALIKE), ALIKE, VSLNET, [ChangedAnswers("later", 20.0, answered(later))]
    )
    # Answers a quarter of the video to a half, wherever the moment is now.
    knows = changed_rows(
        answered(ALIKE, (5.0, 10.0)),
        ALIKE,
        VSLNET,
        [ChangedAnswers("later", 20.0, answered(later, (10.0, 20.0)))],
    )
    assert [row["name"] for row in looks] == [
        "as it is",
        "later",
        "constant interval",
        "constant interval, 20 s before",
    ]
    assert looks[0]["difference"] is None
    assert looks[0]["metrics"]["mIoU"] == {"value": 100, "low": 100, "high": 100}
    assert looks[1]["difference"]["mIoU"] == {"value": 0, "low": 0, "high": 0}
    assert knows[1]["difference"]["mIoU"] == {"value": -100, "low": -100, "high": -100}
    # Moments that are all alike are known without a video, until something is put before it.
    assert looks[2]["metrics"]["mIoU"]["value"] == 100
    assert looks[3]["metrics"]["mIoU"]["value"] == 0


@pytest.mark.parametrize("rules", PROTOCOLS, ids=lambda one: one.name)
def test_every_protocol(rules) -> None:
    assert len(changed_rows(answered(ALIKE), ALIKE, rules)) == 2
    assert len(changed_rows(answered(ALIKE), None, rules)) == 1


def test_parts_of_other_videos() -> None:
    other = [asked(100 + number, 12.0, 17.0) for number in range(30)]
    # The answer of 5 to 10 s is right in the first part and wrong in the second.
    rows = part_rows(
        {"test_iid": answered(ALIKE, (5.0, 10.0)), "test_ood": answered(other, (5.0, 10.0))},
        ALIKE,
        VSLNET,
    )
    assert [(row["name"], row["num_queries"], row["num_videos"]) for row in rows] == [
        ("test_iid", 40, 40),
        ("test_ood", 30, 30),
    ]
    assert rows[0]["difference"] is None and rows[0]["blind_difference"] is None
    for name in ("difference", "blind_difference"):
        assert rows[1][name]["R@1,IoU=0.5"] == {"value": -100, "low": -100, "high": -100}
    assert part_rows({"a": answered(ALIKE)}, None, VSLNET)[0]["blind"] is None


def test_unpaired_differences() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(0, 1, (400, 1)), generator.normal(1, 1, (100, 1))
    found = bootstrap_difference(first, range(400), second, range(100))
    assert found.value[0] == pytest.approx(second.mean() - first.mean())
    # 1.96 standard errors of a difference of independent means.
    width = 1.96 * np.sqrt(first.var() / 400 + second.var() / 100)
    assert found.high[0] - found.value[0] == pytest.approx(width, rel=0.08)
    assert found.value[0] - found.low[0] == pytest.approx(width, rel=0.08)
    # The same numbers about other videos are not paired: there is an interval about 0.
    same = bootstrap_difference(first, range(400), first, range(400, 800))
    assert same.value[0] == 0 and same.low[0] < -0.05 < 0.05 < same.high[0]


def test_confounder_pointing_rate() -> None:
    # Middles of the answers: 2 s in the first half of the queries, 7 s in the others.
    annotations = [asked(number, 5.0, 10.0) for number in range(4)]
    moments = [(1.0, 3.0), (1.0, 3.0), (6.0, 8.0), (6.0, 8.0)]
    found = AnsweredQueries([Answer(np.array([one])) for one in moments], annotations)
    confounders = {
        "q0": [(0.0, 4.0)],  # points at it
        "q1": [],  # shows none
        "q2": [(5.0, 9.0)],  # points at the moment, which the confounder covers
        "other": [(0.0, 1.0)],
    }
    row = confounder_row(found, confounders)
    assert row["num_queries"] == 3
    assert row["pointing"]["value"] == pytest.approx(100 / 3)
    assert row["confounder_pointing"]["value"] == pytest.approx(100 / 3)
    nothing = AnsweredQueries([Answer(np.zeros((0, 2)))], annotations[:1])
    assert confounder_row(nothing, confounders)["confounder_pointing"]["value"] == 0
    with pytest.raises(AnnotationError, match=r"none of the 1 queries is among the 1 .*'other'"):
        confounder_row(nothing, {"other": []})


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[]", r"line 1: \[\]: expected an object with qid"),
        ("", "expected|no line"),
        ('{"qid": "q0", "context": 3}', r"line 1: context=3: expected \[start, end\], or null"),
        ('{"qid": "q0"}', "expected an object with qid, a string, and context"),
        ('{"qid": "q0", "context": [1]}', r"context=\[1\]: expected \[start, end\]"),
        ('{"qid": "q0", "context": [2, 1]}', "expected start < end"),
        ('{"qid": "q0", "context": null}\n{"qid": "q0", "context": null}', "line 2: .*twice"),
        ('{"qid": ', "c.jsonl"),
    ],
)
def test_damaged_confounders(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "c.jsonl").write_text(text)
    with pytest.raises(AnnotationError, match=match):
        read_confounders(tmp_path / "c.jsonl")


def test_confounders_one_several_and_none(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(
        '{"qid": "a", "context": [1, 2.5], "more": 1}\n{"qid": "b", "context": null}\n'
        '{"qid": "c", "context": [[0, 1], [3, 4]]}\n{"qid": "d", "context": []}\n'
    )
    assert read_confounders(tmp_path / "c.jsonl") == {
        "a": [(1, 2.5)],
        "b": [],
        "c": [(0, 1), (3, 4)],
        "d": [],
    }


def test_seconds_and_parts_of_datasets() -> None:
    assert shift_seconds("charades_cd", ALIKE) == (10.0, 15.0)
    assert shift_seconds("jsonl", ALIKE) == (5.0, 10.0)
    assert opposite_parts("charades_cd", "test_ood") == ("test_iid",)
    assert opposite_parts("activitynet_cd", "test_iid") == ("test_ood",)
    assert opposite_parts("activitynet_cd", "val") == ()
    assert opposite_parts("charades_sta", "test") == ()
    assert opposite_parts("jsonl", "test_iid") == ()


def test_planted_contexts_are_read(tmp_path: Path) -> None:
    knobs = Confounder(num_train=1, num_val=1, num_test=12, rho=0.5)
    write_confounded(tmp_path, knobs)
    annotations, _ = read_annotations("jsonl", tmp_path, "iid")
    contexts = read_confounders(tmp_path / "contexts.jsonl")
    assert {one.qid for one in annotations} <= set(contexts)
    shown = [contexts[one.qid] for one in annotations]
    assert any(shown) and not all(shown)
    # Answers that are the contexts point at them; the objects are elsewhere.
    answers = [Answer(np.array(pairs).reshape(-1, 2)) for pairs in shown]
    row = confounder_row(AnsweredQueries(answers, annotations), contexts)
    rate = 100 * sum(map(bool, shown)) / len(shown)
    assert row["confounder_pointing"]["value"] == pytest.approx(rate)
    assert row["pointing"]["value"] == 0
