"""`bpnet features`: inspect and check; what they print, and their exit status."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest


def test_inspect(bpnet, dataset_root: Path) -> None:
    status, out, err = bpnet("features", "inspect", dataset_root / "features.h5")
    assert (status, err) == (0, "")
    assert "12" in out and "tiny" in out


def test_inspect_a_checkpoint(bpnet, run_dir: Path, dataset_root: Path) -> None:
    for path in (run_dir, run_dir / "best.safetensors"):
        status, out, err = bpnet("features", "inspect", path)
        assert (status, err) == (0, "")
        first, spec = out.splitlines()
        assert first == f"{path}: a checkpoint; it reads features of this spec"
        assert f"spec: {spec}" in bpnet("features", "inspect", dataset_root / "features.h5")[1]
    status, _, err = bpnet("features", "inspect", "gone.safetensors")
    assert (status, err) == (2, "CheckpointError: checkpoint 'gone.safetensors': no such file\n")


def test_check_of_a_sound_store(bpnet, dataset_root: Path) -> None:
    line = [dataset_root / "features.h5", "--annotations", dataset_root / "annotations.jsonl"]
    status, out, err = bpnet("features", "check", *line)
    assert (status, err) == (0, "")
    for part, pairs in (("train", 16), ("val", 4), ("test", 4)):
        assert f"jsonl {part}: {pairs} of {pairs} pairs" in out


def test_check_names_what_is_missing(bpnet, dataset_root: Path, tmp_path: Path) -> None:
    text = (dataset_root / "annotations.jsonl").read_text().replace('"v3"', '"gone"')
    (tmp_path / "a.jsonl").write_text(text)
    line = [dataset_root / "features.h5", "--annotations", "a.jsonl"]
    status, out, err = bpnet("features", "check", *line)
    assert (status, err) == (1, "")
    assert "missing: 1\n  'gone'\n" in out
    # Only in the training part.
    assert bpnet("features", "check", *line, "--split", "test")[0] == 0
    assert bpnet("features", "check", *line, "--split", "test", "--split", "train")[0] == 1


def test_check_finds_nan_and_empty_videos(bpnet, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["nan"] = np.full((4, 3), np.nan, dtype=np.float32)
        file["empty"] = np.zeros((0, 3), dtype=np.float32)
        file["wide"] = np.zeros((4, 5), dtype=np.float32)
    with (tmp_path / "a.jsonl").open("w") as file:
        for name in ("nan", "empty", "wide"):
            row = {"qid": name, "video_id": name, "query": "spins", "split": "test"}
            file.write(json.dumps(row | {"start": 0, "end": 1, "duration": 2}) + "\n")
    line = ["plain.h5", "--annotations", "a.jsonl", "--backbone", "tiny"]
    status, out, err = bpnet("features", "check", *line)
    assert (status, err) == (1, "")
    for name in ("nan", "empty", "wide"):
        assert name in out


def test_a_plain_file_can_be_looked_at(bpnet, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["a"] = np.zeros((4, 3), dtype=np.float32)
    status, out, err = bpnet("features", "inspect", "plain.h5")
    assert (status, err) == (0, "")
    assert "spec: backbone=unknown, feature_dim=3" in out
    assert "1 videos of unknown duration" in out and "hours" not in out
    # To be stored it must be known what made them.
    status, out, err = bpnet("features", "convert", "plain.h5", "out.h5")
    assert (status, out) == (2, "")
    assert re.match(r"FeatureError: features 'plain\.h5': nothing says.*\(--backbone\)\n", err)
    line = ["plain.h5", "--backbone", "tiny", "--seconds-per-clip", "2"]
    status, out, err = bpnet("features", "inspect", *line)
    assert (status, err) == (0, "")
    for part in ("layout hdf5: an HDF5 file, ", "backbone=tiny", "seconds_per_clip=2.0", "width 3"):
        assert part in out


def test_streams_of_a_release(bpnet, tmp_path: Path) -> None:
    video_id = "NUsG9BgSes0_210.0_360.0"
    for stream, width in (("slowfast_features", 2304), ("clip_features", 512)):
        (tmp_path / stream).mkdir()
        np.savez(tmp_path / stream / f"{video_id}.npz", features=np.ones((4, width), np.float16))
    line = [".", "--layout", "moment-detr", "--streams", "slowfast_features,clip_features"]
    line += ["--normalise", "l2"]
    status, out, err = bpnet("features", "inspect", *line)
    assert (status, err) == (0, "")
    for part in ("1 videos", "width 2816", "normalisation=l2", "streams=('slowfast', 'clip')"):
        assert part in out
    with (tmp_path / "a.jsonl").open("w") as file:
        row = {"qid": "1", "video_id": video_id, "query": "spins", "split": "test"}
        file.write(json.dumps(row | {"start": 0, "end": 1, "duration": 8}) + "\n")
    status, out, err = bpnet("features", "check", *line, "--annotations", "a.jsonl")
    assert (status, err) == (0, "")
    assert "slowfast_features: release moment-detr-slowfast" in out


def test_an_unknown_layout(bpnet, tmp_path: Path) -> None:
    status, _, err = bpnet("features", "inspect", tmp_path, "--layout", "moment-deter")
    assert status == 2
    assert "did you mean 'moment-detr'" in err


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["gone.h5", "--annotations", "."], r"FeatureError: feature file 'gone\.h5': no such file"),
        (["{h5}", "--annotations", "gone"], "AnnotationError: annotations 'gone': no such file"),
        (
            ["{h5}", "--annotations", "{jsonl}", "--split", "dev"],
            "AnnotationError: .*'dev': it has .*'train': 16",
        ),
        (
            ["{h5}", "--annotations", ".", "--dataset", "tacos_2dtan"],
            "AnnotationError: annotation folder",
        ),
    ],
)
def test_errors(bpnet, dataset_root: Path, arguments: list[str], match: str) -> None:
    files = {"h5": dataset_root / "features.h5", "jsonl": dataset_root / "annotations.jsonl"}
    status, _, err = bpnet("features", "check", *(a.format(**files) for a in arguments))
    assert status == 2
    assert re.match(match, err)
    assert err.count("\n") == 1


def test_what_argparse_refuses(bpnet) -> None:
    for line in ([], ["inspct", "f.h5"], ["check", "f.h5"]):
        status, out, err = bpnet("features", *line)
        assert (status, out) == (2, "")
        assert "usage: bpnet features" in err


def test_inspecting_does_not_import_torch(process, dataset_root: Path) -> None:
    code = (
        "import sys\n"
        "from bpnet.cli.main import main\n"
        "main(['features', 'inspect', sys.argv[1]])\n"
        "main(['features', 'check', sys.argv[1], '--annotations', sys.argv[2]])\n"
        "print(sorted({'torch', 'hydra', 'av'} & set(sys.modules)))\n"
    )
    status, out, err = process(
        "-c", code, dataset_root / "features.h5", dataset_root / "annotations.jsonl"
    )
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_sample(bpnet, tmp_path: Path) -> None:
    """Rendered, extracted, and found sound; the same seed gives the same sentences."""
    pytest.importorskip("av")
    for name in ("one", "two"):
        status, out, err = bpnet("features", "sample", name, "--videos", "6", "--jobs", "1")
        assert status == 0, err
        assert f"data.root={name}" in out
    line = ["one/features.h5", "--annotations", "one/annotations.jsonl"]
    assert bpnet("features", "check", *line)[0] == 0
    assert len(list((tmp_path / "one").rglob("*.mp4"))) == 6
    one, two = ((tmp_path / name / "annotations.jsonl").read_text() for name in ("one", "two"))
    assert one == two


@pytest.mark.slow
def test_extracting_the_sample_again_gives_the_same(bpnet, tmp_path: Path) -> None:
    pytest.importorskip("av")
    assert bpnet("features", "sample", "s", "--videos", "3", "--jobs", "1")[0] == 0
    folder = next((tmp_path / "s").rglob("*.mp4")).parent
    status, out, err = bpnet("features", "extract", folder, "again.h5", "--jobs", "1")
    assert status == 0, err
    assert out == "3 videos written to again.h5\n"
    with h5py.File("again.h5") as mine, h5py.File("s/features.h5") as theirs:
        assert set(mine) == set(theirs)
        assert all(np.array_equal(mine[name][:], theirs[name][:]) for name in theirs)
