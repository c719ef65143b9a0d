"""The weight-free extractor: what its numbers follow."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from made_videos import GREEN, RED, squares, write_video

from bpnet_features import FeatureError, FeatureSpec, FeatureStore
from bpnet_features.backbones.backbone import Extraction
from bpnet_features.backbones.choose import load_backbone, load_for_spec
from bpnet_features.backbones.grid import (
    CELL_MEASURES,
    CELL_MOTION,
    COLOUR_MEASURES,
    COLOUR_MOTION,
    COLUMNS,
    GRID_SPEC,
    HUES,
    LIMIT,
    GridBackbone,
    clip_features,
)
from bpnet_features.extract import extract_video
from bpnet_features.extract_many import extract_videos

SHARED_VIDEOS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "videos"


def features(path):
    return extract_video(path, GridBackbone()).clips


def features_of(frames):
    """Features as if the first frame had been there before."""
    return clip_features(np.concatenate([frames[:1], frames]))


def cells(features):
    return features[:, COLUMNS["cells"]].reshape(len(features), -1, CELL_MEASURES)


def colours(features):
    return features[:, COLUMNS["colours"]].reshape(len(features), -1, COLOUR_MEASURES)


@pytest.fixture
def slide(tmp_path):
    """Two seconds: a red square goes right."""
    return write_video(tmp_path / "slide.mp4", squares([4 + 2 * i for i in range(16)]))


def test_one_row_a_clip_and_the_same_numbers_each_time(slide):
    found = extract_video(slide, GridBackbone())
    assert found.clips.shape == (4, GRID_SPEC.feature_dim) and found.clips.dtype == np.float32
    assert found.duration_seconds == pytest.approx(2.0, abs=0.01)
    assert found.num_corrupt == 0
    np.testing.assert_array_equal(features(slide), found.clips)


def test_the_columns_fill_the_width():
    assert [part.start for part in COLUMNS.values()][1:] == [
        part.stop for part in COLUMNS.values()
    ][:-1]
    assert COLUMNS["frame"].stop == GRID_SPEC.feature_dim
    assert tuple(COLUMNS) == GRID_SPEC.streams


@pytest.mark.parametrize(("num_frames", "num_clips"), [(1, 1), (3, 1), (4, 1), (5, 2), (70, 18)])
def test_the_last_clip_may_be_partial(tmp_path, num_frames, num_clips):
    path = write_video(tmp_path / "v.mp4", squares([20] * num_frames))
    found = extract_video(path, GridBackbone())
    assert len(found.clips) == num_clips
    assert found.duration_seconds == pytest.approx(num_frames / 8, abs=0.01)


def test_blocks_leave_no_seam(tmp_path):
    # 80 frames are more than one block of clips; a square at constant speed moves alike throughout.
    path = write_video(tmp_path / "long.mp4", squares([i // 2 for i in range(80)]))
    speed = colours(features(path))[:, 0, COLOUR_MOTION][:, 0]
    assert speed[1:] == pytest.approx(speed[10], rel=0.15)


def test_values_are_bounded_for_any_pixels():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (33, 64, 64, 3), dtype=np.uint8)
    flashes = np.zeros((33, 64, 64, 3), np.uint8)
    flashes[::2] = 255
    for frames in (noise, flashes, np.zeros_like(noise)):
        features = clip_features(frames)
        assert features.shape == (8, GRID_SPEC.feature_dim)
        assert np.isfinite(features).all() and np.abs(features).max() <= LIMIT


def test_a_still_picture_has_no_motion():
    rng = np.random.default_rng(1)
    still = np.repeat(rng.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8), 17, axis=0)
    features = clip_features(still)
    assert np.abs(cells(features)[..., CELL_MOTION]).max() < 1e-5
    assert np.abs(colours(features)[..., COLOUR_MOTION]).max() < 1e-5
    assert np.abs(features).max() > 0.1


def test_direction_is_a_sign():
    path = [8 + 2 * i for i in range(16)]
    right, left = features_of(squares(path)), features_of(squares(path[::-1]))
    x_speed = COLOUR_MOTION.start
    for features, sign in ((right, 1), (left, -1)):
        for colour in (0, -1):  # red, and foreground of whatever colour
            assert (sign * colours(features)[:, colour, x_speed] > 0.5).all()
        assert sign * features[1, COLUMNS["frame"]][-2] > 0.1  # flow across
    middle = [24] * 16
    down, up = features_of(squares(middle, path)), features_of(squares(middle, path[::-1]))
    assert (colours(down)[:, 0, x_speed + 1] > 0.5).all()
    assert (colours(up)[:, 0, x_speed + 1] < -0.5).all()
    assert np.abs(colours(down)[:, 0, x_speed]).max() < 0.05


def test_mirrored_pixels_mirror_the_motion():
    frames = squares([8 + 2 * i for i in range(16)])
    there, back = features_of(frames), features_of(frames[:, :, ::-1])
    x_speed = colours(there)[:, :, COLOUR_MOTION.start]
    np.testing.assert_allclose(colours(back)[:, :, COLOUR_MOTION.start], -x_speed, atol=1e-3)


def test_colours_are_told_apart():
    red, green = (colours(features_of(squares([20] * 4, colour=c)))[0] for c in (RED, GREEN))
    amounts_red, amounts_green = red[: len(HUES), 0], green[: len(HUES), 0]
    assert amounts_red.argmax() == 0 and amounts_green.argmax() == HUES.index(120.0)
    assert red[-1] == pytest.approx(green[-1], abs=0.2)  # as foreground they are alike


def test_appearing_and_growing_are_seen():
    empty = np.full((4, 64, 64, 3), 40, np.uint8)
    appear = colours(features_of(np.concatenate([empty, squares([20] * 4)])))[:, 0]
    assert appear[0, 1] < -0.9 < 0.5 < appear[1, 1]
    assert appear[0, -1] == pytest.approx(0) and appear[1, -1] > 0.9
    sizes = np.concatenate([squares([10], size=s) for s in (8, 12, 16, 20)])
    grow, shrink = (colours(features_of(f))[0, 0, COLOUR_MOTION] for f in (sizes, sizes[::-1]))
    assert grow[4] > 0.3 and shrink[4] < -0.3


def test_a_spec_that_cannot_be_made_is_named():
    with pytest.raises(FeatureError, match=r"backbone='vgg' cannot be extracted here, only grid"):
        load_for_spec(FeatureSpec(backbone="vgg", feature_dim=4096))
    other = dataclasses.replace(GRID_SPEC, feature_dim=9, version=7)
    with pytest.raises(FeatureError, match=r"feature_dim: 9 != \d+; version: 7 != 1 \(wanted"):
        load_for_spec(other)
    with pytest.raises(FeatureError, match=r"fps=25\.0: backbone 'grid' is made for 8\.0 only"):
        load_for_spec(dataclasses.replace(GRID_SPEC, fps=25.0))
    with pytest.raises(FeatureError, match=r"weights='w\.pt': backbone 'grid' has none"):
        load_backbone(Extraction(weights="w.pt"))


def test_older_specs_of_it_are_its_own(caplog):
    assert load_for_spec(dataclasses.replace(GRID_SPEC, picture=None)).spec == GRID_SPEC
    assert not caplog.records


@pytest.mark.shared
@pytest.mark.skipif(not SHARED_VIDEOS.is_dir(), reason="development data missing")
def test_real_files(tmp_path):
    files = sorted(SHARED_VIDEOS.glob("*.mp4"))[:4]
    extract_videos(files, tmp_path / "real.h5", progress=False)
    with FeatureStore(tmp_path / "real.h5") as store:
        for file in files:
            clips, grid = store.read(file.stem)
            assert np.isfinite(clips).all() and clips.std() > 0.1
            assert len(clips) == pytest.approx(2 * grid.duration_seconds, abs=1)
