"""Real video files for tests: squares on grey, damaged files, sound alone, a picture turned."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RED, GREEN = (220, 40, 40), (40, 190, 60)


def write_video(
    path: Path, frames, fps: int = 8, *, codec="libx264", pix="yuv444p", container=None
) -> Path:
    """Frames (F, H, W, 3) to a file, nearly without loss; with options for its container."""
    options = {"crf": "12", "preset": "ultrafast"} if codec == "libx264" else {}
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return path


def squares(xs: Sequence[int], ys=None, colour=RED, size=16, side=64) -> np.ndarray:
    """Frames with one square each, its upper left corner at (x, y)."""
    frames = np.full((len(xs), side, side, 3), 40, np.uint8)
    for frame, x, y in zip(frames, xs, [24] * len(xs) if ys is None else ys, strict=True):
        frame[y : y + size, x : x + size] = colour
    return frames


def write_sound(path: Path) -> Path:
    """A second of silence, and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        samples = np.zeros((1, 16000), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_damaged(path: Path, frames, damaged: Sequence[int]) -> Path:
    """An avi of single pictures (mjpeg), some of which are overwritten with noise."""
    write_video(path, frames, codec="mjpeg", pix="yuvj420p")
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
        places = [(packet.pos, packet.size) for packet in packets]
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for number in damaged:
        begin, size = places[number]
        content[begin + 40 : begin + size] = rng.bytes(size - 40)
    path.write_bytes(bytes(content))
    return path


def turn(path: Path, matrix: tuple[int, int, int, int, int, int]) -> Path:
    """State in an mp4 that its picture is to be shown turned.

    The rows of the matrix are (a, b, u), (c, d, v): x' = a x + c y, y' = b x + d y.
    """
    content = path.read_bytes()
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", *(value << 16 for value in matrix), 0, 0, 1 << 30)
    place = content.index(upright, content.index(b"tkhd"))
    path.write_bytes(content[:place] + turned + content[place + len(upright) :])
    return path


def write_no_videos(folder: Path) -> dict[str, str]:
    """Files that are no videos, though they are named so; each with a pattern of what is wrong."""
    (folder / "text.mp4").write_text("not a video\n" * 100)
    (folder / "nothing.mp4").write_bytes(b"")
    write_sound(folder / "sound.mp4")
    with av.open(str(folder / "no_frames.mkv"), "w") as file:
        stream = file.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        file.start_encoding()
    whole = write_video(folder / "half.mp4", squares(range(40))).read_bytes()
    (folder / "half.mp4").write_bytes(whole[: len(whole) // 2])
    return {
        "text.mp4": "cannot be read",
        "nothing.mp4": "cannot be read",
        "sound.mp4": "no picture in it",
        "no_frames.mkv": "no frame can|no picture in it|cannot be read",
        "half.mp4": "cannot be read",
    }


def write_odd_videos(folder: Path) -> dict[str, float]:
    """Videos that are odd, and videos all the same; each with its seconds."""
    moving = squares(range(40))
    write_video(folder / "one_frame.mp4", moving[:1])
    turn(write_video(folder / "turned.mp4", moving), (0, 1, 0, -1, 0, 0))
    times = [0, 20, 40, 1000, 1040, 3000, 3020, 5000]
    with av.open(str(folder / "irregular.mkv"), "w") as file:
        stream = file.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv444p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for image, milliseconds in zip(moving, times, strict=False):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = milliseconds, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    # A live recording: nobody went back to write its length into the header.
    live = {"codec": "libvpx", "pix": "yuv420p", "container": {"live": "1"}}
    write_video(folder / "live.webm", moving, **live)
    write_video(
        folder / "black.avi", np.zeros((80, 64, 64, 3), np.uint8), codec="mpeg4", pix="yuv420p"
    )
    write_damaged(folder / "hurt.avi", moving, damaged=[7, 20])
    write_video(folder / "видео 日本 é.mp4", moving)
    write_video(folder / f"{'n' * 251}.mp4", moving)
    seconds = {"one_frame.mp4": 0.125, "irregular.mkv": 5.0, "black.avi": 10.0}
    return {file.name: seconds.get(file.name, 5.0) for file in folder.iterdir()}
