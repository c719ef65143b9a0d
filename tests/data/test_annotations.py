"""Annotation readers: lines as the datasets have them, every rule for dirt, every error."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bpnet.data.annotations import check_files, read_annotations
from bpnet.errors import AnnotationError, ConfigError
from bpnet.types import Annotation

CHARADES = """\
AO8RW 0.0 6.9##a person is putting a book on a shelf.
Y6R7T 20.8 30.0##person begins to play on a phone.
Y6R7T 7.3 17.3##person pouring it into a glass.
"""
CHARADES_CSV = """\
id,subject,script,length
AO8RW,CP6Y,"A person walks,
then sits.",33.67
Y6R7T,HR43,Drinks.,29.42
"""
CHARADES_JSON = {"AO8RW": {"subset": "training", "duration": 33.67}, "Y6R7T": {"duration": 29.42}}
TACOS = {
    "s30-d52.avi": {
        "timestamps": [[141, 354], [361, 732]],
        "sentences": ["The person gets out a kiwi.", "He peels it."],
        "fps": 29.4,
        "num_frames": 7343,
    },
    "s17-d69.avi": {
        "timestamps": [[294, 588]],
        "sentences": ["She took out a knife."],
        "fps": 29.4,
        "num_frames": 2940,
    },
}
ACTIVITYNET = {
    "v_QOlSCBRmfWY": {
        "duration": 82.73,
        "timestamps": [[0.83, 19.86], [17.37, 60.81]],
        "sentences": ["A young woman is seen standing in a room.", " The girl dances."],
    },
    "v_uqiMw7tQ1Cc": {
        "duration": 55.15,
        "timestamps": [[0, 55.15]],
        "sentences": ["A weight lifting tutorial is given."],
    },
}
ROW: dict[str, Any] = {
    "qid": "q0",
    "video_id": "v0",
    "query": "a red circle moves",
    "start": 1.0,
    "end": 2.5,
    "duration": 8.0,
    "split": "train",
}


def charades(folder: Path, text: str = CHARADES, split: str = "train") -> Path:
    (folder / f"charades_sta_{split}.txt").write_text(text)
    (folder / f"Charades_v1_{split}.csv").write_text(CHARADES_CSV)
    return folder


def video_json(folder: Path, split: str, value: object) -> Path:
    (folder / f"{split}.json").write_text(json.dumps(value))
    return folder


def jsonl(folder: Path, *rows: object) -> Path:
    path = folder / "annotations.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def moment(annotation: Annotation) -> tuple[float, float, float]:
    return annotation.start_seconds, annotation.end_seconds, annotation.duration_seconds


def test_charades(tmp_path: Path) -> None:
    annotations, report = read_annotations("charades_sta", charades(tmp_path), "train")
    assert annotations[0] == Annotation(
        "AO8RW_0", "AO8RW", "a person is putting a book on a shelf.", 0.0, 6.9, 33.67, "train"
    )
    assert [annotation.qid for annotation in annotations] == ["AO8RW_0", "Y6R7T_0", "Y6R7T_1"]
    assert moment(annotations[1]) == (20.8, 29.42, 29.42)
    assert (report.num_pairs, report.num_kept, report.num_videos) == (3, 3, 2)
    assert report.counts["end_after_duration"] == 1
    assert report.examples["end_after_duration"][0].startswith("Y6R7T_0 (20.8 to 30 s of 29.42 s")
    assert [Path(path).name for path in report.paths] == [
        "charades_sta_train.txt",
        "Charades_v1_train.csv",
    ]
    assert report.notes == ("neither of the two known copies of the Charades-STA train file",)


@pytest.mark.parametrize("name", ["charades_durations.json", "charades.json"])
def test_charades_durations_as_json(tmp_path: Path, name: str) -> None:
    charades(tmp_path, split="test")
    (tmp_path / "Charades_v1_test.csv").unlink()
    (tmp_path / name).write_text(json.dumps(CHARADES_JSON))
    annotations, report = read_annotations("charades_sta", tmp_path, "test")
    assert [annotation.duration_seconds for annotation in annotations] == [33.67, 29.42, 29.42]
    assert report.notes == ()


def test_charades_without_durations(tmp_path: Path) -> None:
    charades(tmp_path)
    (tmp_path / "Charades_v1_train.csv").unlink()
    with pytest.raises(AnnotationError, match=r"'Charades_v1_train\.csv' or 'charades_durations"):
        check_files("charades_sta", tmp_path, "train")
    (tmp_path / "Charades_v1_train.csv").write_text("video,seconds\nAO8RW,3\n")
    with pytest.raises(AnnotationError, match="'id' and 'length'"):
        read_annotations("charades_sta", tmp_path, "train")


def test_charades_has_no_validation_part(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"'val'.*carve one out of train by video"):
        read_annotations("charades_sta", charades(tmp_path), "val")


def test_tacos(tmp_path: Path) -> None:
    annotations, report = read_annotations(
        "tacos_2dtan", video_json(tmp_path, "test", TACOS), "test"
    )
    assert [annotation.qid for annotation in annotations] == [
        "s30-d52_0",
        "s30-d52_1",
        "s17-d69_0",
    ]
    assert moment(annotations[2]) == pytest.approx((10.0, 20.0, 100.0))
    assert annotations[0].video_id == "s30-d52"
    assert report.num_videos == 2


def test_activitynet(tmp_path: Path) -> None:
    video_json(tmp_path, "val_1", ACTIVITYNET)
    annotations, report = read_annotations("activitynet", tmp_path, "val_1")
    assert [annotation.qid for annotation in annotations] == [
        "v_QOlSCBRmfWY_0",
        "v_QOlSCBRmfWY_1",
        "v_uqiMw7tQ1Cc_0",
    ]
    assert annotations[1].query == "The girl dances."
    assert report.counts["white_space"] == 1
    assert {annotation.split for annotation in annotations} == {"val_1"}


def test_activitynet_split_names(tmp_path: Path) -> None:
    for number, name in enumerate(["val_1", "val_2", "val", "test"], start=1):
        one = {"v": {"duration": number, "timestamps": [[0, 1]], "sentences": ["a man"]}}
        video_json(tmp_path, name, one)

    def duration(split: str) -> float:
        return read_annotations("activitynet", tmp_path, split)[0][0].duration_seconds

    assert [duration(name) for name in ("val_1", "val_2", "val", "test")] == [1, 2, 3, 4]
    (tmp_path / "val.json").unlink()
    (tmp_path / "test.json").unlink()
    assert [duration(name) for name in ("val", "test")] == [1, 2]
    with pytest.raises(AnnotationError, match=r"'dev': activitynet has train, val_1, val_2, val"):
        duration("dev")


def test_given_query_ids(tmp_path: Path) -> None:
    entry = {**ACTIVITYNET["v_QOlSCBRmfWY"], "qids": [17, "x"]}
    video_json(tmp_path, "train", {"v": entry})
    annotations, _ = read_annotations("activitynet", tmp_path, "train")
    assert [annotation.qid for annotation in annotations] == ["17", "x"]
    video_json(tmp_path, "train", {"v": {**entry, "qids": [17]}})
    with pytest.raises(AnnotationError, match="'v': 1 qids and 2 sentences"):
        read_annotations("activitynet", tmp_path, "train")
    video_json(tmp_path, "train", {"v": entry, "w": {**entry, "qids": [18, 17]}})
    with pytest.raises(AnnotationError, match="qid '17' is given more than once"):
        read_annotations("activitynet", tmp_path, "train")


def test_jsonl(tmp_path: Path) -> None:
    path = jsonl(tmp_path, ROW, {**ROW, "qid": 7, "split": "test"}, {**ROW, "qid": "q2"})
    train, report = read_annotations("jsonl", tmp_path, "train")
    assert train[0] == Annotation("q0", "v0", "a red circle moves", 1.0, 2.5, 8.0, "train")
    assert [annotation.qid for annotation in train] == ["q0", "q2"]
    assert report.counts["duplicate"] == 1
    assert [a.qid for a in read_annotations("jsonl", path, "test")[0]] == ["7"]
    with pytest.raises(AnnotationError, match=r"no line of split 'val'.*'train': 2, 'test': 1"):
        read_annotations("jsonl", path, "val")
    path.rename(tmp_path / "train.jsonl")
    assert len(read_annotations("jsonl", tmp_path, "train")[0]) == 2


@pytest.mark.parametrize(
    ("change", "rule", "expected"),
    [
        ({"end": 9.0}, "end_after_duration", (1.0, 8.0, 8.0)),
        ({"start": -0.5}, "start_before_zero", (0.0, 2.5, 8.0)),
        ({"start": 2.5}, "start_not_before_end", None),
        ({"start": 3.0}, "start_not_before_end", None),
        ({"start": 8.0, "end": 9.0}, "start_not_before_end", None),
        ({"start": -2.0, "end": 0.0}, "start_not_before_end", None),
        ({"start": math.nan}, "non_finite_time", None),
        ({"end": math.inf}, "non_finite_time", None),
        ({"query": " \t"}, "empty_sentence", None),
        ({"query": " . "}, "empty_sentence", None),
        ({"query": " a  red\tcircle moves "}, "white_space", (1.0, 2.5, 8.0)),
        ({"duration": 9.0}, "duration_differs", (1.0, 2.5, 9.0)),
        ({"query": "a circle moves", "end": 2.0}, "duplicate", (1.0, 2.0, 8.0)),
    ],
)
def test_every_rule(
    tmp_path: Path, change: dict[str, Any], rule: str, expected: tuple[float, ...] | None
) -> None:
    first = {**ROW, "query": "a circle moves", "end": 2.0}
    path = jsonl(tmp_path, first, {**ROW, "qid": "q1", **change})
    annotations, report = read_annotations("jsonl", path, "train")
    assert {name: count for name, count in report.counts.items() if count} == {rule: 1}
    assert report.num_kept == len(annotations) == 1 + (expected is not None)
    if expected is not None:
        assert moment(annotations[1]) == expected
        assert annotations[1].query == " ".join(str({**ROW, **change}["query"]).split())
    assert report.examples[rule][0].startswith("q1 (")
    assert rule in report.summary() and "q1" in report.summary()
    assert json.loads(json.dumps(report.to_dict()))["counts"][rule] == 1


def test_only_the_first_examples_are_kept(tmp_path: Path) -> None:
    rows = [{**ROW, "qid": number, "start": 5.0} for number in range(9)]
    _, report = read_annotations("jsonl", jsonl(tmp_path, ROW, *rows), "train")
    assert report.counts["start_not_before_end"] == 9
    assert len(report.examples["start_not_before_end"]) == 3
    assert "1 of 10 pairs from 1 videos" in report.summary()


def test_nothing_left(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"no usable pair among 1.*start_not_before_end"):
        read_annotations("jsonl", jsonl(tmp_path, {**ROW, "start": 5.0}), "train")
    (tmp_path / "train.json").write_text("{}")
    with pytest.raises(AnnotationError, match="no usable pair among 0"):
        read_annotations("tacos_2dtan", tmp_path, "train")


def test_bad_lines_are_reported_together(tmp_path: Path) -> None:
    bad = ["AO8RW 0.0##x", "AO8RW 0.0 6.9 x", "AO8RW a 6.9##x", "no", "##", "AO8RW 1 2 3##x"]
    charades(tmp_path, CHARADES + "\n" + "\n".join(bad))
    with pytest.raises(AnnotationError) as caught:
        read_annotations("charades_sta", tmp_path, "train")
    message = str(caught.value)
    for part in (
        "charades_sta_train.txt",
        "6 faults",
        "line 5: 'AO8RW 0.0##x'",
        "line 9",
        "1 more",
    ):
        assert part in message
    assert "line 10" not in message


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"qid": None}, "line 2: qid=None"),
        ({"video_id": 3}, "line 2: video_id=3"),
        ({"video_id": ""}, "line 2: video_id=''"),
        ({"query": ["a"]}, "line 2: query="),
        ({"start": "1.0"}, r"line 2: start='1\.0': expected a number"),
        ({"end": True}, "line 2: end=True"),
        ({"end": 10**400}, "line 2: end"),
        ({"duration": None}, "line 2: duration=None"),
        ({"split": None}, "line 2: split=None"),
        ({"duration": 0}, "video 'v1' has no duration > 0"),
        ({"duration": math.nan}, "video 'v1' has no duration > 0"),
        ({"qid": "q0"}, "qid 'q0' is given more than once"),
    ],
)
def test_bad_fields(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    path = jsonl(tmp_path, ROW, {**ROW, "qid": "q1", "video_id": "v1", **change})
    with pytest.raises(AnnotationError, match=match) as caught:
        read_annotations("jsonl", path, "train")
    assert "annotations.jsonl" in str(caught.value)


def test_a_missing_field_and_lines_that_are_no_objects(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {name: value for name, value in ROW.items() if name != "end"}, [1])
    path.write_text(path.read_text() + "{oh\n")
    with pytest.raises(AnnotationError, match=r"3 faults: line 1: end=None.*line 2.*line 3"):
        read_annotations("jsonl", path, "train")


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ([], "expected an object"),
        ({"timestamps": [[0, 1]]}, "sentences=None: expected a list"),
        ({"timestamps": [], "sentences": ["a"]}, "0 timestamps and 1 sentences"),
        ({"timestamps": [[0]], "sentences": ["a"]}, r"timestamps=\[0\]: expected \[start, end\]"),
        ({"timestamps": [5], "sentences": ["a"]}, "timestamps=5: expected"),
        ({"timestamps": [[0, 1]], "sentences": [None]}, "None: expected"),
        ({"timestamps": [[0, "1"]], "sentences": ["a"]}, "timestamps='1': expected a number"),
        ({"timestamps": [[0, 1]], "sentences": ["a"], "duration": "9"}, "duration='9'"),
        ({"timestamps": [[0, 1]], "sentences": ["a"]}, "has no duration > 0"),
        ({"timestamps": [[0, 1]], "sentences": ["a"], "duration": -1}, "has no duration > 0"),
    ],
)
def test_bad_entries(tmp_path: Path, entry: object, match: str) -> None:
    video_json(tmp_path, "train", {**ACTIVITYNET, "v_bad": entry})
    with pytest.raises(AnnotationError, match=rf"train\.json.*'v_bad'.*{match}"):
        read_annotations("activitynet", tmp_path, "train")


def test_bad_frame_rate(tmp_path: Path) -> None:
    entry = {"timestamps": [[0, 1]], "sentences": ["a"], "fps": 0, "num_frames": 9}
    video_json(tmp_path, "train", {"s1": entry})
    with pytest.raises(AnnotationError, match=r"'s1': fps=0\.0"):
        read_annotations("tacos_2dtan", tmp_path, "train")


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b""])
def test_damaged_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train.json").write_bytes(content)
    with pytest.raises(AnnotationError, match=r"train\.json"):
        read_annotations("tacos_2dtan", tmp_path, "train")


def test_not_text(tmp_path: Path) -> None:
    charades(tmp_path)
    (tmp_path / "charades_sta_train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AnnotationError, match=r"charades_sta_train\.txt.*UTF-8"):
        read_annotations("charades_sta", tmp_path, "train")


def test_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    charades(tmp_path)
    text = CHARADES.replace("\n", "\r\n").encode("utf-8-sig")
    (tmp_path / "charades_sta_train.txt").write_bytes(text)
    annotations, report = read_annotations("charades_sta", tmp_path, "train")
    assert annotations[0].video_id == "AO8RW"
    assert annotations[0].query.endswith("shelf.")
    assert report.counts["white_space"] == 0


def test_videos_without_duration_are_all_named(tmp_path: Path) -> None:
    charades(tmp_path, CHARADES + "ZZZZ1 0 1##a\nZZZZ2 0 1##a\nZZZZ1 0 2##b\n")
    with pytest.raises(AnnotationError, match=r"2 faults: video 'ZZZZ1'.*'ZZZZ2'") as caught:
        read_annotations("charades_sta", tmp_path, "train")
    assert "Charades_v1_train.csv" in str(caught.value)


def test_missing_files_name_folder_and_content(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"nowhere'.*no such.*'train\.json'"):
        check_files("tacos_2dtan", tmp_path / "nowhere", "train")
    with pytest.raises(AnnotationError, match="holds nothing"):
        check_files("tacos_2dtan", tmp_path, "train")
    for number in range(10):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(AnnotationError, match=r"'val\.json' or 'val_1\.json'.*7\.txt and 2 more"):
        check_files("activitynet", tmp_path, "val")
    with pytest.raises(AnnotationError, match=r"'train\.jsonl' or 'annotations\.jsonl'"):
        check_files("jsonl", tmp_path, "train")
    with pytest.raises(ConfigError, match="dataset='nothing': expected one of charades_sta"):
        check_files("nothing", tmp_path, "train")


def test_a_single_file_must_be_of_the_split(tmp_path: Path) -> None:
    video_json(tmp_path, "train", TACOS)
    assert len(read_annotations("tacos_2dtan", tmp_path / "train.json", "train")[0]) == 3
    with pytest.raises(AnnotationError, match=r"train\.json'.*expected 'test\.json'"):
        check_files("tacos_2dtan", tmp_path / "train.json", "test")
    charades(tmp_path)
    check_files("charades_sta", str(tmp_path / "charades_sta_train.txt"), "train")


def test_importing_does_not_import_torch() -> None:
    code = (
        "import sys, bpnet.errors\n"
        "before = 'torch' in sys.modules\n"
        "import bpnet.data.annotations\n"
        "print('torch' in sys.modules and not before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
