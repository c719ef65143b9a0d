"""Pieces of videos as files of their own: the right pictures, sound, and nothing half written."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from made_videos import squares, write_damaged
from test_video import greys_of, write_sound, write_video

from bpnet_features import FeatureError
from bpnet_features.clips import cut_clip
from bpnet_features.video import iter_frames, probe


@pytest.fixture
def ramp(tmp_path: Path) -> Path:
    """Four seconds at 8 frames a second; frame i has the grey 30 + 6 i."""
    return write_video(tmp_path / "ramp.mp4", [30 + 6 * i for i in range(32)])


def test_the_pictures_of_the_interval(ramp: Path, tmp_path: Path) -> None:
    cut_clip(ramp, 1.0, 2.5, tmp_path / "clip.mp4")
    found = list(iter_frames(tmp_path / "clip.mp4"))
    assert [seconds for seconds, _ in found] == pytest.approx(np.arange(12) / 8, abs=1e-3)
    greys = greys_of([image for _, image in found])
    assert greys == pytest.approx([30 + 6 * i for i in range(8, 20)], abs=3)
    assert probe(tmp_path / "clip.mp4").duration_seconds == pytest.approx(1.5, abs=0.02)


def test_an_interval_to_behind_the_end(ramp: Path, tmp_path: Path) -> None:
    cut_clip(ramp, 3.5, 99.0, tmp_path / "clip.mp4")
    assert len(list(iter_frames(tmp_path / "clip.mp4"))) == 4


def test_irregular_times_stay(tmp_path: Path) -> None:
    times = [0, 100, 150, 700, 900, 1000, 1800]
    video = write_video(tmp_path / "a.mp4", [20 * i for i in range(7)], milliseconds=times)
    cut_clip(video, 0.2, 1.5, tmp_path / "clip.mp4")
    found = list(iter_frames(tmp_path / "clip.mp4"))
    # It begins with what is seen at 0.2 s, and the last picture is seen until the end.
    assert [seconds for seconds, _ in found][:4] == pytest.approx([0, 0.5, 0.7, 0.8], abs=2e-3)
    greys = greys_of([image for _, image in found])
    assert greys == pytest.approx([40, 60, 80, 100, 100], abs=4)
    assert probe(tmp_path / "clip.mp4").duration_seconds == pytest.approx(1.3, abs=0.1)


def test_a_piece_of_one_picture(tmp_path: Path) -> None:
    """Slides: a piece between two changes shows the slide, as long as the piece is."""
    times = [0, 5000, 10_000]
    video = write_video(tmp_path / "a.mp4", [40, 120, 200], milliseconds=times)
    cut_clip(video, 6.0, 9.0, tmp_path / "clip.mp4")
    found = list(iter_frames(tmp_path / "clip.mp4"))
    assert greys_of([image for _, image in found]) == pytest.approx([120, 120], abs=3)
    assert probe(tmp_path / "clip.mp4").duration_seconds == pytest.approx(3.0, abs=0.11)


def test_corrupt_frames_are_left_out(tmp_path: Path) -> None:
    video = write_damaged(tmp_path / "hurt.avi", squares(range(24)), damaged=[5, 6, 13])
    cut_clip(video, 0.0, 3.0, tmp_path / "clip.mp4")
    assert len(list(iter_frames(tmp_path / "clip.mp4"))) >= 21


def test_odd_sizes_become_even(tmp_path: Path) -> None:
    video = write_video(tmp_path / "odd.mp4", [50, 60, 70], width=47, height=33)
    cut_clip(video, 0.0, 1.0, tmp_path / "clip.mp4")
    info = probe(tmp_path / "clip.mp4")
    assert (info.width, info.height) == (46, 32)


def with_sound(path: Path, parts_a_picture: int = 1) -> Path:
    """Two seconds: pictures, one for so many tenths, and a tone that begins after one second."""
    with av.open(str(path), "w") as out:
        picture = out.add_stream("libx264", rate=Fraction(10, parts_a_picture))
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        sound = out.add_stream("aac", rate=16000, layout="mono")
        tone = np.sin(np.arange(32000) * 0.3, dtype=np.float32)
        tone[:16000] = 0
        for first in range(0, 32000, 1600):
            if first // 1600 % parts_a_picture == 0:
                image = np.full((32, 32, 3), 90, np.uint8)
                out.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            part = tone[None, first : first + 1600]
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, first, Fraction(1, 16000)
            out.mux(sound.encode(frame))
        out.mux(picture.encode(None))
        out.mux(sound.encode(None))
    return path


def loudness(path: Path) -> float:
    with av.open(str(path)) as file:
        return float(np.concatenate([f.to_ndarray()[0] for f in file.decode(audio=0)]).std())


def test_the_sound_comes_along(tmp_path: Path) -> None:
    video = with_sound(tmp_path / "a.mp4")
    cut_clip(video, 0.1, 0.8, tmp_path / "silent.mp4")
    cut_clip(video, 1.2, 1.9, tmp_path / "loud.mp4")
    assert loudness(tmp_path / "silent.mp4") < 0.01
    assert loudness(tmp_path / "loud.mp4") > 0.3
    with av.open(str(tmp_path / "loud.mp4")) as file:
        assert float(file.streams.audio[0].duration * file.streams.audio[0].time_base) < 0.9


def test_sound_before_the_first_picture(tmp_path: Path) -> None:
    """A picture a second, and a piece that begins between two: its sound begins at once."""
    video = with_sound(tmp_path / "a.mp4", parts_a_picture=10)
    cut_clip(video, 0.2, 1.9, tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as file:
        sounds = [(f.time, f.to_ndarray()) for f in file.decode(audio=0)]
    assert sounds[0][0] == pytest.approx(0.0, abs=0.07)
    assert sum(part.shape[1] for _, part in sounds) / 16000 == pytest.approx(1.7, abs=0.15)
    assert [seconds for seconds, _ in iter_frames(tmp_path / "clip.mp4")][:2] == [0.0, 0.8]
    assert loudness(tmp_path / "clip.mp4") > 0.2


@pytest.mark.parametrize(
    ("times", "match"),
    [
        ((2.0, 1.0), "expected 0 <= start < end"),
        ((-1.0, 1.0), "expected 0 <= start < end"),
        ((0.0, float("nan")), "expected 0 <= start < end"),
        ((50.0, 60.0), "no picture between 50.00 and 60.00 s"),
    ],
)
def test_impossible_intervals(
    ramp: Path, tmp_path: Path, times: tuple[float, float], match: str
) -> None:
    with pytest.raises(FeatureError, match=match):
        cut_clip(ramp, *times, tmp_path / "clip.mp4")
    assert [file.name for file in tmp_path.iterdir()] == ["ramp.mp4"]


def test_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    write_sound(tmp_path / "sound.m4a")
    for name, match in (
        ("gone.mp4", "no such file"),
        ("text.mp4", "cannot be cut"),
        ("sound.m4a", "no picture in it"),
    ):
        with pytest.raises(FeatureError, match=match):
            cut_clip(tmp_path / name, 0, 1, tmp_path / "clip.mp4")
        assert not (tmp_path / "clip.mp4").exists()
