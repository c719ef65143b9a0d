"""Decoding: times, sizes, nearest frames, and what is said about files that are no videos."""

from __future__ import annotations

import builtins
import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from made_videos import squares, turn, write_damaged, write_sound

from bpnet_features import FeatureError
from bpnet_features.video import DecodeLog, frames_at, frames_at_rate, iter_frames, probe

SHARED_VIDEOS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "videos"


def write_video(path, greys, fps=8, width=48, height=32, milliseconds=None, codec="libx264"):
    """A video of even grey frames; with their times, where these are not regular."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        if milliseconds is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, grey in enumerate(greys):
            image = np.full((height, width, 3), grey, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def greys_of(images):
    return [round(float(image.mean())) for image in images]


@pytest.fixture
def ramp(tmp_path):
    """Two seconds at 8 frames a second; frame i has the grey 40 + 10 i."""
    return write_video(tmp_path / "ramp.mp4", [40 + 10 * i for i in range(16)])


def test_probe_states_length_rate_and_size(ramp):
    info = probe(ramp)
    assert (info.width, info.height, info.num_frames) == (48, 32, 16)
    assert info.duration_seconds == pytest.approx(2.0, abs=0.01)
    assert info.fps == pytest.approx(8.0)


def test_probe_measures_a_file_that_states_no_length(tmp_path):
    path = write_video(tmp_path / "raw.h264", range(40, 200, 10))
    assert probe(path).duration_seconds == pytest.approx(16 / probe(path).fps, rel=0.1)


def test_frames_come_in_order_with_their_times(ramp):
    times, images = zip(*iter_frames(ramp), strict=True)
    assert times == pytest.approx(np.arange(16) / 8)
    assert images[0].shape == (32, 48, 3) and images[0].dtype == np.uint8
    assert greys_of(images) == pytest.approx([40 + 10 * i for i in range(16)], abs=3)


def test_times_begin_at_the_first_frame(tmp_path):
    path = write_video(tmp_path / "late.mkv", [50, 90], milliseconds=[700, 1000])
    assert [time for time, _ in iter_frames(path)] == pytest.approx([0.0, 0.3], abs=0.002)


def test_frames_are_scaled(ramp):
    _, image = next(iter_frames(ramp, width=24, height=20))
    assert image.shape == (20, 24, 3)
    with pytest.raises(FeatureError, match="width=0: expected an integer >= 1"):
        next(iter_frames(ramp, width=0))


def test_variable_frame_rate_is_sampled_by_time(tmp_path):
    # Shown from 0, 0.5, 0.6 and 2.0 s on: at 4 a second, the nearest of 0, .25, .5, .75, 1, 1.25,
    # 1.5 and 1.75 s. 0.25 lies between the first two; the earlier one is taken.
    path = write_video(tmp_path / "v.mp4", [40, 90, 140, 220], milliseconds=[0, 500, 600, 2000])
    assert probe(path).duration_seconds >= 2.0  # the header of this file states less
    greys = greys_of(frames_at_rate(path, 4.0, 16, 16))
    assert greys == pytest.approx([40, 40, 90, 140, 140, 140, 220, 220], abs=3)


def test_a_higher_rate_repeats_frames_and_a_lower_one_drops_them(ramp):
    assert len(list(frames_at_rate(ramp, 16.0, 8, 8))) == 32
    few = greys_of(frames_at_rate(ramp, 2.0, 8, 8))
    assert few == pytest.approx([40, 80, 120, 160], abs=3)


def test_frames_at_gives_the_nearest_in_the_order_asked(ramp):
    images = frames_at(ramp, [1.0, 0.0, 1.07, -3.0, 99.0, 1.0], width=24)
    assert all(image.shape == (16, 24, 3) for image in images)
    assert greys_of(images) == pytest.approx([120, 40, 130, 40, 190, 120], abs=3)
    assert frames_at(ramp, [], width=24) == []


@pytest.mark.parametrize(("width", "height"), [(33, 17), (1, 1), (5, 64)])
def test_odd_sizes(tmp_path, width, height):
    path = write_video(tmp_path / "odd.mkv", [60, 80], width=width, height=height, codec="ffv1")
    assert next(iter_frames(path))[1].shape == (height, width, 3)
    assert frames_at(path, [0.0], width=10)[0].shape[1] == 10


@pytest.mark.parametrize(
    ("matrix", "bright"),
    [
        ((0, 1, 0, -1, 0, 0), "top"),  # a phone held upright: turn clockwise
        ((0, -1, 0, 1, 0, 0), "bottom"),
        ((-1, 0, 0, 0, -1, 0), "right"),
    ],
)
def test_a_turned_video_stands_upright(tmp_path, matrix, bright):
    """The left half is white; the file says that it is to be shown turned."""
    path = tmp_path / "turned.mp4"
    image = np.zeros((32, 48, 3), np.uint8)
    image[:, :24] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv444p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    turn(path, matrix)

    (_, shown), *_ = iter_frames(path)
    height, width = shown.shape[:2]
    info = probe(path)
    assert (info.width, info.height) == (width, height)
    assert (width, height) == ((48, 32) if bright == "right" else (32, 48))
    halves = {
        "top": shown[: height // 2],
        "bottom": shown[height // 2 :],
        "left": shown[:, : width // 2],
        "right": shown[:, width // 2 :],
    }
    assert max(halves, key=lambda half: halves[half].mean()) == bright


def test_one_frame(tmp_path):
    path = write_video(tmp_path / "one.mp4", [100])
    assert probe(path).duration_seconds > 0
    assert len(list(iter_frames(path))) == 1
    assert len(list(frames_at_rate(path, 8.0, 8, 8))) == 1
    assert greys_of(frames_at(path, [0.0, 5.0], width=8)) == pytest.approx([100, 100], abs=3)


def test_a_missing_file_is_named(tmp_path):
    for call in (probe, lambda p: next(iter_frames(p)), lambda p: frames_at(p, [0.0], 8)):
        with pytest.raises(FeatureError, match=r"gone\.mp4'?: no such file"):
            call(tmp_path / "gone.mp4")


def test_a_text_file_is_no_video(tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("not a video\n" * 100)
    with pytest.raises(FeatureError, match=r"text\.mp4'?: cannot be read .*not a video"):
        probe(path)


def test_sound_alone_has_no_picture(tmp_path):
    with pytest.raises(FeatureError, match=r"sound\.mp4'?: no picture in it"):
        probe(write_sound(tmp_path / "sound.mp4"))


def test_a_file_without_its_end_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "whole.avi"
    write_video(path, rng.integers(20, 230, 80), codec="ffv1")
    cut = tmp_path / "cut.avi"
    data = path.read_bytes()
    cut.write_bytes(data[: len(data) // 3])
    with pytest.raises(FeatureError, match=r"cut\.avi'?: (its picture ends|cannot be read)"):
        list(frames_at_rate(cut, 8.0, 8, 8))


def test_corrupt_frames_are_left_out_and_counted(tmp_path):
    path = write_damaged(tmp_path / "hurt.avi", squares(range(24)), damaged=[5, 6, 13])
    log = DecodeLog()
    times = [time for time, _ in iter_frames(path, log=log)]
    assert (log.num_frames, log.num_corrupt) == (21, 3)
    assert times == pytest.approx([i / 8 for i in range(24) if i not in (5, 6, 13)])
    log = DecodeLog()
    images = list(frames_at_rate(path, 8.0, 64, 64, log))
    assert len(images) == 24 and log.num_corrupt == 3
    np.testing.assert_array_equal(images[5], images[4])  # 4 and 7 are the nearest sound ones
    np.testing.assert_array_equal(images[6], images[7])


def test_more_corrupt_than_sound(tmp_path):
    path = write_damaged(tmp_path / "hurt.avi", squares(range(12)), damaged=range(1, 11))
    with pytest.raises(FeatureError, match=r"hurt\.avi': 10 of its frames are corrupt, only 2"):
        list(iter_frames(path))


def test_no_sound_frame_at_all(tmp_path):
    path = write_damaged(tmp_path / "hurt.avi", squares(range(4)), damaged=range(4))
    with pytest.raises(FeatureError, match=r"hurt\.avi': no frame can be decoded"):
        probe(path)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_zero_frames(tmp_path, suffix):
    path = tmp_path / f"none.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv444p"
        container.start_encoding()
    with pytest.raises(
        FeatureError, match=r"none\.m..'?: (no frame can|no picture in it|cannot be)"
    ):
        probe(path)


def test_a_folder_is_no_video(tmp_path):
    with pytest.raises(FeatureError, match="a folder; give a video file"):
        probe(tmp_path)


def test_without_pyav_the_command_to_install_it_is_printed(ramp, monkeypatch):
    whole = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "av":
            raise ImportError(name)
        return whole(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(FeatureError, match=r"pip install 'bpnet-nlvl\[video\]'"):
        probe(ramp)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED_VIDEOS.is_dir(), reason="development data missing")
def test_real_files():
    files = [p for p in sorted(SHARED_VIDEOS.iterdir()) if p.suffix in (".mp4", ".avi")]
    assert files
    for file in files:
        info = probe(file)
        assert info.duration_seconds > 1 and 1 < info.fps < 121
        times = [time for time, _ in itertools.islice(iter_frames(file, 32, 32), 20)]
        assert times[0] == 0 and np.all(np.diff(times) >= 0)
        (thumbnail,) = frames_at(file, [0.5], width=80)
        assert thumbnail.shape[1] == 80
        assert thumbnail.shape[0] == pytest.approx(80 * info.height / info.width, abs=1)
