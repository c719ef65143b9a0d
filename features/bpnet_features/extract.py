"""One video file -> its clip features, through any backbone."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from bpnet_features.backbones.backbone import Backbone
from bpnet_features.video import DecodeLog, VideoInfo, frames_at_rate, probe

Image = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Extracted:
    """Features of one video.

    Attributes:
        clips: Features (T, C) float32, T >= 1. The last clip may be cut short by the end of the
            video; it is filled with the last frame.
        duration_seconds: Length of the video.
        num_corrupt: Frames that could not be decoded; the nearest ones stand in their places.
    """

    clips: npt.NDArray[np.float32]
    duration_seconds: float
    num_corrupt: int


def extract_video(
    path: str | os.PathLike[str],
    backbone: Backbone,
    progress: Callable[[float, float], object] | None = None,
) -> Extracted:
    """Clip features of one video file; memory does not grow with its pictures.

    Args:
        path: The file.
        backbone: What extracts; see `bpnet_features.backbones.choose`.
        progress: Told how many seconds of the video are done, and of how many, again and again;
            at first none. What it raises ends the work.

    Returns:
        The features.

    Raises:
        FeatureError: The file cannot be read (see `video.probe`).
    """
    info = probe(path)
    log = DecodeLog()
    fps = backbone.spec.fps
    assert fps is not None
    blocks: list[npt.NDArray[np.float32]] = []
    num_frames = 0
    if progress is not None:
        progress(0.0, info.duration_seconds)

    def frames() -> Iterator[Image]:
        nonlocal num_frames
        for image in pictures(info, backbone, log):
            num_frames += 1
            yield image

    for block in backbone.clips(frames()):
        blocks.append(block)
        if progress is not None:
            progress(min(num_frames / fps, info.duration_seconds), info.duration_seconds)
    return Extracted(np.concatenate(blocks), info.duration_seconds, log.num_corrupt)


def pictures(info: VideoInfo, backbone: Backbone, log: DecodeLog | None = None) -> Iterator[Image]:
    """What a backbone sees of a video.

    Args:
        info: The video.
        backbone: Says how often, how large, and which part.
        log: Counts frames, and those that are corrupt and left out.

    Yields:
        RGB (H, W, 3) uint8.
    """
    picture = backbone.picture
    fps = backbone.spec.fps
    assert fps is not None
    width, height = picture.scaled(info.width, info.height)
    for image in frames_at_rate(info, fps, width, height, log, picture.interpolation):
        yield picture.cut(image)
