"""`bpnet images`: train, evaluate, locate, compose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from square_pictures import write_squares


@pytest.fixture
def trained(bpnet, tmp_path: Path) -> Path:
    for name, count, seed in (("train", 48, 0), ("val", 12, 1), ("test", 12, 2)):
        write_squares(tmp_path / name, count, seed)
    line = ["train", "train", "--out", "m/model.safetensors", "--size", "32", "--epochs", "8"]
    status, out, err = bpnet(
        "images", *line, "--validation", "val", "--intervention", "none", "--weighting", "sum_1"
    )
    assert status == 0, err
    assert "chosen on 12 pictures" in out and "epoch 8: loss" in err
    return tmp_path / "m" / "model.safetensors"


def test_from_a_folder_to_boxes(bpnet, trained: Path, tmp_path: Path) -> None:
    status, out, err = bpnet("images", "evaluate", trained, "test", "--json")
    assert status == 0, err
    results = json.loads(out)
    assert results["num_pictures"] == 12 and results["weighting"] == "sum_1"
    assert results["metrics"]["pointing"] > 60
    assert "Top-1 Loc" in bpnet("images", "evaluate", trained, "test")[1]

    picture = tmp_path / "test" / "red" / "001.png"
    status, out, err = bpnet("images", "locate", trained, picture, "--class", "red", "--out", "o")
    assert status == 0, err
    (found,) = json.loads(out)
    assert found["name"] == "red" and found["boxes"]
    assert sorted(file.name for file in Path("o").iterdir()) == ["00000.000.png", "boxes.json"]


def test_compose(bpnet, tmp_path: Path) -> None:
    knobs = ["num_train=3", "num_val=1", "num_test=1", "rho=1"]
    assert bpnet("images", "compose", "c", *knobs)[0] == 0
    assert len(list((tmp_path / "c" / "train").glob("*/*.png"))) == 3
    assert (tmp_path / "c" / "iid" / "contexts.csv").read_text().count("\n") == 2


def test_refused(bpnet, trained: Path, tmp_path: Path) -> None:
    cases = {
        "train gone --out m": "ConfigError: pictures 'gone': no such folder",
        "evaluate gone test": "CheckpointError: image model 'gone': no such file",
        f"locate {trained} gone.png": "ConfigError: 'gone.png': no such file",
        f"locate {trained} test/red/001.png --start 1": "expected both, or none",
        f"locate {trained} test/red/001.png --class blue": "class 'blue': the model knows green",
        f"evaluate {trained} m": "AnnotationError: pictures 'm': classes []",
        "compose c rho=7": "ConfigError: composites: rho=7.0: expected 0 to 1",
    }
    for line, expected in cases.items():
        status, _, err = bpnet("images", *line.split())
        assert status == 2 and expected in err, err
        assert err.count("\n") == 1
