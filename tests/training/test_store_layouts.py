"""The layout of the store changes no number of a training run."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest
import tiny_run
import torch

from bpnet.checkpoint import LAST, Checkpoint
from bpnet.training.metrics_log import METRICS
from bpnet.training.run import train
from bpnet_features import FeatureStore
from bpnet_features.convert import convert
from bpnet_features.header import APART, write_header


@pytest.mark.parametrize("max_clips", [16, 7])
def test_the_same_numbers_train_alike(dataset_root: Path, tmp_path: Path, max_clips: int) -> None:
    """Bit for bit, from a dataset a video as from one mapped array, pooled or not."""
    packed = FeatureStore(dataset_root / "features.h5")
    with h5py.File(tmp_path / "apart.h5", "w") as file:
        write_header(file, packed.spec, APART)
        for video_id in packed.video_ids():
            file[video_id] = packed.read_clips(video_id)
            file[video_id].attrs["duration_seconds"] = packed.entry(video_id).duration_seconds
    apart = FeatureStore(tmp_path / "apart.h5")
    convert(apart, tmp_path / "converted.h5")
    weights, logs = [], []
    for path in (packed.path, apart.path, tmp_path / "converted.h5"):
        run_dir = tmp_path / f"run-{path.stem}"
        run_dir.mkdir()
        features = {"data__features__path": str(path), "data__max_clips": max_clips}
        train(tiny_run.config(dataset_root, **features), run_dir)
        weights.append(Checkpoint.load(run_dir / LAST).tensors)
        lines = [json.loads(line) for line in (run_dir / METRICS).read_text().splitlines()]
        logs.append([line | {"seconds": 0} for line in lines])
    first = weights[0]
    for others in weights[1:]:
        assert all(torch.equal(first[name], others[name]) for name in first)
    assert logs[0] == logs[1] == logs[2]
