"""Answers as pieces of their video: one file a moment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bpnet.types import Moment
from bpnet_features.clips import cut_clip

MAX_WORDS = 60  # characters of a sentence in the name of a file


def cut_moments(
    video: Path, queries: Sequence[str], answers: Sequence[Sequence[Moment]], folder: Path
) -> list[Path]:
    """Cut the found moments out of a video.

    Args:
        video: The file.
        queries: The sentences.
        answers: The moments of each, best first.
        folder: Where to put the files; it is made.

    Returns:
        A file for each moment, ``NUMBER-RANK-sentence.mp4``.

    Raises:
        FeatureError: The video cannot be read, or has no picture in a moment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digits = len(str(len(queries)))
    files = []
    for number, (query, moments) in enumerate(zip(queries, answers, strict=True), start=1):
        words = "-".join("".join(c if c.isalnum() else " " for c in query.lower()).split())
        for rank, one in enumerate(moments, start=1):
            file = folder / f"{number:0{digits}d}-{rank}-{words[:MAX_WORDS]}.mp4"
            cut_clip(video, one.start_seconds, one.end_seconds, file)
            files.append(file)
    return files
