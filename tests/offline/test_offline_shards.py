"""Shards of a job: together they are the job; another job in the same folder is refused."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet.errors import AnnotationError, ConfigError
from bpnet.offline.queries import Query, read_queries
from bpnet.offline.shards import begin, cut, digest, left, num_rows, shard_path


@given(items=st.lists(st.sampled_from("abc"), max_size=40), size=st.integers(1, 9))
def test_cut(items: list[str], size: int) -> None:
    shards = cut(items, size, lambda item: item)
    assert list(itertools.chain(*shards)) == items
    for one, following in itertools.pairwise(shards):
        assert len(one) >= size
        assert one[-1] != following[0]
        # No longer than it must be: what came after the limit belongs to the last one's group.
        assert len(set(one[size - 1 :])) == 1


def test_a_job_goes_on_in_its_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    job = {"kind": "localize", "top": 5, "items": digest(["a", "b"])}
    begin(folder, job)
    begin(folder, dict(job))
    assert left(folder, 3, ".jsonl") == [0, 1, 2]
    shard_path(folder, 1, ".jsonl").touch()
    assert left(folder, 3, ".jsonl") == [0, 2]
    with pytest.raises(ConfigError, match=r"holds another job \(top 5 != 3\)"):
        begin(folder, {**job, "top": 3})
    assert digest(["a", "b"]) != digest(["b", "a"])
    with pytest.raises(ConfigError, match="no folder"):
        begin(tmp_path / "no" / "out", job)
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").touch()
    with pytest.raises(ConfigError, match="holds something else"):
        begin(other, job)


def test_failures_are_counted_by_their_lines(tmp_path: Path) -> None:
    assert num_rows(tmp_path, ".failed.jsonl") == 0
    (tmp_path / "000001.failed.jsonl").write_text("{}\n{}\n")
    (tmp_path / "000002.failed.jsonl").write_text("{}\n")
    (tmp_path / "000001.jsonl").write_text("{}\n")
    assert num_rows(tmp_path, ".failed.jsonl") == 3


def test_queries_of_a_video_stand_side_by_side(tmp_path: Path) -> None:
    file = tmp_path / "asked.jsonl"
    rows = [("b", "one"), ("a", "two"), ("b", "three")]
    lines = [json.dumps({"video_id": video, "query": query}) for video, query in rows]
    file.write_text("\n".join([*lines[:2], "", lines[2]]))
    assert read_queries(file) == [
        Query("1", "b", "one"),
        Query("4", "b", "three"),
        Query("2", "a", "two"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is none in it"),
        ("{", "line 1: not JSON"),
        ("[1]", r"line 1: '\[1\]': expected"),
        ('{"video_id": "a"}', "line 1: query is None: expected text"),
        ('{"video_id": 3, "query": "x"}', "line 1: video_id is 3: expected text"),
        ('{"video_id": "a", "query": " "}', "line 1: query is ' '"),
    ],
)
def test_bad_queries(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "asked.jsonl"
    file.write_text(text)
    with pytest.raises(AnnotationError, match=message):
        read_queries(file)
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_queries(tmp_path / "nothing.jsonl")
