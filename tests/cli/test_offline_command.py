"""`bpnet offline` on a local Ray: the answers of one process, in shards that are not done twice."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from bpnet.inference.localizer import Localizer
from bpnet_features import FeatureStore

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def asked(root: Path, file: Path) -> list[dict[str, str]]:
    """Sentences of the tiny dataset, one about a video that is not there, and one without words."""
    lines = (root / "annotations.jsonl").read_text().splitlines()
    rows = [{name: row[name] for name in ("video_id", "query")} for row in map(json.loads, lines)]
    rows.append({"video_id": "nowhere", "query": "it jumps"})
    rows.append({"video_id": rows[0]["video_id"], "query": "..."})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def answers(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    rows = [
        json.loads(line)
        for file in sorted(folder.glob("0*.jsonl"))
        if "failed" not in file.name
        for line in file.read_text().splitlines()
    ]
    found = {(row["video_id"], row["query"]): row for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.slow
def test_localize(bpnet, run_dir: Path, dataset_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    rows = asked(dataset_root, tmp_path / "asked.jsonl")
    features, out = dataset_root / "features.h5", tmp_path / "answers"
    line = ["offline", "localize", run_dir, "--features", features, "--out", out]
    line += ["--queries", tmp_path / "asked.jsonl", "--shard-size", "7", "--processes", "2"]
    status, printed, err = bpnet(*line)
    assert status == 1, err
    told = json.loads(printed)
    assert (told["items"], told["failed"], told["done_before"]) == (len(rows), 2, 0)
    assert f"2 failed: see {out}/*.failed.jsonl" in err

    found = answers(out)
    assert found.keys() == {(row["video_id"], row["query"]) for row in rows}
    assert found["nowhere", "it jumps"]["error"].startswith("MissingVideoError: video 'nowhere'")
    assert sum("error" in row for row in found.values()) == 2
    localizer = Localizer.from_pretrained(run_dir, "cpu")
    wordless = found[rows[0]["video_id"], "..."]
    assert wordless["error"].startswith("AnnotationError: ")
    for (video, query), row in found.items():
        if "error" not in row:
            expected = localizer.open_video(features, video).localize(query)
            assert len(row["moments"]) == len(expected)
            for moment, other in zip(row["moments"], expected, strict=True):
                assert moment == pytest.approx(other.to_dict(), abs=1e-4)

    # A shard that is lost is made again, and no other.
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "000001.jsonl").unlink()
    status, printed, _ = bpnet(*line)
    assert status == 1
    assert json.loads(printed)["done_before"] == told["shards"] - 1
    assert answers(out).keys() == found.keys()
    after = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"000001.jsonl"}

    # What fails in the processes, and not for one video, is one line here.
    (tmp_path / "text.h5").write_text("no features")
    wrong = [tmp_path / "text.h5" if part == features else part for part in line]
    wrong[wrong.index(out)] = tmp_path / "other"
    status, _, err = bpnet(*wrong)
    assert status == 2
    assert re.fullmatch(r"BPNetError: .*text\.h5.*not an HDF5 file.*\n", err), err

    status, _, err = bpnet(*line, "--top", "1")
    assert status == 2
    assert "holds another job (top 5 != 1)" in err


@pytest.mark.slow
def test_extract_and_join(bpnet, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    pytest.importorskip("av")
    status, _, err = bpnet("features", "sample", tmp_path / "sample", "--videos", "3")
    assert status == 0, err
    videos = tmp_path / "sample" / "videos"
    (videos / "broken.mp4").write_bytes(b"no video")
    parts = tmp_path / "parts"
    line = ["offline", "extract", videos, "--out", parts, "--shard-size", "2"]
    status, printed, err = bpnet(*line)
    assert status == 1, err
    assert json.loads(printed)["failed"] == 1
    failed = next(parts.glob("*.failed.jsonl")).read_text()
    assert str(videos / "broken.mp4") in failed
    status, printed, err = bpnet("features", "join", parts, tmp_path / "all.h5")
    assert status == 0, err
    assert printed.startswith("3 videos written to")
    with FeatureStore(tmp_path / "all.h5") as joined:
        with FeatureStore(tmp_path / "sample" / "features.h5") as whole:
            assert joined.spec == whole.spec
            assert joined.video_ids() == whole.video_ids()
            for name in whole.video_ids():
                assert joined.entry(name) == whole.entry(name)
                assert (joined.read_clips(name) == whole.read_clips(name)).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["extract", "--out", "out"], "no videos to extract"),
        (["extract", "--list", "no.txt", "--out", "out"], "--list 'no.txt': no such file"),
        (["extract", "a.mp4", "b/a.mp4", "--out", "out"], "would both get the id 'a'"),
        (["extract", "a.mp4", "--out", "out", "--shard-size", "0"], "--shard-size 0: expected"),
        (["extract", "a.mp4", "--out", "out", "--backbone", "i3d"], "'i3d' needs weights=FILE"),
        (["extract", "a.mp4", "--out", "out", "--dtype", "float8"], "float8"),
        (
            ["localize", "no", "--features", ".", "--queries", "q", "--out", "out"],
            "checkpoint 'no'",
        ),
    ],
)
def test_refused(bpnet, line: list[str], message: str) -> None:
    pytest.importorskip("ray")
    status, _, err = bpnet("offline", *line)
    assert status == 2
    assert message in err
    assert not Path("out").exists()


def test_the_extra_is_missing(bpnet, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without(name: str, *more: Any) -> Any:
        return None if name == "ray" else find(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    status, _, err = bpnet("offline", "extract", "a.mp4", "--out", "out")
    assert status == 2
    assert "an offline job needs ray: `pip install 'bpnet-nlvl[ray]'`" in err
