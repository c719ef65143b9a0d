"""Real sentences and moments under made features, from download-like files to a score."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bpnet.cli.main import main

pytestmark = [pytest.mark.shared, pytest.mark.slow]


def run(script: Path, *options: str) -> None:
    subprocess.run([sys.executable, str(script), *options], check=True, capture_output=True)


def test_learns_on_planted_charades(shared_dir: Path, tmp_path: Path) -> None:
    """A signal weak enough that words must be matched: far above what any constant reaches."""
    annotations = shared_dir / "data/annotations/charades_sta"
    run(
        shared_dir / "bench/planted/planted_features.py",
        *("--dataset", "charades", "--anno-dir", str(annotations)),
        *("--dim", "64", "--snr", "1", "--limit", "600", "--out", str(tmp_path / "bench")),
    )
    main(
        [
            "train",
            "data=charades_sta",
            f"data.features={tmp_path / 'bench/features.h5'}",
            f"data.annotations={annotations}",
            "data.features.spec={backbone: planted}",
            f"data.vectors={tmp_path / 'bench/glove_like.txt'}",
            f"data.vectors_cache={tmp_path / 'vectors'}",
            "data.max_clips=64",
            "data.missing=drop",  # the bench keeps 600 of the 6,672 videos
            "trainer.max_steps=300",
            f"run_dir={tmp_path / 'run'}",
        ]
    )
    main(["evaluate", f"checkpoint={tmp_path / 'run'}", "split=test"])
    results = json.loads((tmp_path / "run/eval_test/metrics.json").read_text())
    assert results["num_queries"] + results["num_dropped"]["missing_features"] == 3720
    for column in ("R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU"):
        assert results["metrics"][column] > results["blind_best"][column] + 15


def test_activitynet_files_of_another_naming(shared_dir: Path, tmp_path: Path) -> None:
    """train.json, val.json and test.json with query ids, and features that carry no spec."""
    bench = tmp_path / "bench"
    run(
        shared_dir / "bench/anet_cross/build.py",
        *("--out", str(bench), "--limit", "60", "--frames", "16"),
    )
    main(
        [
            "train",
            "data=activitynet",
            f"data.features={bench / 'features.h5'}",
            f"data.annotations={bench}",
            "data.features.spec={backbone: painted}",
            f"data.vectors={bench / 'glove_like.txt'}",
            f"data.vectors_cache={tmp_path / 'vectors'}",
            "data.validation_split=val",
            "trainer.max_steps=3",
            f"run_dir={tmp_path / 'run'}",
        ]
    )
    main(["evaluate", f"checkpoint={tmp_path / 'run'}", "split=test"])
    lines = (tmp_path / "run/eval_test/predictions.jsonl").read_text().splitlines()
    queries = json.loads((bench / "test.json").read_text())
    expected = {str(qid) for video in queries.values() for qid in video["qids"]}
    assert {json.loads(line)["qid"] for line in lines} == expected
