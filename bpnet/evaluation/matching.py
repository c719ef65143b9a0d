"""Predicted queries -> the annotations that they answer; what is left over is counted."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence

from bpnet.errors import AnnotationError, ConfigError
from bpnet.evaluation.answers import Answer
from bpnet.evaluation.prediction_entries import PredictedQuery
from bpnet.evaluation.prediction_files import PredictionFile
from bpnet.types import Annotation


@dataclasses.dataclass(frozen=True, eq=False)
class Matched:
    """Answers beside their annotations.

    Attributes:
        answers: One for each annotation of ``annotations``.
        annotations: Those that have an answer, in their order.
        by: What they were matched by: ``"qid"``, ``"video and sentence"`` or ``"video"``.
        num_missing: Annotations without an answer, which are left out.
        num_unknown: Answers to other queries, which are left out.
    """

    answers: list[Answer]
    annotations: list[Annotation]
    by: str
    num_missing: int
    num_unknown: int


def match_predictions(
    file: PredictionFile, annotations: Sequence[Annotation], missing: str = "error"
) -> Matched:
    """Find the annotation of each answer.

    By qid, where every answer has one and at least one is known; otherwise by video and sentence,
    compared without case, spaces and punctuation, the same sentence about the same video in order;
    otherwise, where the qids are ids of videos, by video, if each has one query.

    Args:
        file: The answers.
        annotations: The part that is evaluated.
        missing: ``"error"``, or ``"drop"``: annotations without an answer, and answers to queries
            that the part does not have, are left out and counted.

    Returns:
        The answers and their annotations.

    Raises:
        AnnotationError: The answers cannot be matched, a query is answered twice, an answer's qid
            and video belong to different queries; or, for ``"error"``, an answer is missing or
            unknown. The first five cases are shown with their number.
        ConfigError: ``missing`` is something else.
    """
    if missing not in ("error", "drop"):
        raise ConfigError(f"missing={missing!r}: expected 'error' or 'drop'")
    by, groups, known = _groups(file, annotations)
    answers: dict[int, Answer] = {}
    unknown, faults = [], []
    for key, queries in groups.items():
        places = known.get(key, [])
        if not places:
            unknown += [f"{query.where} ({_named(query)})" for query in queries]
        elif len(places) != len(queries):
            where = ", ".join(query.where for query in queries[:3])
            faults.append(
                f"{_named(queries[0])} is answered {len(queries)} times ({where}) and asked "
                f"{len(places)} times"
            )
        else:
            for place, query in zip(places, queries, strict=True):
                answers[place] = query.answer
                if by == "qid" and query.video_id is not None:
                    one = annotations[place]
                    if _video(query.video_id) != _video(one.video_id):
                        faults.append(
                            f"{query.where}: qid {one.qid!r} is about video {query.video_id!r} "
                            f"here and about {one.video_id!r} in the annotations"
                        )
    _raise(file, faults, "expected one answer for each query of these annotations")
    absent = [one.qid for place, one in enumerate(annotations) if place not in answers]
    if missing == "error":
        advice = "set data.missing=drop to leave them out and count them"
        of = f"of {len(annotations)} queries have no answer"
        _raise(file, [f"qid {qid!r}" for qid in absent], advice, of)
        of = f"of {len(file.queries)} answers are to queries that the annotations do not have"
        _raise(file, unknown, advice, of)
    chosen = sorted(answers)
    if not chosen:
        raise _error(file, f"no answer to any of the {len(annotations)} queries of the annotations")
    return Matched(
        [answers[place] for place in chosen],
        [annotations[place] for place in chosen],
        by,
        num_missing=len(absent),
        num_unknown=len(unknown),
    )


def _groups(
    file: PredictionFile, annotations: Sequence[Annotation]
) -> tuple[str, dict[str, list[PredictedQuery]], dict[str, list[int]]]:
    """What the answers are matched by, the answers of each key, and the annotations of each."""
    qids = {one.qid: [place] for place, one in enumerate(annotations)}
    if all(query.qid is not None for query in file.queries):
        groups = defaultdict(list)
        for query in file.queries:
            groups[query.qid or ""].append(query)
        if groups.keys() & qids.keys():
            return "qid", groups, qids
        counts = Counter(one.video_id for one in annotations)
        if groups.keys() <= counts.keys():
            many = [name for name in groups if counts[name] > 1]
            _raise(
                file,
                [f"{name!r} has {counts[name]}" for name in many],
                "give the qids of the queries",
                "of its names are those of videos with several queries",
            )
            places = {one.video_id: [place] for place, one in enumerate(annotations)}
            return "video", groups, places
    if all(query.video_id and query.query for query in file.queries):
        groups, known = defaultdict(list), defaultdict(list)
        for query in file.queries:
            groups[_key(query.video_id or "", query.query or "")].append(query)
        for place, one in enumerate(annotations):
            known[_key(one.video_id, one.query)].append(place)
        return "video and sentence", groups, known
    first = file.queries[0]
    raise _error(
        file,
        f"{first.where}: {_named(first)}: no qid is one of the annotations', such as "
        f"{annotations[0].qid!r}, and not every answer has a video and a sentence: expected one "
        "of the two",
    )


def _key(video_id: str, sentence: str) -> str:
    """Equal for the same sentence, however it was cut into words."""
    letters = "".join(letter for letter in sentence.casefold() if letter.isalnum())
    return f"{_video(video_id)} {letters}"


def _video(video_id: str) -> str:
    """A video's id without what releases add to it."""
    for ending in (".avi", ".mp4", "-cam-002"):
        video_id = video_id.removesuffix(ending)
    return video_id.removeprefix("v_")


def _named(query: PredictedQuery) -> str:
    if query.qid is not None:
        return f"qid {query.qid!r}"
    return f"video {query.video_id!r}, {query.query!r}"


def _raise(file: PredictionFile, cases: list[str], advice: str, of: str = "faults") -> None:
    """Raise for these cases, the first five and their number, if there are any."""
    if cases:
        more = f"; and {len(cases) - 5} more" if len(cases) > 5 else ""
        raise _error(file, f"{len(cases)} {of}: {'; '.join(cases[:5])}{more}; {advice}")


def _error(file: PredictionFile, message: str) -> AnnotationError:
    return AnnotationError(f"predictions file {file.path!r}: {message}")
