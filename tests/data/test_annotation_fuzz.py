"""Nothing but an `AnnotationError` comes out of a damaged, hostile or arbitrary file."""

from __future__ import annotations

import csv
import io
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from annotation_samples import ENTRY, ROW, SOUND, folder_with
from hypothesis import given, settings
from hypothesis import strategies as st

from bpnet.data import annotation_text
from bpnet.data.annotations import read_annotations
from bpnet.errors import AnnotationError


def reads_or_refuses(dataset: str, folder: Path, split: str) -> None:
    try:
        annotations, report = read_annotations(dataset, folder, split)
    except AnnotationError as err:
        assert 0 < len(str(err)) < 4000
        return
    assert annotations and report.num_kept_queries == len(annotations)
    json.dumps(report.to_dict()).encode()
    report.summary().encode()
    for annotation in annotations:
        for start, end in annotation.moments:
            assert 0 <= start < end <= annotation.duration_seconds
        assert annotation.query.encode()
        assert "/" not in annotation.video_id and annotation.video_id.isprintable()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def splice(data: bytes, rng: random.Random) -> bytes:
    pieces = [b"\0", b"\xff", b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"9" * 5000, b"[" * 3000]
    pieces += [
        b"null",
        b'"',
        b"\\ud800",
        b"../../x",
        b"{}",
        b"[]",
        b"true",
        b"\n",
        b",",
        b"##",
        b"-",
    ]
    place = rng.randrange(len(data))
    return data[:place] + rng.choice(pieces) + data[place + rng.randint(0, 3) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(data)) for _ in range(2))
    return data[:end] + data[start:end] + data[end:]


@pytest.mark.parametrize(("dataset", "split", "name", "content"), SOUND)
def test_mutated_files(dataset: str, split: str, name: str, content: str, folder: Path) -> None:
    folder_with(dataset, split, folder)
    sound = content.encode()
    mutations: list[Callable[[bytes, random.Random], bytes]] = [flip, cut, splice, repeat]
    for seed in range(80):
        rng = random.Random(seed)
        (folder / name).write_bytes(mutations[seed % len(mutations)](sound, rng))
        reads_or_refuses(dataset, folder, split)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=12,
)


@st.composite
def changed(draw: st.DrawFn, sound: Any) -> Any:
    """A JSON value with one of its parts replaced by another value."""
    if not sound or not isinstance(sound, dict | list) or draw(st.integers(0, 3)) == 0:
        return draw(_JSON)
    keys = list(sound) if isinstance(sound, dict) else range(len(sound))
    key = draw(st.sampled_from(keys))
    items = sound.items() if isinstance(sound, dict) else enumerate(sound)
    replaced = {k: draw(changed(v)) if k == key else v for k, v in items}
    return replaced if isinstance(sound, dict) else list(replaced.values())


@pytest.mark.parametrize(
    ("dataset", "split", "name", "sound"),
    [
        (dataset, split, name, json.loads(content.splitlines()[0]))
        for dataset, split, name, content in SOUND
        if name.endswith((".json", ".jsonl"))
    ],
)
def test_arbitrary_values(dataset: str, split: str, name: str, sound: Any) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder_with(dataset, split, folder)

        @settings(max_examples=40)
        @given(changed(sound))
        def check(value: Any) -> None:
            (folder / name).write_text(json.dumps(value))
            reads_or_refuses(dataset, folder, split)

        check()


_TIME = st.floats(0, 1000, allow_subnormal=False)
_SPAN = st.tuples(_TIME, _TIME).map(sorted).filter(lambda span: span[0] < span[1])
_SENTENCE = st.lists(st.from_regex(r"[a-zé',.!\"#]*[a-z]", fullmatch=True), min_size=1, max_size=6)
_QUERY = st.fixed_dictionaries(
    {
        "video_id": st.from_regex(r"[\w@-]{1,12}", fullmatch=True),
        "query": _SENTENCE.map(" ".join),
        "relevant_windows": st.lists(_SPAN, min_size=1, max_size=3, unique_by=tuple),
        "split": st.just("train"),
        "duration": st.just(1000.0),
    }
)


