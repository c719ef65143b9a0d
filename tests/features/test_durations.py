"""read_durations: the two forms, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet_features import FeatureError
from bpnet_features.durations import read_durations


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "Charades_duration.json"
    path.write_text('{"3MSZA": 30.96, "AO8RW": 33, "text": "12.5"}')
    assert read_durations(path) == {"3MSZA": 30.96, "AO8RW": 33.0, "text": 12.5}


def test_csv(tmp_path: Path) -> None:
    """As Charades_v1_train.csv: other columns, quotes, a byte order mark."""
    path = tmp_path / "train.csv"
    text = (
        'id,subject,script,length\r\n46GP8,HR43,"A person, ""cooking"".\n",24.83\r\nN11GT,,,18\r\n'
    )
    path.write_text(text, encoding="utf-8-sig", newline="")
    assert read_durations(path) == {"46GP8": 24.83, "N11GT": 18.0}


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.json", "{", r"a\.json': .*: expected a json object"),
        ("a.json", "[" * 100_000, r"a\.json': .*: expected a json object"),
        ("a.json", "[1]", r"a\.json': a json list: expected"),
        ("a.csv", "name,length\na,1\n", r"a\.csv': columns \['name', 'length'\]: expected 'id'"),
        ("a.csv", "", r"a\.csv': columns \[\]: expected 'id' and 'length'"),
        ("a.csv", f"id,length\n{'x' * 200_000},1", r"a\.csv': field larger"),
        ("a.json", '{"a": 0}', r"1 of 1 lengths are no numbers of seconds > 0: 'a': 0$"),
        ("a.json", '{"a": true, "b": 1}', r"1 of 2 lengths .*'a': True$"),
        ("a.json", '{"a": null, "b": [1]}', r"2 of 2 lengths .*'a': None, 'b': \[1\]$"),
        ("a.json", '{"a": NaN, "b": Infinity, "c": 1e999}', r"3 of 3 .*'a': nan, 'b': inf, 'c': i"),
        ("a.json", json.dumps({str(i): -i for i in range(8)}), r"8 of 8 .*'4': -4, \.\.\.$"),
        ("a.csv", "id,length\na\n", r"1 of 1 lengths .*'a': None$"),
        ("a.csv", "id,length\na,about 3\n", r"1 of 1 lengths .*'a': 'about 3'$"),
    ],
    ids=range(13),
)
def test_refused(tmp_path: Path, name: str, text: str, match: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FeatureError, match=match):
        read_durations(tmp_path / name)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,length\n\xff\xfe,1\n")
    with pytest.raises(FeatureError, match="a json object"):
        read_durations(tmp_path / "a.csv")
    with pytest.raises(FeatureError, match=r"gone\.json': cannot be read \(No such file"):
        read_durations(tmp_path / "gone.json")
    with pytest.raises(FeatureError, match="cannot be read"):
        read_durations(tmp_path)


@given(st.binary(max_size=60), st.sampled_from([".json", ".csv"]))
def test_any_bytes(tmp_path_factory, data: bytes, suffix: str) -> None:
    path = tmp_path_factory.mktemp("durations") / f"a{suffix}"
    path.write_bytes(data)
    try:
        durations = read_durations(path)
    except FeatureError:
        return
    assert all(0 < seconds < float("inf") for seconds in durations.values())
