"""`bpnet data stats`: the table, the picture, and which parts are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def write_rows(path: Path, splits: list[str]) -> None:
    with path.open("w") as file:
        for number, split in enumerate(splits):
            row = {"qid": str(number), "video_id": f"v{number}", "query": "a dog runs"}
            file.write(json.dumps(row | {"start": 1, "end": 3, "duration": 8, "split": split}))
            file.write("\n")


def test_table_of_all_parts(bpnet) -> None:
    write_rows(Path("a.jsonl"), ["train", "test", "train"])
    status, out, err = bpnet("data", "stats", "a.jsonl", "--dataset", "jsonl")
    assert (status, err) == (0, "")
    rows = [line.split()[:4] for line in out.splitlines()]
    assert rows[:3] == [
        ["part", "queries", "moments", "videos"],
        ["train", "2", "2", "2"],
        ["test", "1", "1", "1"],
    ]
    assert [path.name for path in Path.cwd().iterdir()] == ["a.jsonl"]


def test_chosen_parts_and_a_picture(bpnet) -> None:
    pytest.importorskip("matplotlib")
    write_rows(Path("a.jsonl"), ["train", "test", "val"])
    line = ["a.jsonl", "--dataset", "jsonl", "--split", "val", "--split", "train"]
    status, out, err = bpnet("data", "stats", *line, "--out", "new/a.svg")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["val", "train"]
    assert out.splitlines()[-1] == "drawn: new/a.svg"
    text = Path("new/a.svg").read_text()
    assert all(f"Where moments lie: {part}<" in text for part in ("val", "train"))
    assert "Where moments lie: test<" not in text


@pytest.mark.slow
@pytest.mark.shared
def test_merged_parts_are_not_shown_twice(bpnet, shared_dir: Path, tmp_path: Path) -> None:
    """Nor is a part shown whose file is not there."""
    folder = shared_dir / "data" / "annotations" / "activitynet_captions"
    for name in ("val_1.json", "val_2.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    status, out, err = bpnet("data", "stats", ".", "--dataset", "activitynet")
    assert (status, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()[1:3]] == [
        ["val_1", "17,505"],
        ["val_2", "17,031"],
    ]


@pytest.mark.parametrize(
    ("line", "start"),
    [
        (["gone", "--dataset", "jsonl"], "AnnotationError: annotations 'gone': no such file"),
        (["a.jsonl", "--dataset", "tacos"], "ConfigError: dataset='tacos': there are two"),
        (["a.jsonl", "--dataset", "jsonl", "--split", "dev"], "AnnotationError: annotation file"),
        (["a.jsonl", "--dataset", "jsonl", "--out", "a.jpg"], "ConfigError: picture 'a.jpg': exp"),
    ],
)
def test_errors(bpnet, line: list[str], start: str) -> None:
    write_rows(Path("a.jsonl"), ["train"])
    status, _, err = bpnet("data", "stats", *line)
    assert status == 2
    assert err.startswith(start)
    assert err.count("\n") == 1
