"""Files with a query a row: JSONL, JSON lists and csv in their dialects; several moments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bpnet.data.annotations import check_files, read_annotations
from bpnet.errors import AnnotationError
from bpnet.types import Annotation, Saliency

HIGHLIGHT: dict[str, Any] = {
    "qid": 8737,
    "query": "A family is playing basketball together on a green court outside.",
    "duration": 126,
    "vid": "bP5KfdFJzC4_660.0_810.0",
    "relevant_windows": [[0, 4], [10, 12]],
    "relevant_clip_ids": [0, 1, 5],
    "saliency_scores": [[4, 1, 1], [4, 0, 1], [4, 2, 1]],
}
QUESTION = {
    "qid": 3158,
    "query": "A video from a boat",
    "duration": 150,
    "vid": "_6hnl_BrFvs_0_150",
}
TVSUM = {
    "qid": "akI8YFjEmUw",
    "query": "Electric cars making earth more green",
    "duration": 66,
    "vid": "akI8YFjEmUw",
    "relevant_clip_ids": None,
    "relevant_windows": None,
    "label": [[1.0, 5.0]],
    "domain": "VT",
}
TIME_R1 = {
    "video": "./dataset/charades/Charades_v1/3MSZA.mp4",
    "duration": 30.96,
    "timestamp": [24.3, 30.4],
    "sentence": "person turn a light on.",
    "qid": "charades_0",
    "start": None,
    "end": None,
}
CSV = """\
video_id,query,start,end,duration
v0,"a circle, red, moves",1.0,2.5,8
v0,a square moves,0,8,8
"""


def lines(folder: Path, name: str, *rows: object) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def only(dataset: str, path: Path, split: str = "train") -> Annotation:
    (annotation,), _ = read_annotations(dataset, path, split)
    return annotation


def test_qvhighlights(tmp_path: Path) -> None:
    lines(tmp_path, "highlight_val_release.jsonl", HIGHLIGHT)
    annotations, report = read_annotations("qvhighlights", tmp_path, "val")
    assert annotations == [
        Annotation(
            "8737",
            "bP5KfdFJzC4_660.0_810.0",
            "A family is playing basketball together on a green court outside.",
            0.0,
            4.0,
            126.0,
            "val",
            other_moments=((10.0, 12.0),),
            saliency=Saliency((0, 1, 5), ((4, 1, 1), (4, 0, 1), (4, 2, 1)), 2.0),
        )
    ]
    assert (report.num_queries, report.num_pairs) == (1, 2)
    assert (report.num_kept_queries, report.num_kept) == (1, 2)
    assert report.notes == ("1 videos are shorter than their ids say; 'duration' is taken",)
    assert "1 of 1 queries with 2 of 2 pairs" in report.summary()


def test_qvhighlights_test_part(tmp_path: Path) -> None:
    lines(tmp_path, "highlight_test_release.jsonl", QUESTION)
    message = r"none of its 1 queries has a moment.*March 2026: put highlight_test_with_gt\.jsonl"
    with pytest.raises(AnnotationError, match=message):
        read_annotations("qvhighlights", tmp_path, "test")
    with pytest.raises(AnnotationError, match=message):
        read_annotations("lighthouse", tmp_path, "test")
    lines(tmp_path, "highlight_test_with_gt.jsonl", HIGHLIGHT)
    assert only("qvhighlights", tmp_path, "test").qid == "8737"
    with pytest.raises(AnnotationError, match=r"release\.jsonl'.*2026"):
        read_annotations("qvhighlights", tmp_path / "highlight_test_release.jsonl", "test")


def test_every_moment_is_repaired_and_counted_by_itself(tmp_path: Path) -> None:
    moments = [[-1, 2], [5, 4], [0, 2], [120, 130], [float("nan"), 3], [6, 8]]
    clean = {**HIGHLIGHT, "relevant_windows": moments}
    gone = {**HIGHLIGHT, "qid": 1, "relevant_windows": [[4, 4], [130, 140]], "query": "a dog"}
    empty = {**HIGHLIGHT, "qid": 2, "relevant_windows": [[0, 1], [1, 2]], "query": " ! "}
    none = {**HIGHLIGHT, "qid": 3, "relevant_windows": []}
    twice = {**HIGHLIGHT, "qid": 4, "relevant_windows": [[6, 8], [8, 10]]}
    lines(tmp_path, "highlight_train_release.jsonl", clean, gone, empty, none, twice)
    annotations, report = read_annotations("qvhighlights", tmp_path, "train")
    assert [a.qid for a in annotations] == ["8737", "4"]
    # -1 to 2 becomes 0 to 2, which the query gives again.
    assert annotations[0].moments == ((0.0, 2.0), (120.0, 126.0), (6.0, 8.0))
    assert {rule: count for rule, count in report.counts.items() if count} == {
        "start_before_zero": 1,
        "start_not_before_end": 3,
        "repeated_moment": 1,
        "end_after_duration": 1,
        "non_finite_time": 1,
        "empty_sentence": 2,
        "no_moment": 1,
        "duplicate": 1,
    }
    assert (report.num_queries, report.num_kept_queries) == (5, 2)
    # Of 12 pairs 3 + 1 + 1 + 2 are dropped.
    assert (report.num_pairs, report.num_kept) == (12, 5)
    assert report.examples["start_not_before_end"][0].startswith("8737 (5 to 4 s of 126 s, ")
    assert report.examples["no_moment"][0].startswith("3 (126 s, ")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"relevant_clip_ids": [0, 1]}, "2 relevant_clip_ids and 3 saliency_scores"),
        ({"relevant_clip_ids": None}, "relevant_clip_ids=None: expected a list"),
        ({"relevant_clip_ids": [0, 1, 1]}, "relevant_clip_ids: a clip is given more than once"),
        ({"relevant_clip_ids": [0, 1, 63]}, r"63: expected clips of 2 s.*duration=126"),
        ({"relevant_clip_ids": [0, 1, 10**400]}, "expected clips of 2 s that begin before"),
        ({"relevant_clip_ids": [0, 1, -1]}, "relevant_clip_ids=-1: expected an integer >= 0"),
        ({"relevant_clip_ids": [0, 1, 2.0]}, r"relevant_clip_ids=2\.0: expected an integer"),
        ({"saliency_scores": [[1], [2], [5]]}, r"saliency_scores: \[5\]: expected 0 to 4"),
        ({"saliency_scores": [[1], [2], [3, 4]]}, "saliency: 3 clips and 3 rows.*of one length"),
        ({"saliency_scores": [[1], [2], []]}, r"saliency_scores: \[\]: expected 0 to 4, each"),
        ({"saliency_scores": [[1], [2], 3]}, "saliency_scores=3: expected a list"),
        ({"relevant_windows": [[0, 1], 5]}, "relevant_windows=5: expected .start, end"),
        ({"relevant_windows": [[0, 1, 2]]}, r"relevant_windows=\[0, 1, 2\]: expected .start, end"),
        ({"relevant_windows": "0-1"}, "relevant_windows='0-1': expected a list"),
        ({"relevant_windows": [0, "1"]}, "relevant_windows='1': expected a number"),
        ({"vid": None}, "video_id=None: expected a string"),
    ],
)
def test_bad_fields_of_qvhighlights(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    lines(tmp_path, "highlight_val_release.jsonl", HIGHLIGHT, {**HIGHLIGHT, "qid": 1, **change})
    with pytest.raises(AnnotationError, match=f"1 fault: line 2: .*{match}"):
        read_annotations("qvhighlights", tmp_path, "val")


def test_clips_without_scores_are_no_saliency(tmp_path: Path) -> None:
    lines(tmp_path, "a_train_release.jsonl", {**HIGHLIGHT, "saliency_scores": None})
    assert only("lighthouse", tmp_path).saliency is None
    row = {**HIGHLIGHT, "saliency_scores": [], "relevant_clip_ids": []}
    lines(tmp_path, "a_train_release.jsonl", row)
    assert only("lighthouse", tmp_path).saliency is None


def test_lighthouse_files(tmp_path: Path) -> None:
    row = {"qid": 0, "query": "A dog barks.", "duration": 48, "vid": "7bHr", "relevant_windows": []}
    moment = {**row, "qid": 1, "relevant_windows": [[5.0, 30.0]]}
    path = lines(tmp_path, "unav100-subset_test_release.jsonl", row, moment)
    annotations, report = read_annotations("lighthouse", tmp_path, "test")
    assert [a.qid for a in annotations] == ["1"]
    assert report.counts["no_moment"] == 1
    assert only("lighthouse", path, "test") == annotations[0]
    with pytest.raises(AnnotationError, match=r"holds unav100-subset_test_release\.jsonl"):
        check_files("lighthouse", tmp_path, "val")
    with pytest.raises(AnnotationError, match=r"expected a name with 'val' in it, such as '\*_val"):
        check_files("lighthouse", path, "val")
    lines(tmp_path, "test.jsonl", moment)
    with pytest.raises(AnnotationError, match=r"2 files for split 'test' \(test\.jsonl, unav100"):
        check_files("lighthouse", tmp_path, "test")


def test_highlight_detection_has_no_moments(tmp_path: Path) -> None:
    lines(tmp_path, "tvsum_train_release.jsonl", TVSUM, {**TVSUM, "qid": "b"})
    with pytest.raises(AnnotationError, match=r"none of its 2 queries has a moment.*such as TVSum"):
        read_annotations("lighthouse", tmp_path, "train")


def test_time_r1(tmp_path: Path) -> None:
    expected = Annotation(
        "charades_0", "3MSZA", "person turn a light on.", 24.3, 30.4, 30.96, "test"
    )
    assert only("jsonl", lines(tmp_path, "test.jsonl", TIME_R1), "test") == expected
    listed = tmp_path / "test.json"
    listed.write_text(json.dumps([TIME_R1]))
    assert only("jsonl", listed, "test") == expected
    listed.write_text(json.dumps([TIME_R1, 5]))
    with pytest.raises(AnnotationError, match="1 fault: entry 1: 5: expected an object"):
        read_annotations("jsonl", listed, "test")
    listed.write_text(json.dumps(TIME_R1))
    with pytest.raises(AnnotationError, match="a JSON dict: expected a list"):
        read_annotations("jsonl", listed, "test")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"video": "a/b/X.mp4"}, "X"),
        ({"video": "a\\b\\X.webm"}, "X"),
        ({"video": "X.MKV"}, "X"),
        ({"video": "_6hnl_360.0_510.0"}, "_6hnl_360.0_510.0"),
        ({"video_path": "v/s13-d21.avi"}, "s13-d21"),
        ({"vid": "s13-d21.avi"}, "s13-d21.avi"),
        ({"video_id": "v_1", "vid": "x", "video": "a/b"}, "v_1"),
        ({"video_id": None, "vid": "x"}, "x"),
    ],
)
def test_names_of_the_video(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    row = {"query": "a dog", "start": 0, "end": 1, "duration": 2, **change}
    assert only("jsonl", lines(tmp_path, "train.jsonl", row)).video_id == expected


@pytest.mark.parametrize("name", ["query", "sentence", "question", "caption"])
def test_names_of_the_sentence(tmp_path: Path, name: str) -> None:
    row = {"video_id": "v", name: "a dog", "start": 0, "end": 1, "duration_seconds": 2}
    annotation = only("jsonl", lines(tmp_path, "train.jsonl", row))
    assert (annotation.query, annotation.duration_seconds) == ("a dog", 2.0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"timestamp": [1, 2]}, ((1.0, 2.0),)),
        ({"timestamps": [[1, 2], [3, 4]]}, ((1.0, 2.0), (3.0, 4.0))),
        ({"relevant_windows": [[3, 4]], "timestamp": [1, 2], "start": 0}, ((3.0, 4.0),)),
        ({"timestamp": None, "start_seconds": 1, "end_seconds": 2}, ((1.0, 2.0),)),
        ({"start": 1, "end": 2, "start_seconds": None}, ((1.0, 2.0),)),
    ],
)
def test_names_of_the_moments(
    tmp_path: Path, change: dict[str, Any], expected: tuple[tuple[float, float], ...]
) -> None:
    row = {"video_id": "v", "query": "a dog", "duration": 9, **change}
    assert only("jsonl", lines(tmp_path, "train.jsonl", row)).moments == expected


def test_a_row_without_any_moment_field_is_a_fault_of_ones_own_data(tmp_path: Path) -> None:
    row = {"video_id": "v", "query": "a dog", "duration": 9}
    path = lines(tmp_path, "train.jsonl", row, {**row, "timestamp": None})
    with pytest.raises(AnnotationError, match="1 fault: line 1: start=None: expected a number"):
        read_annotations("jsonl", path, "train")
    path = lines(tmp_path, "train.jsonl", {**row, "timestamp": None}, {**row, "timestamp": [1, 2]})
    annotations, report = read_annotations("jsonl", path, "train")
    assert ([a.qid for a in annotations], report.counts["no_moment"]) == (["v_1"], 1)


def test_missing_ids_are_made_from_the_order_in_the_file(tmp_path: Path) -> None:
    row = {"query": "a dog", "start": 0, "end": 1, "duration": 2}
    rows = [{**row, "video_id": v, "split": s} for v, s in (("a", "x"), ("b", "y"), ("a", "y"))]
    path = lines(tmp_path, "annotations.jsonl", *rows, {**rows[0], "qid": "mine", "split": "y"})
    assert [a.qid for a in read_annotations("jsonl", path, "y")[0]] == ["b_0", "a_1", "mine"]


def test_rows_without_a_part(tmp_path: Path) -> None:
    row = {"video_id": "v", "query": "a dog", "start": 0, "end": 1, "duration": 2}
    path = lines(tmp_path, "mine_val.jsonl", row, row)
    annotations, report = read_annotations("jsonl", path, "val")
    assert (len(annotations), report.notes) == (2, ())
    with pytest.raises(AnnotationError, match=r"2 lines do not say.*speaks of 'val': expected spl"):
        read_annotations("jsonl", path, "test")
    path = path.rename(tmp_path / "mine.jsonl")
    _, report = read_annotations("jsonl", path, "test")
    assert (
        "neither 2 lines nor the file name say a part: all are taken as 'test'" in report.notes[0]
    )


@pytest.mark.parametrize("name", ["train.csv", "annotations.csv"])
def test_csv(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(CSV)
    annotations, _ = read_annotations("csv", tmp_path, "train")
    assert annotations == [
        Annotation("v0_0", "v0", "a circle, red, moves", 1.0, 2.5, 8.0, "train"),
        Annotation("v0_1", "v0", "a square moves", 0.0, 8.0, 8.0, "train"),
    ]


def test_csv_with_every_column(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text(
        "qid,video,sentence,start_seconds,end_seconds,duration_seconds,split,note\r\n"
        "7,clips/v0.mp4,a dog,1,2,8,train,x\r\n"
        "8,clips/v0.mp4,a cat,nan,2,8,test,\r\n"
        '9,clips/v0.mp4,"a\r\ncat",1,2,8,test,\r\n',
        newline="",
        encoding="utf-8-sig",
    )
    assert only("csv", path) == Annotation("7", "v0", "a dog", 1.0, 2.0, 8.0, "train")
    annotations, report = read_annotations("csv", path, "test")
    assert [(a.qid, a.query) for a in annotations] == [("9", "a cat")]
    assert report.counts["non_finite_time"] == 1


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", r"columns \[\]: expected a header with video_id, query, start, end, duration"),
        ("video_id,query,duration\nv,a,1\n", "columns .*'duration'.*: expected a header"),
        (CSV.replace("query", "end"), "columns .*each once"),
        (CSV + "v0,a dog,1,2,8,9\n", "1 fault: line 4: more cells than columns"),
        (CSV + "v0,a dog,1,2\n", "1 fault: line 4: duration=None: expected a number"),
        (CSV + "v0,a dog,1,two,8\n", "1 fault: line 4: end='two': expected a number"),
        (CSV + "v0,a dog,1,1_0,80\n", "1 fault: line 4: end='1_0': expected a number"),
        (CSV + "v0,a dog,1,,8\n", "1 fault: line 4: end='': expected a number"),
        (CSV + 'v0,"a dog"s,1,2,8\n', "after line 3: .*: expected csv"),
        (CSV + f"v0,{'a' * 200_000},1,2,8\n", "after line 3: field larger.*: expected csv"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(AnnotationError, match=rf"train\.csv.*{match}"):
        read_annotations("csv", tmp_path, "train")


@pytest.mark.parametrize("split", ["", "../secret", "a\\b", "a\0"])
def test_a_part_is_a_name(tmp_path: Path, split: str) -> None:
    with pytest.raises(AnnotationError, match="expected the name of a part"):
        check_files("jsonl", tmp_path, split)
