"""A stranger's video file: what is refused before any of it is decoded."""

from __future__ import annotations

from pathlib import Path

from bpnet.errors import FeatureError
from bpnet_features.video import load_av

# Files that hold their pictures themselves. FFmpeg also reads playlists, which name other files and
# addresses: an upload could make this machine open those.
CONTAINERS = "mov,matroska,avi,mpegts,mpeg,ogg,flv,asf,gif"
MAX_PIXELS = 8192 * 4320  # of a frame, which is decoded before it is made small


def check_upload(path: Path) -> None:
    """Refuse what must not even be decoded.

    Args:
        path: The file.

    Raises:
        FeatureError: It is no video file that holds its own pictures, or they are too large.
    """
    av = load_av()
    try:
        with av.open(str(path), options={"format_whitelist": CONTAINERS}) as container:
            sizes = [(one.width, one.height) for one in container.streams.video]
    except av.FFmpegError as err:
        raise FeatureError(
            f"video {str(path)!r}: cannot be read ({err.strerror}): not a video file, or damaged; "
            f"expected one of {CONTAINERS.replace(',', ', ')}"
        ) from err
    for width, height in sizes:
        if width * height > MAX_PIXELS:
            raise FeatureError(
                f"video {str(path)!r}: frames of {width} x {height} pixels: expected at most "
                f"{MAX_PIXELS} of them; make it smaller with ffmpeg"
            )
