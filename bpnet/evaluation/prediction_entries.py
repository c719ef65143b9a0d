"""One entry of a file of predictions -> `PredictedQuery`; `prediction_files` names the forms."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from bpnet.data.annotation_text import interval, list_of, number, shown
from bpnet.evaluation.answers import Answer

_VIDEO_NAMES = ("vid", "video_id", "video", "clip_uid")
_SENTENCE_NAMES = ("description", "sentence", "query", "words")
_SALIENCY_NAMES = {"bpnet": "saliency_scores", "moment-detr": "pred_saliency_scores"}
_Moments = tuple[list[tuple[float, float]], list[float] | None]


@dataclasses.dataclass(frozen=True, eq=False)
class PredictedQuery:
    """The answer to one query, with what says which query that is.

    Attributes:
        where: Its place in the file, for messages: ``"line 3"`` or ``"entry 3"``.
        answer: What was predicted.
        qid: Id of the query, where the file gives it.
        video_id: Id of the video, where the file gives it.
        query: The sentence, where the file gives it.
    """

    where: str
    answer: Answer
    qid: str | None
    video_id: str | None
    query: str | None


def read_entry(where: str, entry: Any, form: str) -> PredictedQuery:
    """Read an entry.

    Args:
        where: Its place in the file.
        entry: What stands there; of the form ``pairs`` a name with its value.
        form: The form of the file.

    Returns:
        The answer.

    Raises:
        ValueError: It is not what the form says.
    """
    if form == "pairs":
        entry = dict(zip(("qid", "pairs"), entry, strict=True))
    if not isinstance(entry, dict):
        raise ValueError(f"{shown(entry)}: expected an object")
    moments, scores = _READERS[form](entry)
    stage_one, stage_one_scores, saliency = None, None, None
    if form == "bpnet" and "stage_one" in entry:
        stage_one, stage_one_scores = _our_moments(entry, "stage_one")
    name = _SALIENCY_NAMES.get(form, "")
    if name in entry:
        saliency = [_finite({name: one}, name) for one in list_of(entry, name)]
        if not saliency:
            raise ValueError(f"{name}=[]: expected a score for each clip")
    return PredictedQuery(
        where,
        Answer(moments, scores, stage_one, stage_one_scores, saliency),
        qid=_qid(entry, form),
        video_id=_text(entry, _VIDEO_NAMES),
        query=_text(entry, _SENTENCE_NAMES),
    )


def _our_moments(entry: dict[str, Any], name: str = "moments") -> _Moments:
    moments, scores = [], []
    for one in list_of(entry, name):
        if not isinstance(one, dict):
            raise ValueError(f"{name}: {shown(one)}: expected an object")
        moments.append(_ordered(number(one, "start_seconds"), number(one, "end_seconds")))
        scores.append(_finite(one, "score"))
    return moments, scores


def _moment_detr_windows(entry: dict[str, Any]) -> _Moments:
    name = "pred_relevant_windows"
    moments, scores = [], []
    for one in list_of(entry, name):
        if not (isinstance(one, list) and len(one) == 3):
            raise ValueError(f"{name}: {shown(one)}: expected [start, end, score]")
        moments.append(_ordered(*interval(one[:2], name)))
        scores.append(_finite({"score": one[2]}, "score"))
    return moments, scores


def _tan_timestamps(entry: dict[str, Any]) -> _Moments:
    moments, _ = _intervals(entry, "timestamps")
    if "scores" not in entry:
        return moments, None
    scores = [_finite({"scores": one}, "scores") for one in list_of(entry, "scores")]
    if len(scores) != len(moments):
        raise ValueError(f"{len(moments)} timestamps and {len(scores)} scores: must be equal")
    return moments, scores


def _vslnet_times(entry: dict[str, Any]) -> _Moments:
    if "timestamp" in entry:
        return [_ordered(*interval(entry["timestamp"], "timestamp"))], None
    return [_ordered(number(entry, "start_time"), number(entry, "end_time"))], None


def _nlq_times(entry: dict[str, Any]) -> _Moments:
    return _intervals(entry, "predicted_times")


def _pairs(entry: dict[str, Any]) -> _Moments:
    value = entry["pairs"]
    if value and not isinstance(value[0], list):
        return [_ordered(*interval(value, "answer"))], None
    return _intervals(entry, "pairs")


_READERS: dict[str, Callable[[dict[str, Any]], _Moments]] = {
    "bpnet": _our_moments,
    "moment-detr": _moment_detr_windows,
    "2d-tan": _tan_timestamps,
    "vslnet": _vslnet_times,
    "nlq": _nlq_times,
    "pairs": _pairs,
}


def _intervals(entry: dict[str, Any], name: str) -> _Moments:
    return [_ordered(*interval(one, name)) for one in list_of(entry, name)], None


def _ordered(start: float, end: float) -> tuple[float, float]:
    if not (math.isfinite(start) and math.isfinite(end) and start <= end):
        raise ValueError(f"moment {start} to {end} s: expected finite seconds with start <= end")
    return start, end


def _finite(entry: dict[str, Any], name: str) -> float:
    value = number(entry, name)
    if not math.isfinite(value):
        raise ValueError(f"{name}={value}: expected a finite number")
    return value


def _qid(entry: dict[str, Any], form: str) -> str | None:
    if form == "nlq":
        parts = entry.get("annotation_uid"), entry.get("query_idx")
        if not (isinstance(parts[0], str) and type(parts[1]) is int):
            raise ValueError(
                f"annotation_uid={shown(parts[0])}, query_idx={shown(parts[1])}: expected a "
                "string and an integer"
            )
        return f"{parts[0]}_{parts[1]}"
    value = entry.get("qid")
    if type(value) is int:
        return str(value)
    if value is None and form not in ("bpnet", "moment-detr"):
        return None
    if not isinstance(value, str) or not value:
        raise ValueError(f"qid={shown(value)}: expected a string or an integer")
    return value


def _text(entry: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """The first of these names that the entry has, as text; a list of words is joined."""
    for name in names:
        if name in entry:
            value = entry[name]
            if isinstance(value, list) and all(isinstance(word, str) for word in value):
                value = " ".join(value)
            if not isinstance(value, str):
                raise ValueError(f"{name}={shown(value)}: expected a string")
            return value
    return None
