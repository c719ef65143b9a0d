"""What every backbone goes through: pictures, windows, weight files, specs."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bpnet_features import FeatureError, FeatureSpec
from bpnet_features.backbones import choose
from bpnet_features.backbones.backbone import Extraction
from bpnet_features.backbones.choose import load_for_spec
from bpnet_features.backbones.torch_weights import digest, fill, pick_device, read_state
from bpnet_features.backbones.windows import WindowBackbone, windows
from bpnet_features.picture import Picture

SPEC = FeatureSpec(
    backbone="mean",
    feature_dim=1,
    fps=4.0,
    clip_length_frames=2,
    clip_stride_frames=2,
    normalisation="none",
    picture="4x4, area",
    weights="sha256:0",
)


def numbered(num_frames: int):
    """Frame i has the value i everywhere."""
    return (np.full((4, 4, 3), i, np.uint8) for i in range(num_frames))


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 20))
def test_windows_begin_at_the_stride_and_cover_all(num_frames, length, stride):
    found = [
        window[:, 0, 0, 0].tolist() for window in windows(numbered(num_frames), length, stride)
    ]
    for number, window in enumerate(found):
        begin = number * stride
        assert window == [min(i, num_frames - 1) for i in range(begin, begin + length)]
    assert (len(found) - 1) * stride < num_frames  # each begins before the end
    if length >= stride:
        seen = (len(found) - 1) * stride + length
        assert seen - stride < num_frames <= seen or len(found) == 1


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_the_batch_size_changes_nothing(batch_size):
    backbone = WindowBackbone(
        SPEC, Picture((4, 4), None, "area"), lambda w: w.mean(axis=(1, 2, 3))[:, :1], batch_size
    )
    features = np.concatenate(list(backbone.clips(numbered(7))))
    np.testing.assert_allclose(features[:, 0], [0.5, 2.5, 4.5, 6.0])


def test_vectors_of_length_one():
    unit = dataclasses.replace(SPEC, feature_dim=2, normalisation="l2")
    backbone = WindowBackbone(
        unit, Picture((4, 4), None, "area"), lambda w: np.array([[3.0, 4.0]] * len(w)), 2
    )
    (features, *_) = backbone.clips(numbered(4))
    np.testing.assert_allclose(features, [[0.6, 0.8]] * 2, atol=1e-5)


@pytest.mark.parametrize(
    "text",
    ["short side 256, centre 224, bilinear", "171x128, centre 112, bicubic", "64x64, area"],
)
def test_a_picture_is_what_it_says(text):
    assert str(Picture.parse(text)) == text


def test_pictures_are_scaled_and_cut():
    picture = Picture.parse("short side 8, centre 6, area")
    assert picture.scaled(320, 160) == (16, 8)
    assert picture.scaled(90, 160) == (8, 14)
    image = np.arange(8 * 16 * 3, dtype=np.uint8).reshape(8, 16, 3)
    np.testing.assert_array_equal(picture.cut(image), image[1:7, 5:11])
    with pytest.raises(FeatureError, match="frames of 2 x 5000 pixels, scaled to a shorter side"):
        picture.scaled(2, 5000)
    whole = Picture.parse("5x7, area")
    assert whole.scaled(320, 160) == (5, 7)
    assert whole.cut(image) is image


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "picture='': expected such as 'short side 256"),
        ("short side 256", "picture='short side 256': expected such as"),
        ("0x64, area", "expected sides from 1 to 4096"),
        ("short side 99999, area", "expected sides from 1 to 4096"),
        ("short side 128, centre 224, area", "the square does not fit"),
    ],
)
def test_pictures_that_cannot_be(text, match):
    with pytest.raises(FeatureError, match=match):
        Picture.parse(text)


def test_devices():
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in ("cpu", "cuda")
    for name in ("tpu", "cuda:x", "cuda:999", ""):
        with pytest.raises(FeatureError, match=f"device='{name}': "):
            pick_device(name)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.mark.parametrize("zipped", [True, False])  # before PyTorch 1.6, as the public files are
def test_weights_come_back(tmp_path, zipped):
    state = network().state_dict()
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    found = {"epoch": torch.tensor(3), "state_dict": wrapped}
    torch.save(found, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    other = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    assert digest(other) != digest(network())
    fill(other, read_state(str(tmp_path / "w.pt"), "x"), (), "w.pt")
    assert digest(other) == digest(network())
    assert not other.training and not any(p.requires_grad for p in other.parameters())


def test_the_digest_is_of_numbers_alone():
    names = nn.ModuleDict({"a": network()[0], "b": network()[1]})
    assert digest(names) == digest(network())
    names["b"].num_batches_tracked += 1
    assert digest(names) == digest(network())
    names["b"].running_mean += 1e-6
    assert digest(names) != digest(network())


def test_weights_of_another_network():
    state = network().state_dict()
    faulty = {"0.weight": torch.zeros(5, 3), "0.bias": state["0.bias"], "head": torch.zeros(1)}
    with pytest.raises(FeatureError) as caught:
        fill(network(), faulty, (), "weights 'w.pt'")
    for part in (
        "weights 'w.pt': weights of another network",
        "1.weight is missing",
        "head is not of this network",
        "and 1 more",
    ):
        assert part in str(caught.value)
    fill(network(), {**state, "head": torch.zeros(1)}, ("head",), "weights 'w.pt'")


class Harmful:
    """A pickle of it would run code."""

    def __reduce__(self):
        return print, ("run",)


def test_files_that_hold_no_weights(tmp_path, capfd):
    torch.save({"a": Harmful()}, tmp_path / "harmful.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    torch.save({"a": torch.zeros(1), "b": 3}, tmp_path / "number.pt")
    (tmp_path / "text.pt").write_text("<html>404</html>")
    torch.save(network().state_dict(), tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:500])
    (tmp_path / "empty.pt").touch()
    for name in ("harmful.pt", "text.pt", "cut.pt", "empty.pt"):
        with pytest.raises(FeatureError, match=f"{name}' of backbone 'i3d': not a PyTorch file"):
            read_state(str(tmp_path / name), "i3d")
    for name in ("list.pt", "number.pt"):
        with pytest.raises(FeatureError, match="expected a state dict, names with tensors"):
            read_state(str(tmp_path / name), "i3d")
    for name in ("gone.pt", ""):
        with pytest.raises(FeatureError, match=r"no such file; docs/extract\.md says where"):
            read_state(str(tmp_path / name), "i3d")
    assert capfd.readouterr().out == ""


class Made:
    """Stands for a loaded backbone."""

    def __init__(self, extraction: Extraction) -> None:
        self.extraction = extraction
        fps, stride = extraction.fps or 25.0, extraction.clip_stride_frames or 16
        length = extraction.clip_length_frames or 16
        self.spec = FeatureSpec(
            backbone="i3d",
            feature_dim=1024,
            layer="avg_pool",
            fps=fps,
            clip_length_frames=length,
            clip_stride_frames=stride,
            normalisation=extraction.normalisation or "none",
            picture=extraction.picture or "short side 256, centre 224, bilinear",
            weights="sha256:kinetics",
        )


@pytest.fixture
def any_i3d(monkeypatch):
    monkeypatch.setattr(choose, "load_backbone", Made)


def test_a_full_spec_is_made_exactly(any_i3d, caplog):
    spec = Made(Extraction(fps=12.0, clip_length_frames=24, clip_stride_frames=6)).spec
    spec = dataclasses.replace(spec, picture="short side 300, centre 224, area", normalisation="l2")
    assert load_for_spec(spec, "w.pt", "cpu").spec == spec
    assert not caplog.records


@pytest.mark.parametrize(
    ("known", "fps", "stride"),
    [
        ({"seconds_per_clip": 0.64}, 25.0, 16),
        ({"seconds_per_clip": 0.5}, 32.0, 16),
        ({"seconds_per_clip": 0.5, "fps": 24.0}, 24.0, 12),
        ({"seconds_per_clip": 0.5, "clip_stride_frames": 8}, 16.0, 8),
        ({"fps": 24.0, "clip_stride_frames": 4}, 24.0, 4),
        ({}, 25.0, 16),
    ],
)
def test_what_a_release_says_is_kept_and_the_rest_is_told(any_i3d, caplog, known, fps, stride):
    spec = FeatureSpec(backbone="i3d", feature_dim=1024, **known)
    made = load_for_spec(spec, "w.pt").spec
    assert (made.fps, made.clip_stride_frames) == (fps, stride)
    (record,) = caplog.records
    assert "does not say" in record.message and "weights=sha256:kinetics" in record.message


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"weights": "sha256:charades"}, r"weights: 'sha256:charades' != .* Give the weights that"),
        ({"backbone": "i3d-charades"}, "backbone: 'i3d-charades' != 'i3d'"),
        ({"feature_dim": 2048}, r"feature_dim: 2048 != 1024 \(wanted != made\)"),
        ({"layer": "mixed_5c"}, "layer: 'mixed_5c' != 'avg_pool'"),
        ({"seconds_per_clip": 2.0}, r"seconds_per_clip: 2\.0 != 0\.64"),
        ({"version": 2}, "version: 2 != 1"),
    ],
)
def test_what_would_differ_is_refused(any_i3d, changed, match):
    spec = dataclasses.replace(Made(Extraction()).spec, **changed)
    with pytest.raises(FeatureError, match=match):
        load_for_spec(spec, "w.pt")


def test_torch_is_imported_for_networks_only():
    code = (
        "import sys, bpnet_features.extract_many as many\n"
        "from bpnet_features.backbones.choose import load_backbone, Extraction\n"
        "load_backbone(Extraction('grid'))\n"
        "assert 'torch' not in sys.modules and 'av' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
