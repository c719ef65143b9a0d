"""Video files -> where the player of a page finds them: beside the page, or inside it."""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

log = logging.getLogger(__name__)

MOST_EMBEDDED = 20_000_000  # bytes of a video; text of a page is a third longer


def video_addresses(
    page: Path, videos: Iterable[Path], embed: bool
) -> tuple[dict[Path, str], list[str]]:
    """Addresses for the player.

    Args:
        page: The HTML file that will be written.
        videos: The files.
        embed: Whether files of up to `MOST_EMBEDDED` bytes go into the page.

    Returns:
        For each file a path that leads from the page to it, or ``#ID`` of what is embedded; and
        the elements that hold that.
    """
    addresses: dict[Path, str] = {}
    elements: list[str] = []
    for video in dict.fromkeys(videos):
        if embed and embeddable(video):
            addresses[video] = f"#video-{len(elements)}"
            content = base64.b64encode(video.read_bytes()).decode("ascii")
            elements.append(
                f'<script type="text/plain" id="video-{len(elements)}" '
                f'data-type="{media_type(video)}">{content}</script>'
            )
            continue
        if embed:
            log.warning(
                "video %s has %.1f MB, more than the %.0f MB that a page holds: the page finds it "
                "where it lies now",
                *(video, video.stat().st_size / 1e6, MOST_EMBEDDED / 1e6),
            )
        try:
            # Of both as the file system knows them, for ".." behind a link leads elsewhere.
            way = os.path.relpath(video.resolve(), page.resolve().parent)
            addresses[video] = quote(Path(way).as_posix())
        except ValueError:  # on another drive of Windows
            addresses[video] = video.resolve().as_uri()
    return addresses, elements


def embeddable(video: Path) -> bool:
    """Whether a video is small enough to be put into a page."""
    return video.stat().st_size <= MOST_EMBEDDED


def media_type(video: Path) -> str:
    """What browsers call the container: WebM and Matroska, or MP4, which the others pass for."""
    with video.open("rb") as file:
        return "video/webm" if file.read(4) == b"\x1a\x45\xdf\xa3" else "video/mp4"
