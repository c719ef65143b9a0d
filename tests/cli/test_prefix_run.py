"""`model=bpnet_prefix`: trained, evaluated and asked from the command line, and not exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_run
import torch

from bpnet import Localizer
from bpnet.checkpoint import Checkpoint


def settings(root: Path, **changes: object) -> list[str]:
    """The tiny run with another model; what only plain BPNet reads is not set."""
    line = [one for one in tiny_run.overrides(root, **changes) if "num_conv_layers" not in one]
    return ["model=bpnet_prefix", *line, "model.num_trunk_layers=2"]


def test_train_evaluate_localize(bpnet, dataset_root: Path) -> None:
    line = settings(dataset_root, trainer__max_steps=24, trainer__save_every_steps=1000)
    status, _, err = bpnet("train", *line, "run_dir=whole")
    assert status == 0, err
    lines = [json.loads(line) for line in Path("whole/metrics.jsonl").read_text().splitlines()]
    losses = [line for line in lines if "total" in line]
    wanted = {"boundary", "highlight", "overlap", "contrast", "matching", "mismatch", "refinement"}
    assert wanted <= losses[0].keys()
    assert losses[-1]["total"] < losses[0]["total"]
    checkpoint = Checkpoint.load(Path("whole"))
    assert checkpoint.model["network"] == "prefix"
    parts = {name.split(".")[0] for name in checkpoint.tensors}
    assert parts == {"encoder", "trunk", "head", "stage_two", "levels", "summary", "word_place"}

    status, table, err = bpnet("evaluate", "checkpoint=whole", "device=cpu")
    assert status == 0, err
    assert "two stages" in table
    asked = ["v11", "the small circle spins", "the small circle jumps", "--checkpoint", "whole"]
    status, out, err = bpnet(
        "localize", *asked, "--features", dataset_root / "features.h5", "--json"
    )
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert len(found) == 2 and all(0 <= one["score"] <= 1 for answer in found for one in answer)

    status, _, err = bpnet("export", "whole", "--out", "model.pt2")
    assert status != 0 and not Path("model.pt2").exists()
    assert "model.network='prefix' cannot be exported" in err


def test_a_library(bpnet, dataset_root: Path) -> None:
    """Videos of a prefix network on disk answer as those that are opened."""
    pytest.importorskip("faiss", reason="needs pip install 'bpnet-nlvl[library]'")
    from bpnet.inference.collection import open_collection
    from bpnet.inference.library import open_library

    line = settings(dataset_root, trainer__max_steps=10, trainer__calibrate="false")
    assert bpnet("train", *line, "run_dir=run")[0] == 0
    localizer = Localizer.from_pretrained("run", device="cpu")
    videos = open_collection(localizer, dataset_root / "features.h5")
    query = "the small circle spins"
    for _ in range(2):  # encoded, then read from the disk
        library = open_library(localizer, videos, Path("kept"))
        found = library.localize([query], 1000, windows=None)[0]
        mine = [one.moment for one in found if one.video_id == "v3"]
        expected = localizer.open_video(dataset_root / "features.h5", "v3").localize(query, 100)
        assert len(mine) == len(expected)
        for one, other in zip(mine, expected, strict=True):
            torch.testing.assert_close(one.score, other.score, atol=1e-5, rtol=0)