@settings(max_examples=40)
@given(st.lists(_QUERY, min_size=1, max_size=6))
def test_what_a_jsonl_says_is_what_is_read(queries: list[dict[str, Any]]) -> None:
    rows = [{"qid": f"q{index}", **query} for index, query in enumerate(queries)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "annotations.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        annotations, report = read_annotations("jsonl", path, "train")
    assert [
        {
            "qid": a.qid,
            "video_id": a.video_id,
            "query": a.query,
            "relevant_windows": [list(moment) for moment in a.moments],
            "split": a.split,
            "duration": a.duration_seconds,
        }
        for a in annotations
    ] == rows
    assert report.num_kept == report.num_pairs == sum(len(q["relevant_windows"]) for q in queries)
    assert not any(count for rule, count in report.counts.items() if rule != "duplicate")


@settings(max_examples=40)
@given(st.lists(_QUERY, min_size=1, max_size=6))
def test_what_a_csv_says_is_what_is_read(queries: list[dict[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["video_id", "query", "start", "end", "duration"])
    for query in queries:
        writer.writerow([query["video_id"], query["query"], *query["relevant_windows"][0], 1000])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.csv"
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
        annotations, _ = read_annotations("csv", path, "train")
    assert [(a.video_id, a.query, list(a.moments[0])) for a in annotations] == [
        (q["video_id"], q["query"], q["relevant_windows"][0]) for q in queries
    ]


@pytest.mark.parametrize("depth", [50, 150, 300, 900, sys.getrecursionlimit() + 50, 100_000])
@pytest.mark.parametrize("name", ["train.json", "train.jsonl"])
def test_deep_nesting(folder: Path, depth: int, name: str) -> None:
    deep = "[" * depth + "]" * depth
    entry = f'{{"duration": 5, "timestamps": [{deep}], "sentences": ["a"]}}'
    row = f'{{"video_id": "v", "query": "a", "duration": 5, "timestamp": {deep}}}'
    (folder / name).write_text(f'{{"v": {entry}}}' if name.endswith("json") else row)
    with pytest.raises(
        AnnotationError, match=r"expected \[start, end\]|nested too deeply"
    ) as caught:
        read_annotations("jsonl" if name.endswith("l") else "activitynet", folder, "train")
    assert len(str(caught.value)) < 500


def test_numbers_beyond_reason(folder: Path) -> None:
    path = folder / "train.json"
    for digits, match in ((400, "timestamps: a number beyond all floats"), (5000, "train.json")):
        entry = f'{{"duration": 5, "timestamps": [[0, {"9" * digits}]], "sentences": ["a"]}}'
        path.write_text(f'{{"v": {entry}}}')
        with pytest.raises(AnnotationError, match=match) as caught:
            read_annotations("activitynet", folder, "train")
        assert len(str(caught.value)) < 500


def test_a_name_given_twice_is_not_lost(folder: Path) -> None:
    entry = json.dumps(ENTRY)
    (folder / "train.json").write_text(f'{{"v_1": {entry}, "v_2": {entry}, "v_1": {entry}}}')
    with pytest.raises(AnnotationError, match="not JSON: 'v_1' is given more than once"):
        read_annotations("activitynet", folder, "train")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("../../x", "a path: expected an id"),
        ("a\\b", "a path: expected an id"),
        ("..", "a path: expected an id"),
        ("a\0b", "characters that cannot be printed"),
        ("a\nb", "characters that cannot be printed"),
        ("\ud800", "characters that cannot be printed"),
        ("a" * 256, "256 characters: expected 1 to 255"),
    ],
)
def test_ids_are_no_paths(folder: Path, name: str, match: str) -> None:
    rows = [ROW | {"qid": 1, "split": "val"}, ROW | {"qid": 2, "vid": name, "split": "val"}]
    path = folder / "val.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(AnnotationError, match=rf"1 fault: video id .*: {match}") as caught:
        read_annotations("jsonl", path, "val")
    str(caught.value).encode()


def test_query_ids_can_hold_a_slash_but_nothing_unprintable(folder: Path) -> None:
    path = folder / "val.jsonl"
    path.write_text(json.dumps(ROW | {"qid": "my|vtype|v|red/blue"}))
    assert read_annotations("jsonl", path, "val")[0][0].qid == "my|vtype|v|red/blue"
    path.write_text(json.dumps(ROW | {"qid": "a\x1b[2J"}))
    with pytest.raises(AnnotationError, match=r"qid 'a\\x1b\[2J': characters that cannot be"):
        read_annotations("jsonl", path, "val")


def test_half_characters_are_no_sentence(folder: Path) -> None:
    path = folder / "val.jsonl"
    path.write_text(json.dumps(ROW | {"query": "a \ud800 dog"}))
    with pytest.raises(AnnotationError, match=r"query '7': 'a \\ud800 dog': a sentence that no"):
        read_annotations("jsonl", path, "val")


def test_a_file_too_large_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotation_text, "MAX_FILE_BYTES", 10)
    for dataset, split, name in (
        ("jsonl", "val", "val.jsonl"),
        ("csv", "val", "val.csv"),
        ("didemo", "val", "val_data.json"),
    ):
        folder_with(dataset, split, folder)
        size = (folder / name).stat().st_size
        with pytest.raises(AnnotationError, match=rf"{name}': {size} bytes: expected at most 10"):
            read_annotations(dataset, folder, split)


def test_a_sparse_file_of_two_gigabytes_is_refused(folder: Path) -> None:
    path = folder / "val.jsonl"
    with path.open("wb") as file:
        file.truncate(2 * 2**30)
    with pytest.raises(AnnotationError, match="2147483648 bytes: expected at most 268435456"):
        read_annotations("jsonl", path, "val")


def test_paths_that_cannot_be_looked_at(folder: Path) -> None:
    with pytest.raises(AnnotationError, match=r"cannot be read: .*name too long"):
        read_annotations("jsonl", folder / ("a" * 300), "val")
    with pytest.raises(AnnotationError, match="no such file or folder"):
        read_annotations("activitynet", "a\0b", "train")


def test_a_long_line_is_shortened_in_the_message(folder: Path) -> None:
    folder_with("charades_sta", "test", folder)
    (folder / "charades_sta_test.txt").write_text("x" * 100_000)
    with pytest.raises(AnnotationError, match="line 1: 'xxx") as caught:
        read_annotations("charades_sta", folder, "test")
    assert len(str(caught.value)) < 400
