"""`bpnet data check`: parts against the published counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bpnet.cli import main as cli
from bpnet.config import DATASETS
from bpnet.data import inspection as inspecting
from bpnet.data.inspection import found_parts, inspect_parts
from bpnet.data.parts import FREE_DATASETS, parts_of
from bpnet.data.published import PUBLISHED, PublishedCount, counts_table, published_counts
from bpnet.errors import AnnotationError, ConfigError

ENTRY = {"duration": 90.0, "timestamps": [[3, 9], [8, 95]], "sentences": ["a man", "a  dog"]}
ROW = {"vid": "v", "query": "a dog", "duration": 20, "relevant_windows": [[0, 4], [4, 4]]}


def anet(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text(json.dumps({"v_1": ENTRY, "v_2": ENTRY}))
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = 0
    try:
        cli.main(["data", "check", *map(str, arguments)])
    except SystemExit as err:
        code = int(err.code or 0)
    out, err_text = capsys.readouterr()
    return code, out, err_text


def test_parts_that_are_there(tmp_path: Path) -> None:
    found, absent = found_parts("activitynet", anet(tmp_path, "train.json", "val_1.json"))
    assert found == ["train", "val_1"]
    assert list(absent) == ["val_2", "val_merged"]
    assert "expected 'val_2.json'" in absent["val_2"]
    anet(tmp_path, "val_2.json")
    assert found_parts("activitynet", tmp_path) == (["train", "val_1", "val_2", "val_merged"], {})
    assert found_parts("activitynet", tmp_path / "val_2.json") == (["val_2"], {})


def test_parts_under_the_names_of_2d_tan(tmp_path: Path) -> None:
    anet(tmp_path, "train.json", "val.json", "test.json")
    assert found_parts("activitynet", tmp_path)[0] == ["train", "val", "test", "val_merged"]


def test_parts_of_free_datasets(tmp_path: Path) -> None:
    for name in ("mine_train_release.jsonl", "mine_test_release.jsonl", "other.txt"):
        (tmp_path / name).write_text(json.dumps(ROW))
    assert found_parts("lighthouse", tmp_path) == (["train", "test"], {})
    assert found_parts("lighthouse", tmp_path / "mine_test_release.jsonl") == (["test"], {})
    rows = [json.dumps({**ROW, "split": split}) for split in ("test", "odd", "train", "test")]
    path = tmp_path / "annotations.jsonl"
    path.write_text("\n".join([*rows, "{"]))
    assert found_parts("jsonl", path)[0] == ["train", "test", "odd"]
    path.write_text(json.dumps(ROW))
    with pytest.raises(AnnotationError, match=r"neither its lines nor its name say.*give --split"):
        found_parts("jsonl", path)
    folder = tmp_path / "csv"
    folder.mkdir()
    with pytest.raises(AnnotationError, match=r"'train\.csv' or 'annotations\.csv'.*nothing"):
        found_parts("csv", folder)
    (folder / "val.csv").write_text("video_id,query,start,end,duration\n")
    assert found_parts("csv", folder)[0] == ["val"]


def test_numbers_of_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anet(tmp_path, "train.json")
    (part,) = inspect_parts("activitynet", tmp_path, ["train"]).parts
    assert part.equal is False
    assert part.num_hours == pytest.approx(180 / 3600)
    text = "\n".join(part.lines())
    for line in (
        "activitynet train: DIFFERS from the published counts",
        "queries  4, 4 kept",
        "videos   2, 2 kept (0.1 hours)",
        "published: 37,421 queries (here 37,417 fewer), 10,009 videos (here 10,007 fewer) (M: ",
        "end_after_duration: 2 end set to the duration",
        "    v_1_1 (8 to 95 s of 90 s, 'a  dog')",
    ):
        assert line in text

    def two_counts(dataset: str, part: str) -> tuple[PublishedCount, ...]:
        return (
            PublishedCount(dataset, part, 5, 2, "P", "a paper"),
            PublishedCount(dataset, part, 4, 2, "M", "a file"),
        )

    monkeypatch.setattr(inspecting, "published_counts", two_counts)
    (part,) = inspect_parts("activitynet", tmp_path, ["train"]).parts
    assert part.equal is True
    assert [line for line in part.lines() if "published:" in line] == [
        "  published: 4 queries, 2 videos (M: a file)"
    ]


def test_check_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    anet(tmp_path, "train.json")
    code, out, _ = run(capsys, "--dataset", "activitynet", tmp_path)
    assert code == 1
    assert "activitynet val_1: not here: annotation folder" in out
    assert out.splitlines()[-1] == "counts differ from the published ones in: train"
    code, out, _ = run(capsys, "--dataset", "activitynet", tmp_path, "--split", "train", "--json")
    value = json.loads(out)
    assert (code, value["differing"], value["absent"]) == (1, ["train"], {})
    assert value["parts"][0]["counts"]["end_after_duration"] == 2
    assert value["parts"][0]["published"][0]["num_queries"] == 37421
    code, _, err = run(capsys, "--dataset", "activitynet", tmp_path, "--split", "val_1")
    assert code == 2 and "expected 'val_1.json'" in err
    code, _, err = run(capsys, "--dataset", "tacos", tmp_path)
    assert code == 2 and "'tacos_2dtan'" in err and "'tacos_tall'" in err


def test_check_without_published_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine_val.jsonl").write_text(json.dumps(ROW))
    code, out, _ = run(capsys, "--dataset", "jsonl", tmp_path / "mine_val.jsonl")
    assert code == 0
    assert "jsonl val: no published counts" in out
    assert "queries  1, 1 kept" in out and "moments  2, 1 kept" in out
    assert "start_not_before_end: 1 dropped" in out


def test_published_counts_are_of_parts_that_can_be_read() -> None:
    for count in PUBLISHED:
        assert count.part in parts_of(count.dataset)
        assert count.status in ("P", "M")
        assert 0 < count.num_videos <= count.num_queries
    assert {count.dataset for count in PUBLISHED} == set(DATASETS) - set(FREE_DATASETS)
    merged = published_counts("activitynet", "val_merged")[0].num_queries
    assert merged == sum(published_counts("activitynet", p)[0].num_queries for p in ("val", "test"))
    assert len(published_counts("charades_sta", "train")) == 2
    assert published_counts("jsonl", "train") == ()


def test_the_table_of_the_documentation() -> None:
    table = counts_table().splitlines()
    assert len(table) == 2 + len(PUBLISHED)
    assert {line.count("|") for line in table} == {7}
    assert "| `activitynet` | `val_2` | 17,031 | 4,885 | M | " in "\n".join(table)


def test_an_unknown_dataset(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dataset='nothing': expected one of charades_sta, "):
        inspect_parts("nothing", tmp_path)
