"""The weight-free extractor: what its numbers follow, and how a set of files becomes a store."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av
import numpy as np
import pytest

from bpnet_features import FeatureError, FeatureSpec, FeatureStore
from bpnet_features.extract import (
    CELL_MEASURES,
    CELL_MOTION,
    COLOUR_MEASURES,
    COLOUR_MOTION,
    COLUMNS,
    GRID_SPEC,
    HUES,
    LIMIT,
    clip_features,
    extract_video,
    extract_videos,
)

SHARED_VIDEOS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "videos"
RED, GREEN = (220, 40, 40), (40, 190, 60)


def write_video(path, frames, fps=8):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        stream.options = {"crf": "12", "preset": "ultrafast"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def squares(xs, ys=None, colour=RED, size=16, side=64):
    """Frames with one square each, its upper left corner at (x, y)."""
    frames = np.full((len(xs), side, side, 3), 40, np.uint8)
    for frame, x, y in zip(frames, xs, [24] * len(xs) if ys is None else ys, strict=True):
        frame[y : y + size, x : x + size] = colour
    return frames


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
    features, duration = extract_video(slide)
    assert features.shape == (4, GRID_SPEC.feature_dim) and features.dtype == np.float32
    assert duration == pytest.approx(2.0, abs=0.01)
    np.testing.assert_array_equal(extract_video(slide)[0], features)


def test_the_columns_fill_the_width():
    assert [part.start for part in COLUMNS.values()][1:] == [
        part.stop for part in COLUMNS.values()
    ][:-1]
    assert COLUMNS["frame"].stop == GRID_SPEC.feature_dim
    assert tuple(COLUMNS) == GRID_SPEC.streams


@pytest.mark.parametrize(("num_frames", "num_clips"), [(1, 1), (3, 1), (4, 1), (5, 2), (70, 18)])
def test_the_last_clip_may_be_partial(tmp_path, num_frames, num_clips):
    path = write_video(tmp_path / "v.mp4", squares([20] * num_frames))
    features, duration = extract_video(path)
    assert len(features) == num_clips
    assert duration == pytest.approx(num_frames / 8, abs=0.01)


def test_blocks_leave_no_seam(tmp_path):
    # 80 frames are more than one block of clips; a square at constant speed moves alike throughout.
    path = write_video(tmp_path / "long.mp4", squares([i // 2 for i in range(80)]))
    features, _ = extract_video(path)
    speed = colours(features)[:, 0, COLOUR_MOTION][:, 0]
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


def test_a_spec_that_cannot_be_made_is_named(slide):
    with pytest.raises(FeatureError, match=r"backbone='i3d' cannot be extracted here"):
        extract_video(slide, FeatureSpec(backbone="i3d", feature_dim=1024))
    other = dataclasses.replace(GRID_SPEC, fps=25.0, version=7)
    with pytest.raises(FeatureError, match=r"fps: 25\.0 != 8\.0; version: 7 != 1"):
        extract_video(slide, other)


def test_files_become_a_store_in_the_order_given(tmp_path, slide, capfd):
    still = write_video(tmp_path / "a_still.mp4", squares([20] * 9))
    extract_videos([slide, str(still)], tmp_path / "one.h5", progress=False)
    extract_videos([slide, still], tmp_path / "two.h5", jobs=2)
    assert "extract" in capfd.readouterr().err
    for name in ("one.h5", "two.h5"):
        with FeatureStore(tmp_path / name) as store:
            assert store.spec == GRID_SPEC
            for path in (slide, still):
                clips, grid = store.read(path.stem)
                features, duration = extract_video(path)
                np.testing.assert_array_equal(clips, features)
                assert grid.duration_seconds == pytest.approx(duration)


def test_equal_names_are_refused(tmp_path, slide):
    (tmp_path / "b").mkdir()
    other = tmp_path / "b" / "slide.mkv"
    with pytest.raises(FeatureError, match=r"slide\.mp4' and .*slide\.mkv' .* the id 'slide'"):
        extract_videos([slide, other], tmp_path / "out.h5")


def test_broken_files_are_reported_together_and_nothing_is_replaced(tmp_path, slide):
    out = tmp_path / "out.h5"
    out.write_text("what was there before")
    broken = [tmp_path / f"broken_{i}.mp4" for i in range(7)]
    for path in broken:
        path.write_text("no video\n" * 50)
    with pytest.raises(FeatureError, match="7 of 8 videos cannot be extracted") as caught:
        extract_videos([broken[0], slide, *broken[1:]], out, progress=False)
    assert "broken_4.mp4" in str(caught.value) and "broken_5.mp4" not in str(caught.value)
    assert "and 2 more" in str(caught.value)
    assert out.read_text() == "what was there before"
    assert not list(tmp_path.glob(".*part"))


def test_settings_out_of_range(tmp_path, slide):
    with pytest.raises(FeatureError, match="jobs=0: expected an integer >= 1"):
        extract_videos([slide], tmp_path / "out.h5", jobs=0)
    with pytest.raises(FeatureError, match=r"no videos to extract for .*out\.h5"):
        extract_videos([], tmp_path / "out.h5")


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
