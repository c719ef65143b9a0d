"""`bpnet evaluate` with several checkpoints and files; split=validation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import tiny_run

from bpnet.checkpoint import BEST, LAST
from bpnet.training.run import train


@pytest.fixture(scope="module")
def carved(dataset_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose validation part is carved from its training part."""
    folder = tmp_path_factory.mktemp("carved")
    changes = {"data__validation_split": None, "data__validation_fraction": 0.25}
    train(tiny_run.config(dataset_root, trainer__max_steps=4, **changes), folder)
    return folder


def test_checkpoints_and_predictions(bpnet, run_dir: Path, tmp_path: Path) -> None:
    status, _, err = bpnet("evaluate", f"checkpoint={run_dir}", "split=test", "out=one")
    assert status == 0, err
    rows = f"checkpoint={{ours: [{run_dir}/{BEST}, {run_dir}/{LAST}], best: {run_dir}}}"
    line = [rows, "predictions={file: one/predictions.jsonl}", "split=test"]
    status, out, err = bpnet("evaluate", *line, "out=both")
    assert status == 0, err
    results = json.loads(Path("both/comparison.json").read_text())
    assert [path.name for path in Path("both").iterdir()] == ["comparison.json"]
    assert [row["name"] for row in results["rows"]] == ["ours", "best", "file"]
    assert results["rows"][0]["runs"] == [f"{run_dir}/{BEST}", f"{run_dir}/{LAST}"]
    metrics = json.loads(Path("one/metrics.json").read_text())["metrics"]
    for row in results["rows"][1:]:
        for column, cell in row["metrics"].items():
            assert cell["value"] == pytest.approx(metrics[column])
    assert results["differences"][0]["metrics"] == results["differences"][1]["metrics"]
    assert "best - ours" in out and "file - ours" in out and "ours (2 runs)" in out
    assert out.splitlines()[-1] == "written to both/comparison.json"
    # The same again, seed and all; and the checkpoint against its own predictions differs by 0.
    status, again, _ = bpnet("evaluate", *line)
    assert status == 0
    assert again.splitlines()[:-1] == out.splitlines()[:-1]
    assert again.splitlines()[-1].startswith("nothing written: out=FOLDER")
    alone = [f"checkpoint={run_dir}", "predictions=one/predictions.jsonl", "out=pair"]
    assert bpnet("evaluate", *alone)[0] == 0
    (difference,) = json.loads(Path("pair/comparison.json").read_text())["differences"]
    for cell in difference["metrics"].values():
        assert cell == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_the_carved_part_is_found_again(
    bpnet, dataset_root: Path, carved: Path, tmp_path: Path
) -> None:
    status, out, err = bpnet("evaluate", f"checkpoint={carved}", "split=validation", "out=o")
    assert status == 0, err
    results = json.loads(Path("o/metrics.json").read_text())
    assert results["metrics"] == pytest.approx(results["checkpoint"]["validation"])
    assert results["num_queries"] == 4
    assert "annotations" not in results["num_dropped"]
    assert "validation: 2 videos carved from 'train' (data.validation_fraction=0.25, seed 0)" in out
    # Of other annotations other videos might be carved.
    text = (dataset_root / "annotations.jsonl").read_text().replace("small", "very small")
    (tmp_path / "a.jsonl").write_text(text)
    line = [f"checkpoint={carved}", "split=validation", "data.annotations=a.jsonl"]
    status, _, err = bpnet("evaluate", *line)
    assert status == 2
    assert re.search(r"^ConfigError: split='validation': .*'a\.jsonl' holds other", err, re.M)


def test_a_named_part_is_the_validation_part(bpnet, run_dir: Path) -> None:
    for split in ("validation", "val"):
        line = ["evaluate", f"checkpoint={run_dir}", f"split={split}", f"out={split}"]
        assert bpnet(*line)[0] == 0
    one, other = (json.loads(Path(f"{s}/metrics.json").read_text()) for s in ("validation", "val"))
    assert one["metrics"] == other["metrics"] == pytest.approx(one["checkpoint"]["validation"])
    assert "validation: 'val' of the dataset, on which the checkpoint was chosen" in one["notes"]


def test_chosen_on_no_part(bpnet, dataset_root: Path, tmp_path: Path) -> None:
    changes = {"data__validation_split": None, "data__validation_fraction": 0}
    train(tiny_run.config(dataset_root, trainer__max_steps=1, **changes), tmp_path)
    status, _, err = bpnet("evaluate", f"checkpoint={tmp_path}", "split=validation")
    assert status == 2
    assert "ConfigError: split='validation': the checkpoint was trained with data.valid" in err


def test_refused(bpnet, dataset_root: Path, run_dir: Path, carved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    train(tiny_run.config(dataset_root, trainer__max_steps=1, data__train_split="test"), other)
    cases = {
        f"checkpoint=[{run_dir},gone]": r"CheckpointError: checkpoint 'gone': no such file",
        f"checkpoint=[{run_dir},{run_dir}]": r"ConfigError: .*two rows are called",
        f"checkpoint=[{run_dir},{carved}] report=3": r"ConfigError: report=3: a report is drawn",
        f"checkpoint=[{run_dir}] predictions=[gone.json]": r"ConfigError: predictions='gone\.json'",
        f"checkpoint=[{run_dir},{carved}] split=validation": (
            r"(?s).*AnnotationError: .* answer different queries \(4 and 4; 8 are not in both\): "
            r"qid 'q\d+'"
        ),
        f"checkpoint=[{run_dir},{other}] split=test": (
            r"(?s).*ConfigError: split='test': '.*other' was trained on this part, and other rows"
        ),
    }
    for line, match in cases.items():
        status, _, err = bpnet("evaluate", *line.split(), "out=o")
        assert status == 2, line
        assert re.match(match, err), err
    assert not Path("o").exists()
