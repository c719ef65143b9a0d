"""Many videos to one store: order, processes, what is broken, what is taken up again."""

from __future__ import annotations

import fcntl
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from made_videos import squares, turn, write_damaged, write_sound, write_video

from bpnet_features import FeatureError, FeatureStore, extract_many, workers
from bpnet_features.backbones.backbone import Extraction
from bpnet_features.backbones.grid import GRID_SPEC, GridBackbone
from bpnet_features.extract import extract_video
from bpnet_features.extract_many import extract_videos


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """Two seconds: a red square goes right."""
    return write_video(tmp_path / "slide.mp4", squares([4 + 2 * i for i in range(16)]))


@pytest.fixture
def still(tmp_path: Path) -> Path:
    return write_video(tmp_path / "a_still.mp4", squares([20] * 9))


def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are really extracted from now on."""
    names: list[str] = []

    def extract(path, *rest):
        names.append(Path(path).name)
        return extract_video(path, *rest)

    monkeypatch.setattr(extract_many, "extract_video", extract)
    return names


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_files_become_a_store_in_the_order_given(tmp_path, slide, still, monkeypatch):
    extract_videos([slide, str(still)], tmp_path / "one.h5")
    monkeypatch.setattr(workers, "ALONE_SECONDS", 0.0)  # processes from the second video on
    extract_videos([slide, still], tmp_path / "two.h5", jobs=2)
    for name in ("one.h5", "two.h5"):
        with FeatureStore(tmp_path / name) as store:
            assert store.spec == GRID_SPEC
            for path in (slide, still):
                clips, grid = store.read(path.stem)
                found = extract_video(path, GridBackbone())
                np.testing.assert_array_equal(clips, found.clips)
                assert grid.duration_seconds == pytest.approx(found.duration_seconds)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    assert not left_over(tmp_path)


def test_half_the_size(tmp_path, slide):
    extract_videos([slide], tmp_path / "half.h5", dtype="float16")
    with FeatureStore(tmp_path / "half.h5") as store:
        assert store.entry("slide").dtype == "float16"
        whole = extract_video(slide, GridBackbone()).clips
        np.testing.assert_array_equal(store.read("slide")[0], whole.astype(np.float16))


def test_equal_names_are_refused(tmp_path, slide):
    other = tmp_path / "b" / "slide.mkv"
    with pytest.raises(FeatureError, match=r"slide\.mp4' and .*slide\.mkv' .* the id 'slide'"):
        extract_videos([slide, other], tmp_path / "out.h5")


def test_settings_out_of_range(tmp_path, slide):
    with pytest.raises(FeatureError, match="jobs=0: expected an integer >= 1"):
        extract_videos([slide], tmp_path / "out.h5", jobs=0)
    with pytest.raises(FeatureError, match=r"no videos to extract for .*out\.h5"):
        extract_videos([], tmp_path / "out.h5")
    with pytest.raises(FeatureError, match=r"nowhere'?: no such folder"):
        extract_videos([slide], tmp_path / "nowhere" / "out.h5")
    with pytest.raises(FeatureError, match="dtype"):
        extract_videos([slide], tmp_path / "out.h5", dtype="int8")
    with pytest.raises(FeatureError, match=r"cannot be written .*name too long"):
        extract_videos([slide], tmp_path / ("x" * 250 + ".h5"))
    assert not left_over(tmp_path)


def test_the_batch_goes_on_without_what_is_broken(tmp_path, slide, still, monkeypatch):
    monkeypatch.setattr(workers, "ALONE_SECONDS", 0.0)
    text = tmp_path / "text.mp4"
    text.write_text("not a video\n" * 100)
    hurt = write_damaged(tmp_path / "hurt.avi", squares(range(24)), damaged=[5, 6])
    videos = [text, slide, write_sound(tmp_path / "sound.mp4"), tmp_path / "gone.mp4", hurt, still]
    for jobs in (1, 2):
        summary = extract_videos(videos, tmp_path / "out.h5", jobs=jobs)
        assert (summary.num_written, summary.num_resumed) == (3, 0)
        assert summary.corrupt == {str(hurt): 2}
        lines = sorted(summary.failures)
        assert len(lines) == 3 and all("\n" not in line for line in lines)
        for line, part in zip(lines, ("gone.mp4", "sound.mp4", "text.mp4"), strict=True):
            assert part in line
        with FeatureStore(tmp_path / "out.h5") as store:
            assert store.video_ids() == ["a_still", "hurt", "slide"]


def test_where_nothing_can_be_extracted_nothing_is_replaced(tmp_path):
    out = tmp_path / "out.h5"
    out.write_text("what was there before")
    broken = [tmp_path / f"broken_{i}.mp4" for i in range(7)]
    for path in broken:
        path.write_text("no video\n" * 50)
    with pytest.raises(FeatureError, match="none of 7 videos can be extracted") as caught:
        extract_videos(broken, out)
    assert "broken_4.mp4" in str(caught.value) and "broken_5.mp4" not in str(caught.value)
    assert "and 2 more" in str(caught.value)
    assert out.read_text() == "what was there before"
    assert not left_over(tmp_path)


def test_an_interrupted_run_goes_on(tmp_path, slide, still, monkeypatch):
    plain = tmp_path / "plain.h5"
    extract_videos([slide, still], plain)
    out = tmp_path / "out.h5"

    def stop(path, *rest):
        if Path(path) == still:
            raise KeyboardInterrupt
        return extract_video(path, *rest)

    monkeypatch.setattr(extract_many, "extract_video", stop)
    with pytest.raises(KeyboardInterrupt):
        extract_videos([slide, still], out)
    assert not out.exists()
    names = watched(monkeypatch)
    summary = extract_videos([slide, still], out)
    assert names == ["a_still.mp4"]
    assert (summary.num_written, summary.num_resumed) == (2, 1)
    assert out.read_bytes() == plain.read_bytes()
    assert not left_over(tmp_path)


@pytest.mark.parametrize("change", ["file", "dtype", "damage"])
def test_what_has_changed_is_extracted_again(tmp_path, slide, still, monkeypatch, change):
    out = tmp_path / "out.h5"
    monkeypatch.setattr(
        extract_many, "_join", lambda *_: 1 / 0
    )  # all is done, but not put together
    with pytest.raises(ZeroDivisionError):
        extract_videos([slide, still], out)
    monkeypatch.undo()
    names = watched(monkeypatch)
    match change:
        case "file":
            os.utime(slide, ns=(1, 1))
        case "damage":
            folder = tmp_path / ".out.h5.extract"
            found = {FeatureStore(part).video_ids()[0]: part for part in folder.iterdir()}
            found["slide"].write_bytes(b"damaged")
    extract_videos([slide, still], out, dtype="float16" if change == "dtype" else "float32")
    assert names == (["slide.mp4", "a_still.mp4"] if change == "dtype" else ["slide.mp4"])


def test_two_runs_to_one_file(tmp_path, slide, monkeypatch):
    monkeypatch.setattr(extract_many, "LOCK_SECONDS", 0.0)
    (tmp_path / ".out.h5.extract").mkdir()
    descriptor = os.open(tmp_path / ".out.h5.extract", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(FeatureError, match="another process is extracting to it"):
        extract_videos([slide], tmp_path / "out.h5")
    assert (tmp_path / ".out.h5.extract").is_dir()
    os.close(descriptor)
    assert extract_videos([slide], tmp_path / "out.h5").num_written == 1


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "webm"])
def test_containers(tmp_path, suffix):
    codec = {"avi": "mpeg4", "webm": "libvpx"}.get(suffix, "libx264")
    path = tmp_path / f"v.{suffix}"
    write_video(path, squares(range(0, 32, 2)), codec=codec, pix="yuv420p")
    found = extract_video(path, GridBackbone())
    assert len(found.clips) == 4
    assert found.duration_seconds == pytest.approx(2.0, abs=0.02)


def odd_video(kind: str, folder: Path) -> Path:
    """A video that is unusual, and sound."""
    path = folder / f"{kind}.mp4"
    match kind:
        case "one frame":
            return write_video(path, squares([20]))
        case "turned":
            return turn(write_video(path, squares(range(16))), (0, 1, 0, -1, 0, 0))
        case "black":
            return write_video(path, np.zeros((80, 64, 64, 3), np.uint8))
        case "no length":  # as a live stream is recorded
            path = path.with_suffix(".mkv")
            return write_video(path, squares(range(16)), container={"live": "1"})
        case "not ASCII":
            return write_video(folder / "видео 视频 é🎈.mp4", squares(range(16)))
        case "long name":
            return write_video(folder / ("x" * 251 + ".mp4"), squares(range(16)))
        case "variable rate":
            with av.open(str(path), "w") as container:
                stream = container.add_stream("libx264", rate=30)
                stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv444p"
                stream.time_base = Fraction(1, 1000)
                stream.codec_context.time_base = Fraction(1, 1000)
                for image, time in zip(squares([0, 8, 16, 24]), (0, 40, 900, 1960), strict=True):
                    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                    frame.pts, frame.time_base = time, Fraction(1, 1000)
                    container.mux(stream.encode(frame))
                container.mux(stream.encode())
            return path
    raise AssertionError(kind)


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        ("one frame", 0.125),
        ("turned", 2.0),
        ("black", 10.0),
        ("no length", 2.0),
        ("not ASCII", 2.0),
        ("long name", 2.0),
        ("variable rate", 2.0),
    ],
)
def test_unusual_videos(tmp_path, kind, seconds):
    path = odd_video(kind, tmp_path)
    summary = extract_videos([path], tmp_path / "out.h5")
    assert not summary.failures
    with FeatureStore(tmp_path / "out.h5") as store:
        clips, grid = store.read(path.stem)
    assert grid.duration_seconds == pytest.approx(seconds, abs=0.05)
    assert len(clips) == max(1, round(2 * seconds))


def test_a_name_that_is_no_text(tmp_path):
    """Such a file opens, and cannot stand in a store: a line, and the others are done."""
    good = write_video(tmp_path / "good.mp4", squares(range(8)))
    path = good.rename(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.mp4"))
    good = write_video(tmp_path / "good.mp4", squares(range(8)))
    summary = extract_videos([path, good], tmp_path / "out.h5")
    assert summary.num_written == 1
    (line,) = summary.failures
    assert "rename it" in line or "cannot be read" in line


def test_extraction_settings_are_checked():
    for name in ("clip_length_frames", "clip_stride_frames", "batch_size"):
        with pytest.raises(FeatureError, match=f"{name}=0: expected an integer >= 1"):
            Extraction(**{name: 0})
    with pytest.raises(FeatureError, match=r"fps=0: expected a number from 0\.001"):
        Extraction(fps=0)
    with pytest.raises(FeatureError, match="normalisation='l1': expected 'none' or 'l2'"):
        Extraction(normalisation="l1")
