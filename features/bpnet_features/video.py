"""A video file -> frames with their times, through PyAV."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bpnet_features.errors import FeatureError

Image = npt.NDArray[np.uint8]

# What counts as a video in a folder; a file that is named itself is always taken for one.
VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .ts .webm .wmv".split()
)

# A file whose picture ends this much before its header says has lost its end.
MISSING_SECONDS = 2.0
MISSING_FRACTION = 0.1


@dataclasses.dataclass
class DecodeLog:
    """How decoding went; whoever decodes a file counts into it.

    Attributes:
        num_frames: Frames that were decoded.
        num_corrupt: Packets and frames that could not be, and were left out.
    """

    num_frames: int = 0
    num_corrupt: int = 0


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a video file says about itself.

    Attributes:
        path: The file.
        duration_seconds: Length of its first video stream, > 0; corrected where frames lie beyond
            the length that the file states.
        fps: Mean number of frames a second.
        width: Pixels across, as shown (after rotation).
        height: Pixels down, as shown.
        num_frames: Number of frames, where the file says it.
    """

    path: Path
    duration_seconds: float
    fps: float
    width: int
    height: int
    num_frames: int | None


def load_av() -> Any:
    """PyAV, which is an optional extra.

    Returns:
        The module ``av``.

    Raises:
        FeatureError: It is not installed.
    """
    try:
        import av
    except ImportError as err:
        raise FeatureError(
            "video files need PyAV, which is not installed; run: pip install 'bpnet-nlvl[video]'"
        ) from err
    return av


def video_files(folder: Path) -> list[Path]:
    """The video files in a folder, by their suffix, sorted; folders below it are not searched."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in VIDEO_SUFFIXES and file.is_file()
    )


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Length, rate and size of a video, from its header and the times of its packets.

    Args:
        path: The file.

    Returns:
        Its facts. Where neither header nor packets say how long it is, it is decoded to find out.

    Raises:
        FeatureError: No such file, not a video, no video stream, or no frame that can be decoded.
    """
    path = Path(path)
    with _opened(path) as (container, stream):
        frame = next(_sound_frames(container, stream, DecodeLog()), None)
        if frame is None:
            raise FeatureError(_no_frames(path))
        width, height = frame.width, frame.height
        if _quarter_turns(frame) % 2:
            width, height = height, width
        rate = stream.average_rate or stream.guessed_rate
        fps = float(rate) if rate else 0.0
        duration = _header_seconds(container, stream)
        num_frames = int(stream.frames) or None
    last_end = _last_packet_end(path)
    # With a variable frame rate some writers state too little; half a frame is only rounding.
    if last_end is not None and (duration is None or last_end > duration + 0.5 / max(fps, 1)):
        duration = last_end
    if duration is None or fps <= 0:
        duration_read, fps_read = _read_timing(path, fps)
        duration, fps = duration or duration_read, fps if fps > 0 else fps_read
    return VideoInfo(path, duration, fps, width, height, num_frames)


def stated_seconds(path: str | os.PathLike[str]) -> float:
    """The length that a file's header states, for a progress bar; 0 where there is none."""
    try:
        with _opened(Path(path)) as (container, stream):
            return _header_seconds(container, stream) or 0.0
    except FeatureError:
        return 0.0


def iter_frames(
    path: str | os.PathLike[str],
    width: int | None = None,
    height: int | None = None,
    log: DecodeLog | None = None,
) -> Iterator[tuple[float, Image]]:
    """All sound frames of the first video stream, in order of presentation.

    Args:
        path: The file.
        width: Scale to this width; None: as it is.
        height: Scale to this height; None: as it is.
        log: Counts frames, and those that are corrupt and left out.

    Yields:
        Seconds since the first frame, and the frame as RGB (H, W, 3) uint8.

    Raises:
        FeatureError: As `probe`, the container is damaged further on, or more is corrupt than not.
    """
    to_image = _Scaler(width, height)
    for seconds, _, frame in _decode(Path(path), log):
        yield seconds, to_image(frame)


