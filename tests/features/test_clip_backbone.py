"""CLIP's image side: a tiny model with random weights, saved as transformers saves any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_videos import squares, write_video
from tiny_clip import save_clip

from bpnet_features import FeatureError
from bpnet_features.backbones.backbone import Extraction
from bpnet_features.backbones.choose import load_backbone, load_for_spec
from bpnet_features.backbones.clip_vit import DEVIATION, MEAN
from bpnet_features.extract import extract_video

transformers = pytest.importorskip("transformers")


@pytest.fixture
def extraction(tmp_path: Path) -> Extraction:
    return Extraction("clip", save_clip(tmp_path / "clip"), "cpu")


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """Six seconds at 4 frames a second."""
    return write_video(tmp_path / "slide.mp4", squares([2 * i for i in range(24)]), fps=4)


def test_a_frame_every_two_seconds(extraction, slide):
    backbone = load_backbone(extraction)
    spec = backbone.spec
    assert (spec.backbone, spec.feature_dim, spec.layer) == ("clip", 24, "image_embeds")
    assert (spec.stride_seconds, spec.picture) == (2.0, "short side 32, centre 32, bicubic")
    assert extract_video(slide, backbone).clips.shape == (3, 24)


@torch.inference_mode()
def test_the_numbers_are_those_of_the_whole_model(extraction):
    """Beside the text side, with pixels normalised by hand."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    clips = np.concatenate(list(load_backbone(extraction).clips(iter(images))))
    model = transformers.CLIPModel.from_pretrained(extraction.weights).eval()
    pixels = (images / 255 - np.array(MEAN)) / np.array(DEVIATION)
    given = torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float()
    seen = model.visual_projection(model.vision_model(pixel_values=given).pooler_output)
    np.testing.assert_allclose(clips, seen.numpy(), atol=1e-5)


def test_another_clip_is_refused(extraction, tmp_path):
    spec = load_backbone(extraction).spec
    assert load_for_spec(spec, extraction.weights).spec == spec
    with pytest.raises(FeatureError, match="Give the weights that those features were made with"):
        load_for_spec(spec, save_clip(tmp_path / "other", seed=1))


def test_what_is_no_clip(extraction, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    for name in ("empty", "gone"):
        path = str(tmp_path / name)
        with pytest.raises(FeatureError, match=f"{name}' of backbone 'clip': no CLIP model that"):
            load_backbone(Extraction("clip", path, "cpu"))
    (tmp_path / "clip" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(FeatureError, match="backbone 'clip': no CLIP model that transformers"):
        load_backbone(extraction)
    other = Extraction(
        "clip", save_clip(tmp_path / "new"), picture="short side 64, centre 48, area"
    )
    with pytest.raises(FeatureError, match="this CLIP needs a centre of 32"):
        load_backbone(other)
