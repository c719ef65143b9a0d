"""Real video files for tests: squares on grey, damaged files, sound alone, a picture turned."""

from __future__ import annotations

import struct
from collections.abc import Sequence
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