def frames_at_rate(
    video: VideoInfo | str | os.PathLike[str],
    fps: float,
    width: int,
    height: int,
    log: DecodeLog | None = None,
    interpolation: str | None = None,
) -> Iterator[Image]:
    """Frames at the regular times ``k / fps``: for each the frame that lies nearest in time.

    Only frames that are used are scaled and converted, which is most of the cost. In the place of
    a corrupt frame stands the nearest sound one.

    Args:
        video: The file, or what `probe` said of it.
        fps: Frames a second to give, whatever the rate of the file.
        width: Scale to this width.
        height: Scale to this height.
        log: Counts frames, and those that are corrupt and left out.
        interpolation: ``"bilinear"``, ``"bicubic"`` or ``"area"`` of libswscale, all of which
            average when they shrink; None: area to shrink, bilinear to enlarge.

    Yields:
        RGB (H, W, 3) uint8; at least one, and as many as fit into the video's duration.

    Raises:
        FeatureError: As `iter_frames`, or the picture ends long before the stated duration.
    """
    info = video if isinstance(video, VideoInfo) else probe(video)
    count = max(1, round(info.duration_seconds * fps))
    to_image = _Scaler(width, height, interpolation)
    given = 0
    held: Any = None
    held_seconds = end = 0.0
    for seconds, length, frame in _decode(info.path, log):
        if held is not None:
            middle = (held_seconds + seconds) / 2
            image = None
            while given < count and given / fps <= middle:
                image = to_image(held) if image is None else image
                yield image
                given += 1
        held, held_seconds, end = frame, seconds, seconds + length
    missing = info.duration_seconds - end
    if missing > max(MISSING_SECONDS, MISSING_FRACTION * info.duration_seconds):
        raise FeatureError(
            f"video {str(info.path)!r}: its picture ends at {end:.1f} s, but it claims to last "
            f"{info.duration_seconds:.1f} s: the file is cut off; get it again or re-encode it"
        )
    if given < count:
        image = to_image(held)
        for _ in range(count - given):
            yield image


def frames_at(
    path: str | os.PathLike[str], times_seconds: Sequence[float], width: int
) -> list[Image]:
    """The frames nearest to given times, found in one pass.

    Args:
        path: The file.
        times_seconds: Times in any order; what lies outside gives the first or the last frame.
        width: Width to scale to; the height keeps the aspect ratio.

    Returns:
        One RGB (H, width, 3) uint8 image a time, in the order of ``times_seconds``.

    Raises:
        FeatureError: As `iter_frames`.
    """
    info = probe(path)
    height = max(1, round(width * info.height / info.width))
    to_image = _Scaler(width, height)
    order = sorted(range(len(times_seconds)), key=lambda i: times_seconds[i])
    images: dict[int, Image] = {}
    held: Any = None
    held_seconds = 0.0
    for seconds, _, frame in _decode(info.path):
        if len(images) == len(order):
            break
        if held is not None:
            middle = (held_seconds + seconds) / 2
            image = None
            while len(images) < len(order) and times_seconds[order[len(images)]] <= middle:
                image = to_image(held) if image is None else image
                images[order[len(images)]] = image
        held, held_seconds = frame, seconds
    for i in order[len(images) :]:
        images[i] = to_image(held)
    return [images[i] for i in range(len(order))]


