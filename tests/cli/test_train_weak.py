"""`bpnet train supervision=weak`: its folder, its last line, and its checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_run

SHORT = ["supervision.teacher_epochs=2", "supervision.rounds=1", "trainer.max_steps=3"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run.write_dataset(tmp_path_factory.mktemp("files"))


def test_a_run_its_resumption_and_its_use(bpnet, files: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    line = ["train", *tiny_run.overrides(files), "supervision=weak", *SHORT, f"run_dir={run_dir}"]
    status, out, _ = bpnet(*line)
    assert status == 0
    result = json.loads(out.splitlines()[-1])
    assert result["supervision"] == "weak" and result["run_dir"] == str(run_dir)
    # One of the eight training videos' worth of validation videos, two sentences about it.
    assert (result["labelled_validation_pairs"], result["labelled_training_pairs"]) == (2, 0)
    assert {path.name for path in run_dir.iterdir()} == {
        *(".hydra", "config.yaml", "train.log", "supervision.json", "weak.json"),
        *("best.safetensors", "last.safetensors", "teacher_evidence", "student_1"),
    }
    log = (run_dir / "train.log").read_text()
    assert "16 training sentences about 8 videos, 0 of them with their moments" in log
    assert "(labelled validation, 2 pairs)" in log
    before = (run_dir / "best.safetensors").read_bytes()

    status, _, error = bpnet(*line)
    assert status == 2 and "holds a run already: give resume=auto" in error
    status, _, error = bpnet(*line, "resume=auto", "supervision.left_out=0.5")
    assert status == 2 and "supervision.left_out: 0.2 != 0.5" in error
    status, _, error = bpnet(*line, "resume=auto", "supervision.pool.min_vidoes=2")
    assert status == 2 and "min_videos" in error
    assert bpnet(*line, "resume=auto")[0] == 0
    assert (run_dir / "best.safetensors").read_bytes() == before

    assert bpnet("evaluate", f"checkpoint={run_dir}", "split=test")[0] == 0
    asked = ["v0", "the small circle jumps", "--features", files / "features.h5"]
    assert bpnet("localize", "--checkpoint", run_dir, *asked)[0] == 0


def test_mixed(bpnet, files: Path, tmp_path: Path) -> None:
    line = ["train", *tiny_run.overrides(files), "supervision=mixed", *SHORT]
    status, out, _ = bpnet(*line, f"run_dir={tmp_path / 'run'}")
    assert status == 0
    assert json.loads(out.splitlines()[-1])["labelled_training_pairs"] == 2
