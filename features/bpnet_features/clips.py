"""A piece of a video file -> a file of its own that any player plays, through PyAV."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from bpnet_features.atomic import write_atomically
from bpnet_features.errors import FeatureError
from bpnet_features.video import load_av

TICKS = Fraction(1, 90_000)  # of the times of pictures: fine enough for any frame rate
# A picture that stands for long at the end is shown again so long before it: of the last picture of
# a file, players show no more.
LAST = Fraction(1, 4)
SOUND_BEHIND = 0.5  # seconds that sound may be stored behind the pictures of its time


def cut_clip(
    video: str | os.PathLike[str],
    start_seconds: float,
    end_seconds: float,
    clip: str | os.PathLike[str],
) -> None:
    """Write a piece of a video, with its sound, as H.264 and AAC in MP4.

    It is encoded again, not copied: copies can only begin at the key frames of a file, which may
    lie many seconds apart.

    Args:
        video: The file.
        start_seconds: Beginning, seconds since its first frame.
        end_seconds: End, > start_seconds; what lies behind the end of the video is left out.
        clip: The file to write, ``.mp4``; it appears when it is whole.

    Raises:
        FeatureError: The times are no interval, the file cannot be read, or has no picture there.
    """
    av = load_av()
    if not 0 <= start_seconds < end_seconds < math.inf:
        raise FeatureError(
            f"clip from {start_seconds} to {end_seconds} s: expected 0 <= start < end"
        )
    source = Path(video)
    if not source.is_file():
        raise FeatureError(f"video {str(source)!r}: no such file; check the path")
    try:
        write_atomically(Path(clip), lambda part: _cut(source, part, start_seconds, end_seconds))
    except av.FFmpegError as err:
        raise FeatureError(
            f"video {str(source)!r}: cannot be cut ({err.strerror}); re-encode it with ffmpeg"
        ) from err


def _cut(source: Path, clip: Path, start_seconds: float, end_seconds: float) -> None:
    av = load_av()
    with av.open(str(source)) as container, av.open(str(clip), "w", format="mp4") as out:
        if not container.streams.video:
            raise FeatureError(f"video {str(source)!r}: no picture in it")
        if not _Cut(container, out, start_seconds, end_seconds).write():
            raise FeatureError(
                f"video {str(source)!r}: no picture between {start_seconds:.2f} and "
                f"{end_seconds:.2f} s"
            )


class _Cut:
    """What is read, what is written, and the interval.

    Args:
        container: The file that is read.
        out: The one that is written.
        start: Beginning in seconds.
        end: End in seconds.
    """

    def __init__(self, container: Any, out: Any, start: float, end: float) -> None:
        self.container, self.out = container, out
        self.start, self.end = start, end
        self.video = container.streams.video[0]
        self.audio = container.streams.audio[0] if container.streams.audio else None
        origin = self.video.start_time
        self.origin = float(origin * self.video.time_base) if origin is not None else 0.0
        self.picture: Any = None
        self.sound: Any = None
        if self.audio is not None:
            self.sound = out.add_stream("aac", rate=self.audio.rate)
            self.sound.layout = "stereo" if self.audio.channels > 1 else "mono"
        # The file begins when all its streams are there, and sound may come before a picture does.
        self.early_sound: list[Any] = []
        self.rate = self.video.average_rate or self.video.guessed_rate or Fraction(25)
        self.shown: Any = None  # the picture that is seen from `shown_at` on
        self.shown_at = 0.0
        self.num_frames = 0

    def write(self) -> int:
        """Cut; gives the number of pictures."""
        # To the key frame before the start; files without an index are read from the beginning.
        target = int((self.origin + self.start) / self.video.time_base)
        self.container.seek(max(0, target), stream=self.video, backward=True)
        streams = [one for one in (self.video, self.audio) if one is not None]
        for frame in self._sound_frames(streams):
            seconds = frame.time - self.origin
            if hasattr(frame, "pict_type"):
                self._turn_to(frame, seconds)
                if seconds >= self.end + SOUND_BEHIND:
                    break
            elif self.start <= seconds < self.end:
                self._add_sound(frame, seconds - self.start)
        self._turn_to(None, self.shown_at + float(1 / self.rate))
        if self.picture is not None:
            self.out.mux(self.picture.encode(None))
            if self.sound is not None:
                self.out.mux(self.sound.encode(None))
        return self.num_frames

    def _sound_frames(self, streams: list[Any]) -> Iterator[Any]:
        """Decoded pictures and sound; what is corrupt is left out, as when features are made."""
        for packet in self.container.demux(*streams):
            with contextlib.suppress(load_av().FFmpegError):
                for frame in packet.decode():
                    if not frame.is_corrupt and frame.time is not None:
                        yield frame

    def _turn_to(self, frame: Any, seconds: float) -> None:
        """Another picture is seen from here on: the one until now is added if it is part of it."""
        if self.shown is not None and self.start < seconds and self.shown_at < self.end:
            begun = max(self.shown_at, self.start)
            self._add_picture(self.shown, begun - self.start)
            last = self.end - LAST
            if seconds >= self.end and last > begun:
                self._add_picture(self.shown, last - self.start)
        self.shown, self.shown_at = frame, seconds

    def _add_picture(self, frame: Any, seconds: float) -> None:
        turns = round(frame.rotation / 90) % 4
        width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
        size = (width // 2 * 2, height // 2 * 2)  # players want even sizes and half the colours
        if self.picture is None:
            # The rate decides how long the last picture is shown, and nothing else.
            rate = max(self.rate, 1 / LAST)
            self.picture = self.out.add_stream("libx264", rate=rate)
            self.picture.width, self.picture.height = size
            self.picture.pix_fmt = "yuv420p"
            self.picture.codec_context.time_base = TICKS
            self.out.mux(self.early_sound)
        if turns:
            av = load_av()
            image = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        shown = frame.reformat(*size, format="yuv420p")
        shown.pts, shown.time_base = round(seconds / TICKS), TICKS
        shown.pict_type = 0  # the encoder chooses its own key frames
        self.out.mux(self.picture.encode(shown))
        self.num_frames += 1

    def _add_sound(self, frame: Any, seconds: float) -> None:
        frame.pts = round(seconds * frame.sample_rate)
        frame.time_base = Fraction(1, frame.sample_rate)
        packets = self.sound.encode(frame)
        if self.picture is None:
            self.early_sound += packets
        else:
            self.out.mux(packets)