class _Scaler:
    """Decoded frames -> upright RGB arrays; keeps libswscale's tables from frame to frame.

    Args:
        width: Width of the result, or None.
        height: Height of the result, or None.
        interpolation: See `frames_at_rate`.
    """

    def __init__(
        self, width: int | None, height: int | None, interpolation: str | None = None
    ) -> None:
        for name, value in (("width", width), ("height", height)):
            if value is not None and value < 1:
                raise FeatureError(f"{name}={value}: expected an integer >= 1")
        self._size = (width, height)
        self._interpolation = None if interpolation is None else interpolation.upper()
        self._reformatter = load_av().video.reformatter.VideoReformatter()

    def __call__(self, frame: Any) -> Image:
        turns = _quarter_turns(frame)
        width, height = self._size if turns % 2 == 0 else self._size[::-1]
        # Area averages when shrinking; bilinear is libswscale's sensible choice for enlarging.
        shrinks = (width or frame.width) <= frame.width and (height or frame.height) <= frame.height
        try:
            scaled = self._reformatter.reformat(
                frame,
                width=width or frame.width,
                height=height or frame.height,
                format="rgb24",
                interpolation=self._interpolation or ("AREA" if shrinks else "BILINEAR"),
            )
            image: Image = scaled.to_ndarray()
        except (load_av().FFmpegError, ValueError) as err:
            raise FeatureError(
                f"a frame of {frame.width} x {frame.height} pixels ({frame.format.name}) cannot be "
                f"scaled to {width} x {height}: {err}; re-encode the video with ffmpeg"
            ) from err
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream; whatever FFmpeg refuses becomes a FeatureError."""
    av = load_av()
    if path.is_dir():
        raise FeatureError(f"video {str(path)!r}: a folder; give a video file")
    if not path.is_file():
        raise FeatureError(f"video {str(path)!r}: no such file; check the path")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise FeatureError(
                    f"video {str(path)!r}: no picture in it ({len(container.streams)} other "
                    "streams, such as sound); give a file with a video stream"
                )
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except av.FFmpegError as err:
        raise FeatureError(
            f"video {str(path)!r}: cannot be read ({err.strerror}): not a video file, or damaged; "
            "get it again or re-encode it with ffmpeg"
        ) from err


def _decode(path: Path, log: DecodeLog | None = None) -> Iterator[tuple[float, float, Any]]:
    """Sound frames of the first video stream with their time and length in seconds."""
    first: float | None = None
    last = -1.0
    log = DecodeLog() if log is None else log
    with _opened(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate
        step = 1 / float(rate) if rate else 0.04
        for frame in _sound_frames(container, stream, log):
            # Some old containers store no times; then the stated rate is all there is.
            seconds = last + step if frame.time is None else float(frame.time)
            if first is None:
                first = 0.0 if frame.time is None else seconds
                seconds = first
            if frame.time is not None:
                seconds -= first
            seconds = max(seconds, last, 0.0)
            ticks = getattr(frame, "duration", None)
            yield seconds, float(ticks * frame.time_base) if ticks else step, frame
            last = seconds
    if first is None:
        raise FeatureError(_no_frames(path))
    if log.num_corrupt > log.num_frames:
        raise FeatureError(
            f"video {str(path)!r}: {log.num_corrupt} of its frames are corrupt, only "
            f"{log.num_frames} are not; get it again or re-encode it with ffmpeg"
        )


def _sound_frames(container: Any, stream: Any, log: DecodeLog) -> Iterator[Any]:
    """Decoded frames in order of presentation, without those that are corrupt."""
    av = load_av()
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            log.num_corrupt += 1
            continue
        for frame in frames:
            if frame.is_corrupt:
                log.num_corrupt += 1
            else:
                log.num_frames += 1
                yield frame


def _header_seconds(container: Any, stream: Any) -> float | None:
    """The stated duration of the stream, or of the file, where there is one."""
    if stream.duration and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    if container.duration and container.duration > 0:
        return float(container.duration) / 1e6
    return None


def _last_packet_end(path: Path) -> float | None:
    """When the last packet's frame ends, in seconds since the stream's start; None: no times."""
    with _opened(path) as (container, stream):
        ends = [
            packet.pts + (packet.duration or 0)
            for packet in container.demux(stream)
            if packet.pts is not None
        ]
        if not ends:
            return None
        seconds = float((max(ends) - (stream.start_time or 0)) * stream.time_base)
    return seconds if seconds > 0 else None


def _read_timing(path: Path, fps: float) -> tuple[float, float]:
    """Duration and rate from the frames, of a file that has no other sign of them."""
    num_frames, end = 0, 0.0
    for seconds, length, _ in _decode(path):
        num_frames, end = num_frames + 1, seconds + (1 / fps if fps > 0 else length)
    return end, num_frames / end


def _quarter_turns(frame: Any) -> int:
    """How often the frame must be turned by 90 degrees, counterclockwise, to stand upright."""
    turns: int = round(frame.rotation / 90) % 4
    return turns


def _no_frames(path: Path) -> str:
    return f"video {str(path)!r}: no frame can be decoded; get it again or re-encode it with ffmpeg"
