"""``{video: {timestamps, sentences, ...}}``: ActivityNet Captions, TACoS, and the CD splits.

The files differ in what they call the length of a video, and in whether times are seconds or
frames. What was checked of TACoS, on all 127 videos:

- 2D-TAN's files say ``fps`` (29.4 for every video) and ``num_frames``.
- SCDM's files, TALL's lists as json, say neither. Their ``duration`` equals 2D-TAN's ``num_frames``
  for every video, so it counts frames, as do their times, at the same 29.4 frames a second.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from bpnet.data.annotation_text import (
    Faults,
    interval,
    list_of,
    load_object,
    number,
    raise_faults,
    shown,
)
from bpnet.data.repair import RawQuery

TACOS_FPS = 29.4


@dataclasses.dataclass(frozen=True)
class VideoForm:
    """How the entry of a video says its length and counts its times.

    Attributes:
        length: Field with the length of the video, in the unit of the times.
        fps: Times are in frames: so many a second, or the field that says how many; None: in
            seconds.
    """

    length: str = "duration"
    fps: float | str | None = None


ACTIVITYNET = VideoForm()
CHARADES_CD = VideoForm(length="video_duration")
TACOS_2DTAN = VideoForm(length="num_frames", fps="fps")
TACOS_TALL = VideoForm(fps=TACOS_FPS)


def read_video_json(file: Path, form: VideoForm) -> list[RawQuery]:
    """Read a file of this form.

    Args:
        file: The file.
        form: How it says lengths and times.

    Returns:
        The queries in file order, in seconds. Ids are the file's ``qids`` where it has them, or the
        video's id and the number of the sentence. A TACoS id loses its ``.avi``, which only some
        files write.

    Raises:
        AnnotationError: The file is damaged, or is of another dataset of this form.
    """
    queries, faults = [], Faults()
    for video_id, entry in load_object(file, "one entry a video").items():
        try:
            queries.extend(_queries_of(video_id, entry, form))
        except ValueError as err:
            faults.append(f"video {shown(video_id)}: {err}")
    raise_faults(file, faults)
    return queries


def read_lengths(file: Path) -> dict[str, float]:
    """The lengths of TACoS videos, from either of its json forms.

    Args:
        file: SCDM's file, or 2D-TAN's.

    Returns:
        Seconds by video, without ``.avi``.

    Raises:
        AnnotationError: The file is damaged.
    """
    lengths, faults = {}, Faults()
    for video_id, entry in load_object(file, "one entry a video").items():
        form = TACOS_2DTAN if isinstance(entry, dict) and "num_frames" in entry else TACOS_TALL
        try:
            if not isinstance(entry, dict):
                raise ValueError(f"{shown(entry)}: expected an object with 'duration'")
            lengths[video_id.removesuffix(".avi")] = _duration(entry, form, _unit(entry, form))
        except ValueError as err:
            faults.append(f"video {shown(video_id)}: {err}")
    raise_faults(file, faults)
    return lengths


def _queries_of(video_id: str, entry: Any, form: VideoForm) -> list[RawQuery]:
    if not isinstance(entry, dict):
        raise ValueError(f"{shown(entry)}: expected an object with 'timestamps' and 'sentences'")
    _check_processing(entry, form)
    moments, sentences = (list_of(entry, name) for name in ("timestamps", "sentences"))
    if len(moments) != len(sentences):
        raise ValueError(f"{len(moments)} timestamps and {len(sentences)} sentences: must be equal")
    unit = _unit(entry, form)
    duration = _duration(entry, form, unit)
    video_id = video_id.removesuffix(".avi")
    if "qids" in entry:
        qids = [_qid(qid) for qid in list_of(entry, "qids")]
        if len(qids) != len(sentences):
            raise ValueError(f"{len(qids)} qids and {len(sentences)} sentences: must be equal")
    else:
        qids = [f"{video_id}_{index}" for index in range(len(sentences))]
    queries = []
    for qid, value, sentence in zip(qids, moments, sentences, strict=True):
        if not isinstance(sentence, str):
            raise ValueError(
                f"{shown(value)}, {shown(sentence)}: expected [start, end], a sentence"
            )
        start, end = interval(value, "timestamps")
        if form.fps is not None and not (_is_whole(start) and _is_whole(end)):
            raise ValueError(
                f"timestamps={shown(value)}: expected whole frames; are these seconds?"
            )
        queries.append(RawQuery(qid, video_id, sentence, ((start / unit, end / unit),), duration))
    return queries


def _check_processing(entry: dict[str, Any], form: VideoForm) -> None:
    """The two TACoS releases share a file name, and one read as the other gives wrong times."""
    if form == TACOS_TALL and ("fps" in entry or "num_frames" in entry):
        raise ValueError("'fps' or 'num_frames' given: 2D-TAN's files are dataset tacos_2dtan")
    if form == TACOS_2DTAN and "fps" not in entry and "duration" in entry:
        raise ValueError("'duration' given and no 'fps': TALL's files are dataset tacos_tall")


def _unit(entry: dict[str, Any], form: VideoForm) -> float:
    """How many of the times' unit are a second."""
    if form.fps is None:
        return 1.0
    if isinstance(form.fps, float):
        return form.fps
    fps = number(entry, form.fps)
    if not 0 < fps < math.inf:
        raise ValueError(f"{form.fps}={fps}: expected a number > 0")
    return fps


def _duration(entry: dict[str, Any], form: VideoForm, unit: float) -> float:
    # A missing duration is reported with all others of its kind.
    return math.nan if entry.get(form.length) is None else number(entry, form.length) / unit


def _qid(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"qids: {shown(value)}: expected a string or an integer")
    return str(value)


def _is_whole(time: float) -> bool:
    # NaN and infinities are dirt of another kind, see `repair`.
    return not math.isfinite(time) or time == int(time)
