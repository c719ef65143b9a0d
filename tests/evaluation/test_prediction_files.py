"""Every form of a predictions file, value for value; and what is refused, with its place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpnet.errors import AnnotationError
from bpnet.evaluation import prediction_files
from bpnet.evaluation.prediction_files import read_predictions

OURS = {
    "qid": "AO8RW_0",
    "video_id": "AO8RW",
    "query": "a person opens the door.",
    "start_seconds": 2.0,
    "end_seconds": 9.0,
    "duration_seconds": 30.0,
    "split": "test",
    "other_moments": [],
    "saliency": None,
    "moments": [
        {"start_seconds": 1.5, "end_seconds": 8.0, "score": 0.75},
        {"start_seconds": 3.0, "end_seconds": 9.5, "score": 0.5},
    ],
    "stage_one": [{"start_seconds": 3.0, "end_seconds": 9.5, "score": 0.25}],
}
DETR = {
    "qid": 2579,
    "query": "A girl and her mother cooked.",
    "vid": "NUsG9BgSes0_210.0_360.0",
    "pred_relevant_windows": [[0.0, 70.0, 0.9986], [78, 146, 0.4138]],
    "pred_saliency_scores": [-0.2452, 1, 0.5],
}
TAN = {
    "vid": "s27-d50.avi",
    "timestamps": [[0.0, 12.25], [4.0, 9.0]],
    "description": "The person washes a knife.",
}
VSLNET = {
    "sample_id": 7,
    "vid": "3MSZA",
    "words": ["person", "turn", "a", "light", "on", "."],
    "duration": 30.96,
    "start_time": 24.3,
    "end_time": 30.4,
}
NLQ = {
    "version": "1.0",
    "challenge": "ego4d_nlq_challenge",
    "results": [
        {
            "clip_uid": "c-1",
            "annotation_uid": "a-1",
            "query_idx": 3,
            "predicted_times": [[1.0, 2.0], [4.0, 8.0]],
        }
    ],
}


def write(folder: Path, text: str) -> Path:
    path = folder / "predictions"  # the name says nothing
    path.write_text(text, encoding="utf-8")
    return path


def lines(*entries: object) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def test_our_predictions(tmp_path):
    other = {"qid": "q", "moments": []}
    file = read_predictions(write(tmp_path, lines(OURS, other)))
    assert (file.form, file.reason) == ("bpnet", "its entries have 'moments'")
    first, second = file.queries
    assert (first.where, first.qid, first.video_id) == ("line 1", "AO8RW_0", "AO8RW")
    assert first.query == OURS["query"]
    assert first.answer.moments == [(1.5, 8.0), (3.0, 9.5)]
    assert first.answer.scores == [0.75, 0.5]
    assert (first.answer.stage_one, first.answer.stage_one_scores) == ([(3.0, 9.5)], [0.25])
    assert first.answer.saliency is None
    assert (second.where, second.answer.moments, second.answer.stage_one) == ("line 2", [], None)
    assert file.notes == ("1 of 2 queries have no moment, and count as missed",)


def test_moment_detr(tmp_path):
    without = {key: value for key, value in DETR.items() if key != "pred_saliency_scores"}
    file = read_predictions(write(tmp_path, lines(DETR, without)))
    assert file.form == "moment-detr"
    first, second = file.queries
    assert (first.qid, first.video_id) == ("2579", "NUsG9BgSes0_210.0_360.0")
    assert first.answer.moments == [(0.0, 70.0), (78.0, 146.0)]
    assert first.answer.scores == [0.9986, 0.4138]
    assert first.answer.saliency == [-0.2452, 1.0, 0.5]
    assert second.answer.saliency is None
    assert file.notes == ()


def test_2d_tan_as_a_list_and_as_lines(tmp_path):
    scored = TAN | {"scores": [0.5, 0.25]}
    for text, where in ((json.dumps([TAN, scored]), "entry 1"), (lines(TAN, scored), "line 1")):
        file = read_predictions(write(tmp_path, text))
        assert file.form == "2d-tan"
        first, second = file.queries
        assert (first.where, first.qid, first.video_id) == (where, None, "s27-d50.avi")
        assert first.query == "The person washes a knife."
        assert (first.answer.moments, first.answer.scores) == ([(0.0, 12.25), (4.0, 9.0)], None)
        assert second.answer.scores == [0.5, 0.25]
        assert file.notes == ("1 of 2 queries have no scores, so none are used",)


def test_vslnet_with_words_and_with_a_sentence(tmp_path):
    short = {"video": "3MSZA", "sentence": "person turn on.", "timestamp": [1, 2.5], "qid": 4}
    file = read_predictions(write(tmp_path, lines(VSLNET, short)))
    assert file.form == "vslnet"
    first, second = file.queries
    assert (first.qid, first.query) == (None, "person turn a light on .")
    assert (first.answer.moments, first.answer.scores) == ([(24.3, 30.4)], None)
    assert (second.qid, second.video_id, second.answer.moments) == ("4", "3MSZA", [(1.0, 2.5)])


def test_ego4d(tmp_path):
    file = read_predictions(write(tmp_path, json.dumps(NLQ, indent=1)))
    assert file.form == "nlq"
    (query,) = file.queries
    assert (query.qid, query.video_id) == ("a-1_3", "c-1")
    assert query.answer.moments == [(1.0, 2.0), (4.0, 8.0)]


def test_pairs(tmp_path):
    file = read_predictions(
        write(tmp_path, json.dumps({"a": [1, 2.5], "b": [[1, 2], [3, 4]], "c": []}))
    )
    assert (file.form, file.reason) == (
        "pairs",
        "it is one object that gives a list for each name",
    )
    assert {query.qid: query.answer.moments for query in file.queries} == {
        "a": [(1.0, 2.5)],
        "b": [(1.0, 2.0), (3.0, 4.0)],
        "c": [],
    }


def test_one_line_is_a_file_of_lines(tmp_path):
    assert read_predictions(write(tmp_path, json.dumps(OURS))).queries[0].qid == "AO8RW_0"


def test_a_mark_and_line_separators_inside_of_sentences(tmp_path):
    text = "\ufeff" + json.dumps(DETR | {"query": "one\u2028two"}, ensure_ascii=False) + "\r\n\r\n"
    file = read_predictions(write(tmp_path, text + lines(DETR)))
    assert [query.where for query in file.queries] == ["line 1", "line 3"]
    assert file.queries[0].query == "one\u2028two"


def test_ranks_are_the_order_in_the_file(tmp_path):
    swapped = DETR | {"pred_relevant_windows": DETR["pred_relevant_windows"][::-1]}
    file = read_predictions(write(tmp_path, lines(DETR, swapped)))
    assert file.queries[1].answer.moments[0] == (78.0, 146.0)
    assert file.notes == (
        "the scores of 1 of 2 queries do not descend: ranks are the order in the file",
    )


# What is refused. -------------------------------------------------------------------------------


def moved(**changes: object) -> str:
    return lines(DETR, DETR | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (moved(pred_relevant_windows=[[0, 1]]), r"line 2: .*\[0, 1\]: expected \[start, end, scor"),
        (
            moved(pred_relevant_windows=[[5, 3, 0.5]]),
            r"line 2: moment 5\.0 to 3\.0 s: expected fin",
        ),
        (moved(pred_relevant_windows=[[0, float("nan"), 0.5]]), r"line 2: moment 0\.0 to nan s"),
        (moved(pred_relevant_windows=[[0, 1, float("inf")]]), r"line 2: score=inf: expected a fin"),
        (moved(pred_relevant_windows=[["0", 1, 0.5]]), r"line 2: .*'0': expected a number"),
        (moved(pred_relevant_windows=[[True, 1, 0.5]]), r"line 2: .*True: expected a number"),
        (moved(pred_relevant_windows=[[0, 10**400, 0.5]]), r"line 2: .*beyond all floats"),
        (moved(pred_relevant_windows={}), r"line 2: pred_relevant_windows=\{\}: expected a list"),
        (moved(pred_relevant_windows=None), "line 2: pred_relevant_windows=None: expected a list"),
        (moved(pred_saliency_scores=[]), r"pred_saliency_scores=\[\]: expected a score for each"),
        (moved(pred_saliency_scores=[None]), "pred_saliency_scores=None: expected a number"),
        (moved(qid=None), "line 2: qid=None: expected a string or an integer"),
        (moved(qid=1.5), r"line 2: qid=1\.5: expected a string or an integer"),
        (moved(qid=True), "line 2: qid=True: expected a string or an integer"),
        (moved(vid=7), "line 2: vid=7: expected a string"),
        (lines(DETR, [1]), r"line 2: \[1\]: expected an object"),
        (lines(DETR, OURS), "line 2: pred_relevant_windows=None: expected a list"),
        (lines(OURS, OURS | {"moments": [[1, 2]]}), r"moments: \[1, 2\]: expected an object"),
        (lines(OURS, OURS | {"moments": [{}]}), "line 2: start_seconds=None: expected a number"),
        (lines(OURS, OURS | {"stage_one": 5}), "line 2: stage_one=5: expected a list"),
        (lines(TAN, TAN | {"timestamps": [1, 2]}), r"timestamps=1: expected \[start, end\]"),
        (lines(TAN, TAN | {"scores": [1]}), "line 2: 2 timestamps and 1 scores: must be equal"),
        (lines(VSLNET, VSLNET | {"words": [1]}), r"line 2: words=\[1\]: expected a string"),
        (lines(VSLNET, {"vid": "v"}), "line 2: start_time=None: expected a number"),
        (json.dumps(NLQ).replace("3", '"3"'), "entry 1: annotation_uid='a-1', query_idx='3': expe"),
        ('{"a": [1, 2], "b": ["x", 2]}', r"entry 2: answer='x': expected a number"),
        ('{"a": [1, 2, 3]}', r"entry 1: answer=\[1, 2, 3\]: expected \[start, end\]"),
    ],
)
def test_faults_of_entries(tmp_path, text, message):
    with pytest.raises(
        AnnotationError, match=rf"(?s)predictions file '.*read as .* faults?: .*{message}"
    ):
        read_predictions(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no entry: expected one for each query"),
        ("\n \n", "no entry: expected one for each query"),
        ("[]", "no entry: expected one for each query"),
        ('{"results": []}', "no entry: expected one for each query"),
        ("{}", r"\{\}: expected one of these forms: our predictions\.jsonl"),
        ("5", "5: expected one of these forms"),
        ('["a"]', "'a': expected one of these forms"),
        ("hello", "neither JSON nor JSONL: Expecting value: line 1"),
        ('[{"qid": 1', "neither JSON nor JSONL: "),
        (lines(DETR) + '{"qid": 2, "pred_', "neither JSON nor JSONL: line 2: "),
        ("[" * 100_000, "neither JSON nor JSONL: nested too deeply"),
        ('{"a": [0, 1], "a": [0, 2]}', "'a' is given more than once in one object"),
        ("9" * 10_000, "(neither JSON nor JSONL|expected one of these forms)"),
        # An annotation file is no predictions file.
        (
            lines({"qid": 1, "query": "q", "vid": "v", "relevant_windows": [[0, 1]]}),
            r"names \['qid', 'query', 'vid', 'relevant_windows'\]: expected one of these forms",
        ),
        ('{"v_1": {"duration": 5, "timestamps": [[0, 1]]}}', r"names \['v_1'\]: expected one of"),
    ],
)
def test_what_is_no_predictions_file(tmp_path, text, message):
    with pytest.raises(AnnotationError, match=rf"predictions file '.*{message}"):
        read_predictions(write(tmp_path, text))


def test_unsure_between_two_forms(tmp_path):
    both = DETR | {"moments": []}
    with pytest.raises(AnnotationError, match="which mark moment-detr and bpnet: expected one of"):
        read_predictions(write(tmp_path, lines(both)))


def test_many_faults_are_counted_and_five_shown(tmp_path):
    bad = DETR | {"qid": None}
    with pytest.raises(
        AnnotationError, match=r"8 faults: line 2: .*line 6: .*; and 3 more$"
    ) as err:
        read_predictions(write(tmp_path, lines(DETR, *[bad] * 8)))
    assert "line 7" not in str(err.value)


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(AnnotationError, match=r"gone.jsonl': cannot be read"):
        read_predictions(tmp_path / "gone.jsonl")
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_predictions(tmp_path)
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04\x95\x10")
    with pytest.raises(AnnotationError, match=r"UTF-8; pickles \(\.pkl, \.pt\) are not read"):
        read_predictions(tmp_path / "a.pkl")
    monkeypatch.setattr(prediction_files, "MAX_FILE_BYTES", 100)
    with pytest.raises(
        AnnotationError, match=r"\d+ bytes: expected at most 100; keep the best hun"
    ):
        read_predictions(write(tmp_path, lines(DETR)))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["qid", "moments", "vid", "timestamps"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("qid", "moments", "pred_relevant_windows", "vid", "description", "words"),
                    *("timestamps", "timestamp", "start_time", "end_time", "scores", "results"),
                    *("pred_saliency_scores", "predicted_times", "score", "start_seconds"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(values, max_size=3), st.booleans())
def test_any_json_is_read_or_refused(tmp_path, entries, as_lines):
    text = lines(*entries) if as_lines else json.dumps(entries)
    try:
        file = read_predictions(write(tmp_path, text))
    except AnnotationError:
        return
    for query in file.queries:
        moments = np.asarray(query.answer.moments, float).reshape(-1, 2)
        assert (moments[:, 0] <= moments[:, 1]).all()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([OURS, DETR, TAN, VSLNET, NLQ]), st.data())
def test_mutated_files_are_read_or_refused(tmp_path, entry, data):
    raw = bytearray(lines(entry, entry).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place : place + data.draw(st.integers(1, 9))] = data.draw(st.binary(max_size=3))
    (tmp_path / "mutated").write_bytes(raw)
    try:
        read_predictions(tmp_path / "mutated")
    except AnnotationError as err:
        assert "predictions file" in str(err)
