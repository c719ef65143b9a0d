"""A video that somebody chose -> checked, under a name of our own, in a form that browsers play."""

from __future__ import annotations

from pathlib import Path

from bpnet.app.limits import Limits
from bpnet.web.uploads import check_upload
from bpnet_features.clips import cut_clip
from bpnet_features.video import VideoInfo, load_av, probe

# What all current browsers play: FFmpeg's names of decoders, by its name of the container.
_PLAYED = {
    "mov,mp4,m4a,3gp,3g2,mj2": {"h264", "av1", "libdav1d"},
    "matroska,webm": {"vp8", "vp9", "av1", "libdav1d"},
}


def take_upload(upload: Path, folder: Path) -> Path:
    """Move an uploaded file to where its visit keeps it; its own name is not used.

    Args:
        upload: The file.
        folder: Folder of the visit.

    Returns:
        The file in its new place.
    """
    return upload.replace(folder / "video")


def check_video(video: Path, limits: Limits) -> VideoInfo:
    """Refuse what is too large, too long, or no video that holds its own pictures.

    Args:
        video: The file.
        limits: What is taken.

    Returns:
        What the video says of itself.

    Raises:
        FeatureError: The file cannot be read, or is larger or longer than the limits.
    """
    limits.check_bytes(video.stat().st_size)
    check_upload(video)
    info = probe(video)
    limits.check_seconds(info.duration_seconds)
    return info


def playable(info: VideoInfo, folder: Path) -> Path:
    """A file that a browser plays.

    Args:
        info: The video.
        folder: Where to put a copy, if one is needed.

    Returns:
        The video itself, or a copy in H.264.

    Raises:
        FeatureError: It cannot be read.
    """
    av = load_av()
    with av.open(str(info.path)) as container:
        stream = container.streams.video[0]
        played = _PLAYED.get(container.format.name, set())
        eight_bits = stream.codec_context.pix_fmt in ("yuv420p", "yuvj420p")
        if stream.codec_context.codec.name in played and eight_bits:
            return info.path
    copy = folder / "player.mp4"
    cut_clip(info.path, 0.0, info.duration_seconds + 1.0, copy)
    return copy
