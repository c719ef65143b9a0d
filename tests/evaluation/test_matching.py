"""Which answer belongs to which query; what is missing, unknown or given twice."""

from __future__ import annotations

import json

import pytest

from bpnet.errors import AnnotationError, ConfigError
from bpnet.evaluation.matching import match_predictions
from bpnet.evaluation.prediction_files import read_predictions
from bpnet.types import Annotation


def annotation(qid: str, video_id: str, query: str) -> Annotation:
    return Annotation(qid, video_id, query, 0.0, 1.0, 10.0, "test")


ANNOTATIONS = [
    annotation("a", "v1", "A person opens the door."),
    annotation("b", "v1", "A person can't leave"),
    annotation("c", "v2", "a person opens the door"),
    annotation("d", "v1", "A person opens the door."),  # again, at another time
]


@pytest.fixture
def match(tmp_path):
    def matcher(entries, annotations=ANNOTATIONS, missing="error"):
        path = tmp_path / "p.json"
        path.write_text(json.dumps(entries))
        return match_predictions(read_predictions(path), annotations, missing)

    return matcher


def by_qid(*qids: object) -> list[dict]:
    return [
        {"qid": qid, "moments": [{"start_seconds": k, "end_seconds": k + 1, "score": 0.5}]}
        for k, qid in enumerate(qids)
    ]


def by_sentence(*pairs: tuple[str, str]) -> list[dict]:
    return [
        {"vid": video_id, "description": query, "timestamps": [[k, k + 1]]}
        for k, (video_id, query) in enumerate(pairs)
    ]


def starts(matched) -> dict[str, float]:
    return {
        one.qid: answer.moments[0][0]
        for one, answer in zip(matched.annotations, matched.answers, strict=True)
    }


def test_by_qid_in_any_order(match):
    matched = match(by_qid("c", "a", "d", "b"))
    assert matched.by == "qid"
    assert [one.qid for one in matched.annotations] == ["a", "b", "c", "d"]
    assert starts(matched) == {"c": 0, "a": 1, "d": 2, "b": 3}
    assert (matched.num_missing, matched.num_unknown) == (0, 0)


def test_numbers_are_qids(match):
    numbered = [annotation("7", "v", "q q"), annotation("8", "v", "r r")]
    assert starts(match(by_qid(8, "7"), numbered)) == {"8": 0, "7": 1}


def test_by_video_and_sentence_in_order(match):
    matched = match(
        by_sentence(
            ("v1.avi", "a person opens the door ."),  # cut into words
            ("v2", "A PERSON OPENS THE DOOR"),
            ("v_v1", "A person ca n't leave"),  # as NLTK cuts it
            ("v1", "A person opens the door."),
        )
    )
    assert matched.by == "video and sentence"
    # Of the two equal sentences the first answer belongs to the first.
    assert starts(matched) == {"a": 0, "c": 1, "b": 2, "d": 3}


def test_sentences_serve_where_the_qids_are_those_of_others(match):
    entries = by_sentence(("v2", "a person opens the door"))
    entries[0]["qid"] = 4711
    matched = match(entries, ANNOTATIONS[2:3])
    assert (matched.by, starts(matched)) == ("video and sentence", {"c": 0})


def test_by_video_where_each_has_one_query(match):
    one_each = [annotation("a", "v1", "x x"), annotation("c", "v2", "y y")]
    matched = match({"v2": [1, 2], "v1": [3, 4]}, one_each)
    assert (matched.by, starts(matched)) == ("video", {"a": 3, "c": 1})
    with pytest.raises(AnnotationError, match=r"1 of its names .*: 'v1' has 3; give the qids"):
        match({"v2": [1, 2], "v1": [3, 4]})


def test_missing_queries_are_an_error_or_counted(match):
    with pytest.raises(
        AnnotationError,
        match=r"2 of 4 queries have no answer: qid 'b'; qid 'd'; set data\.missing=drop to leave",
    ):
        match(by_qid("a", "c"))
    matched = match(by_qid("a", "c"), missing="drop")
    assert [one.qid for one in matched.annotations] == ["a", "c"]
    assert (matched.num_missing, matched.num_unknown) == (2, 0)


def test_unknown_queries_are_an_error_or_counted(match):
    entries = by_qid("a", "b", "c", "d", "x", "y")
    with pytest.raises(
        AnnotationError, match=r"2 of 6 answers are to queries that .*entry 5 \(qid 'x'\); entry 6"
    ):
        match(entries)
    matched = match(entries, missing="drop")
    assert (len(matched.answers), matched.num_unknown) == (4, 2)


def test_many_missing_are_counted_and_five_shown(match):
    many = [annotation(f"q{k}", "v", f"word {k}") for k in range(20)]
    with pytest.raises(AnnotationError, match=r"19 of 20 .*'q5'; and 14 more; set") as err:
        match(by_qid("q0"), many)
    assert "'q6'" not in str(err.value)


@pytest.mark.parametrize("missing", ["error", "drop"])
def test_a_query_answered_twice(match, missing):
    with pytest.raises(AnnotationError, match=r"qid 'a' is answered 2 times \(entry 1, entry 2\)"):
        match(by_qid("a", "a", "b", "c", "d"), missing=missing)
    # Two equal sentences and one answer: nobody knows to which it belongs.
    with pytest.raises(AnnotationError, match=r"is answered 1 times \(entry 1\) and asked 2 times"):
        match(by_sentence(("v1", "A person opens the door")), missing=missing)


@pytest.mark.parametrize("missing", ["error", "drop"])
def test_a_qid_of_another_video(match, missing):
    entries = by_qid("a", "b", "c", "d")
    entries[2]["video_id"] = "v9"
    with pytest.raises(
        AnnotationError, match=r"entry 3: qid 'c' is about video 'v9' here and about 'v2' in the an"
    ):
        match(entries, missing=missing)


@pytest.mark.parametrize("missing", ["error", "drop"])
def test_nothing_that_could_match(match, missing):
    with pytest.raises(
        AnnotationError, match=r"qid 'x': no qid is one of .*, such as 'a', and not"
    ):
        match(by_qid("x"), missing=missing)
    entries = by_sentence(("v1", "q"))
    del entries[0]["description"]
    with pytest.raises(AnnotationError, match="not every answer has a video and a sentence"):
        match(entries, missing=missing)


def test_no_answer_to_anything_is_an_error_even_when_dropping(match):
    with pytest.raises(AnnotationError, match="no answer to any of the 4 queries"):
        match(by_sentence(("v8", "nobody asked")), missing="drop")


def test_missing_takes_two_values(match):
    with pytest.raises(ConfigError, match="missing='skip': expected 'error' or 'drop'"):
        match(by_qid("a"), missing="skip")
