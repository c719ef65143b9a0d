"""`bpnet evaluate`: what it writes and prints, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tiny_run

from bpnet.checkpoint import BEST, LAST, Checkpoint
from bpnet_features import FeatureStore, FeatureWriter
from bpnet_features.sample import render_sample

COLUMNS = {f"R@{n},IoU={m}" for n in (1, 5) for m in (0.3, 0.5, 0.7)} | {"mIoU"}


def test_what_is_written_and_printed(bpnet, dataset_root: Path, run_dir: Path) -> None:
    status, out, err = bpnet("evaluate", f"checkpoint={run_dir}", "split=test", "out=found")
    assert status == 0, err
    assert {path.name for path in Path("found").iterdir()} == {"metrics.json", "predictions.jsonl"}
    results = json.loads(Path("found/metrics.json").read_text())
    assert (results["protocol"], results["split"], results["num_queries"]) == ("vslnet", "test", 4)
    low, high = results["blind"].pop("interval")
    assert 0 <= low < high <= 1
    # One constant answer has no second rank.
    one_answer = {name for name in COLUMNS if not name.startswith("R@5")}
    for row, columns in (("metrics", COLUMNS), ("stage_one", COLUMNS), ("blind", one_answer)):
        assert set(results[row]) == columns
        assert all(0 <= value <= 100 for value in results[row].values())
    oracle = results["oracle_recall"]
    assert oracle and all(re.fullmatch(r"R@\d+,IoU=0\.[357]", name) for name in oracle)
    # The best of the first five proposals is at least as good as the most probable one, and as
    # the best answer, which is one of all proposals.
    for m in (0.3, 0.5, 0.7):
        assert oracle[f"R@5,IoU={m}"] >= oracle[f"R@1,IoU={m}"]
        assert oracle[f"R@1,IoU={m}"] == results["stage_one"][f"R@1,IoU={m}"]
    assert results["checkpoint"]["seed"] == 0
    assert set(results["ceiling"]) == one_answer
    assert "whole clips at best" in out

    lines = [json.loads(line) for line in Path("found/predictions.jsonl").read_text().splitlines()]
    text = (dataset_root / "annotations.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    truth = {row["qid"]: row for row in rows if row["split"] == "test"}
    assert [line["qid"] for line in lines] == list(truth)
    overlaps = []
    for line in lines:
        row = truth[line["qid"]]
        assert (line["video_id"], line["query"]) == (row["video_id"], row["query"])
        assert (line["start_seconds"], line["end_seconds"]) == (row["start"], row["end"])
        for moment in [*line["moments"], *line["stage_one"]]:
            assert set(moment) - {"probability"} == {"start_seconds", "end_seconds", "score"}
            assert 0 <= moment["start_seconds"] < moment["end_seconds"] <= row["duration"]
        scores = [moment["score"] for moment in line["moments"]]
        assert scores == sorted(scores, reverse=True)
        first = line["moments"][0]
        left = max(first["start_seconds"], row["start"])
        right = min(first["end_seconds"], row["end"])
        union = max(first["end_seconds"], row["end"]) - min(first["start_seconds"], row["start"])
        overlaps.append(max(0.0, right - left) / union)
    # The metrics are those of the predictions that were written.
    assert results["metrics"]["mIoU"] == pytest.approx(100 * sum(overlaps) / 4)
    for m in (0.3, 0.5, 0.7):
        hits = sum(overlap >= m for overlap in overlaps)
        assert results["metrics"][f"R@1,IoU={m}"] == pytest.approx(100 * hits / 4)

    for name in ("two stages", "stage one alone", "constant interval", "mIoU"):
        assert name in out
    assert f"{results['metrics']['mIoU']:.2f}" in out
    assert "written to found" in out


def test_a_report_with_videos(bpnet, run_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    (video,) = render_sample(tmp_path / "made", 1, progress=False)
    (tmp_path / "videos").mkdir()
    video.rename(tmp_path / "videos" / "v11.mp4")
    (tmp_path / "videos" / "v10.txt").write_text("no video of this one")
    line = [f"checkpoint={run_dir}", "split=test", "report=4", "videos=videos"]
    status, _, err = bpnet("evaluate", *line, "out=linked")
    assert status == 0, err
    page = (tmp_path / "linked" / "report.html").read_text()
    assert page.count("<article ") == 4
    assert page.count(' data-video="../videos/v11.mp4"') == page.count(' data-video="') == 2
    assert page.count("<use ") == 2 and page.count("data:image/jpeg") == 10
    assert bpnet("evaluate", *line, "out=whole", "embed=true")[0] == 0
    page = (tmp_path / "whole" / "report.html").read_text()
    assert page.count(' data-video="#video-0"') == 2


def test_batch_size_changes_nothing(bpnet, run_dir: Path) -> None:
    for size in (1, 3):
        line = [f"checkpoint={run_dir}", "split=train", f"batch_size={size}", f"out=by_{size}"]
        assert bpnet("evaluate", *line)[0] == 0
    one, three = (json.loads(Path(f"by_{n}/metrics.json").read_text()) for n in (1, 3))
    assert one["metrics"] == pytest.approx(three["metrics"], abs=1e-3)
    assert one["num_queries"] == 16


def test_a_checkpoint_file_and_the_default_folder(bpnet, run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / LAST).write_bytes((run_dir / LAST).read_bytes())
    assert bpnet("evaluate", "checkpoint=copy", "split=val")[0] == 0
    by_folder = (tmp_path / "copy" / "eval_val" / "metrics.json").read_bytes()
    assert bpnet("evaluate", f"checkpoint=copy/{LAST}", "split=val", "out=o")[0] == 0
    assert (tmp_path / "o" / "metrics.json").read_bytes() == by_folder
    # Nothing but the results: no folder of Hydra's, no log.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "o"]


def test_the_data_can_be_elsewhere(
    bpnet, dataset_root: Path, run_dir: Path, tmp_path: Path
) -> None:
    checkpoint = Checkpoint.load(run_dir)
    data = {**checkpoint.data, "features": {"path": "/gone/f.h5"}}
    moved = dataclasses.replace(checkpoint, data=data)
    moved.save(tmp_path / BEST)
    status, _, err = bpnet("evaluate", f"checkpoint={tmp_path}")
    assert status == 2
    assert re.search(r"FeatureError: .*/gone/f\.h5.*no such file", err)
    line = [f"checkpoint={tmp_path}", f"data.features={dataset_root / 'features.h5'}", "out=o"]
    assert bpnet("evaluate", *line)[0] == 0


def test_missing_videos_are_dropped_and_counted(
    bpnet, dataset_root: Path, run_dir: Path, tmp_path: Path
) -> None:
    text = (dataset_root / "annotations.jsonl").read_text().replace('"v11"', '"gone"')
    (tmp_path / "a.jsonl").write_text(text)
    line = [f"checkpoint={run_dir}", "data.annotations=a.jsonl", "out=o"]
    status, _, err = bpnet("evaluate", *line)
    assert status == 2
    assert re.search(r"MissingVideoError: 1 of the videos are not in .*: gone", err)
    assert not Path("o").exists()
    assert bpnet("evaluate", *line, "data.missing=drop")[0] == 0
    results = json.loads(Path("o/metrics.json").read_text())
    assert results["num_queries"] == 2
    assert results["num_dropped"] == {
        "annotations": 0,
        "missing_features": 2,
        "missing_query_features": 0,
    }


def test_refused_before_heavy_work(process, run_dir: Path, tmp_path: Path) -> None:
    lines = {
        "checkpoint=gone": "CheckpointError: checkpoint 'gone': no such file or folder",
        "": "ConfigError: .*expected one of the two: give checkpoint=RUN or predictions=FILE",
        f"checkpoint={run_dir} protocl=tan": "ConfigError: unknown config key 'protocl'.*protocol",
        f"checkpoint={run_dir} protocol=vslnett": "ConfigError: .*'vslnett'.*vslnet",
        f"checkpoint={run_dir} batch_size=0": "ConfigError: batch_size=0",
        f"checkpoint={run_dir} data.features=gone.h5": "ConfigError: data.features='gone.h5'",
        f"checkpoint={run_dir} data.annotations=gone": "ConfigError: data.annotations='gone'",
    }
    code = (
        "import sys\n"
        "from bpnet.cli.main import main\n"
        "for line in sys.argv[1:]:\n"
        "    try:\n"
        "        main(['evaluate', *line.split()])\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 2\n"
        "assert 'torch' not in sys.modules\n"
    )
    status, out, err = process("-c", code, *lines)
    assert (status, out) == (0, ""), err
    assert len(err.splitlines()) == len(lines)
    for found, expected in zip(err.splitlines(), lines.values(), strict=True):
        assert re.match(expected, found), found
    assert list(tmp_path.iterdir()) == []


def test_a_split_that_is_not_there(bpnet, run_dir: Path) -> None:
    status, _, err = bpnet("evaluate", f"checkpoint={run_dir}", "split=testing", "out=o")
    assert status == 2
    assert re.search(r"^AnnotationError: .*'testing': it has .*'test': 4.*\n\Z", err, re.MULTILINE)
    assert not Path("o").exists()


def test_damaged_files(bpnet, dataset_root: Path, run_dir: Path, tmp_path: Path) -> None:
    checkpoint, features = (run_dir / BEST).read_bytes(), dataset_root / "features.h5"
    (tmp_path / "half.safetensors").write_bytes(checkpoint[: len(checkpoint) // 2])
    (tmp_path / "half.h5").write_bytes(features.read_bytes()[:3000])
    (tmp_path / "no.h5").write_bytes(b"not HDF5")
    (tmp_path / "empty").mkdir()
    cases = {
        "checkpoint=half.safetensors": r"CheckpointError: .*half\.safetensors.*truncated or not",
        "checkpoint=empty": r"CheckpointError: .*'empty': expected best\.safetensors or last",
        f"checkpoint={features}": r"CheckpointError: .*truncated or not a safetensors file",
        f"checkpoint={run_dir} data.features=half.h5": r"FeatureError: .*truncated or damaged HDF5",
        f"checkpoint={run_dir} data.features=no.h5": r"FeatureError: .*not an HDF5 file",
    }
    for line, match in cases.items():
        status, _, err = bpnet("evaluate", *line.split(), "out=o")
        assert (status, err.count("\n")) == (2, 1)
        assert re.match(match, err), err
    assert not Path("o").exists()


def test_features_of_another_spec(bpnet, dataset_root: Path, run_dir: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(tiny_run.SPEC, normalisation="l2", feature_dim=9)
    with FeatureStore(dataset_root / "features.h5") as store:
        with FeatureWriter(tmp_path / "other.h5", other) as writer:
            for video_id in store.video_ids():
                clips = np.zeros((len(store.read(video_id)[0]), 9))
                writer.add(video_id, clips, store.entry(video_id).duration_seconds)
    status, _, err = bpnet("evaluate", f"checkpoint={run_dir}", "data.features=other.h5")
    assert status == 2
    assert re.search(
        r"^CheckpointError: .*other\.h5.*feature_dim: 8 != 9; normalisation: 'none' != 'l2'",
        err,
        re.MULTILINE,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["charades", "tacos", "activitynet"])
def test_scripts_pass_on(process, checkout: Path, name: str) -> None:
    script = checkout / "scripts" / f"evaluate_{name}.py"
    status, out, err = process(script, "checkpoint=gone")
    assert (status, out) == (2, "")
    assert err == "CheckpointError: checkpoint 'gone': no such file or folder\n"
