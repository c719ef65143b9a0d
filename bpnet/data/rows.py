"""One query a row: our own JSONL and csv, and the dialects of Lighthouse, QVHighlights and others.

What a row may hold, by the names that are in use; of several the first that is not null counts:

==========  ==================================================================================
video       ``video_id`` or ``vid``, taken as it is; ``video`` or ``video_path``, a file's path,
            of which the name without its video suffix counts
sentence    ``query``, ``sentence``, ``question``, ``caption``
moments     ``relevant_windows``, ``timestamps`` or ``timestamp``: [start, end] or a list of
            these; without them ``start`` and ``end``, or ``start_seconds`` and ``end_seconds``
length      ``duration``, ``duration_seconds``
qid         ``qid``, a string or an integer; without it the video's id and a number in file order
part        ``split``; without it the part that the file's name speaks of, or the one asked for
scores      ``relevant_clip_ids`` and ``saliency_scores``, of clips of two seconds (QVHighlights)
==========  ==================================================================================
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bpnet.data.annotation_text import (
    Faults,
    interval,
    lines,
    list_of,
    load_json,
    number,
    parse_json,
    raise_faults,
    read_text,
    shown,
    whole_number,
)
from bpnet.data.parts import part_in_name
from bpnet.data.repair import RawQuery
from bpnet.errors import AnnotationError
from bpnet.types import Saliency

_IDS = ("video_id", "vid")
_PATHS = ("video", "video_path")
_SENTENCES = ("query", "sentence", "question", "caption")
_MOMENTS = ("relevant_windows", "timestamps", "timestamp")
_ENDS = (("start", "end"), ("start_seconds", "end_seconds"))
_LENGTHS = ("duration", "duration_seconds")
_NUMBERS = {*_LENGTHS, *(name for pair in _ENDS for name in pair)}
_VIDEO_SUFFIX = re.compile(
    r"\.(3g2|3gp|avi|flv|m2ts|m4v|mkv|mov|mp4|mpeg|mpg|mts|ogv|ts|webm|wmv)$", re.IGNORECASE
)
_MAX_SCORE = 4


class Rows(NamedTuple):
    """What a file of rows holds.

    Attributes:
        queries: The queries of the part that was asked for, in file order.
        notes: What is worth a line in the log.
    """

    queries: list[RawQuery]
    notes: tuple[str, ...]


def read_rows(file: Path, split: str, moments_needed: bool = True) -> Rows:
    """Read the rows of one part.

    Args:
        file: ``.csv`` with a header, ``.json`` with one list, or one JSON object a line.
        split: Name of the part.
        moments_needed: Whether a row of that part without any field for its moments is a fault;
            otherwise it is a query without a moment, as are rows that say null or an empty list.

    Returns:
        The rows of that part.

    Raises:
        AnnotationError: The file is damaged, or none of its rows is of that part.
    """
    queries, faults = [], Faults()
    splits: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    num_unnamed = 0
    for where, row in _rows(file, moments_needed):
        try:
            other = isinstance(row, dict) and row.get("split", split) != split
            query = _query(row, moments_needed and not other)
            if "qid" not in row:
                qid = f"{query.video_id}_{numbers[query.video_id]}"
                numbers[query.video_id] += 1
                query = query._replace(qid=qid)
            part = _text(row, "split") if "split" in row else None
        except ValueError as err:
            faults.append(f"{where}: {err}")
            continue
        num_unnamed += part is None
        splits[part if part is not None else split] += 1
        if part is None or part == split:
            queries.append(query)
    raise_faults(file, faults)
    notes = _check_unnamed(file, split, num_unnamed) if num_unnamed else ()
    if not queries:
        there = ", ".join(f"{shown(part)}: {count}" for part, count in splits.most_common(5))
        raise AnnotationError(
            f"annotation file {str(file)!r}: no line of split {split!r}: it has "
            f"{there or 'no line'}" + (", ..." if len(splits) > 5 else "")
        )
    return Rows(queries, notes)


def splits_of(file: Path) -> tuple[str, ...]:
    """The parts that the rows of a file name.

    Args:
        file: As in `read_rows`.

    Returns:
        Their names in order of appearance; none where no row names its part. Rows that cannot be
        read are passed over: `read_rows` reports them.

    Raises:
        AnnotationError: The file cannot be read.
    """
    found: dict[str, None] = {}
    for _, row in _rows(file):
        if isinstance(row, dict) and isinstance(row.get("split"), str):
            found[row["split"]] = None
    return tuple(found)


def _check_unnamed(file: Path, split: str, number_of_rows: int) -> tuple[str, ...]:
    """Rows that do not say their part are of the part that the name says, or of any."""
    named = part_in_name(file.stem, split)
    if named is None:
        return (
            f"neither {number_of_rows} lines nor the file name say a part: all are taken as "
            f"{split!r}; whichever part is asked of this file, it is these lines",
        )
    if named != split:
        raise AnnotationError(
            f"annotation file {str(file)!r}: {number_of_rows} lines do not say their part, and the "
            f"name speaks of {named!r}: expected split {split!r}; give that part's file"
        )
    return ()


def _rows(file: Path, moments_needed: bool = True) -> Iterator[tuple[str, Any]]:
    """Rows with their places; a `ValueError` in place of one that is no JSON."""
    match file.suffix.lower():
        case ".csv":
            yield from _csv_rows(file, moments_needed)
        case ".json":
            value = load_json(file)
            if not isinstance(value, list):
                raise AnnotationError(
                    f"annotation file {str(file)!r}: a JSON {type(value).__name__}: expected a "
                    "list with an object a query"
                )
            yield from ((f"entry {index}", row) for index, row in enumerate(value))
        case _:
            yield from ((where, _parsed(line)) for where, line in lines(file))


def _parsed(line: str) -> Any:
    try:
        return parse_json(line)
    except ValueError as err:
        return err


def _csv_rows(file: Path, moments_needed: bool) -> Iterator[tuple[str, Any]]:
    reader = csv.DictReader(io.StringIO(read_text(file), newline=""), strict=True)
    try:
        header = reader.fieldnames or ()
        twice = [name for name, count in Counter(header).items() if count > 1]
        timed = any(start in header and end in header for start, end in _ENDS)
        if twice or (moments_needed and not timed):
            raise AnnotationError(
                f"annotation file {str(file)!r}: columns {shown(list(header))}: expected a header "
                "with video_id, query, start, end, duration, each once, and perhaps qid and split"
            )
        for row in reader:
            yield (
                f"line {reader.line_num}",
                ValueError("more cells than columns")
                if None in row
                else {name: _cell(name, cell) for name, cell in row.items()},
            )
    except csv.Error as err:
        raise AnnotationError(
            f"annotation file {str(file)!r}: after line {reader.line_num}: {err}: expected csv"
        ) from err


def _cell(name: str, text: str | None) -> Any:
    # A row may end too early; and Python reads 1_000 as a number.
    if text is None or name not in _NUMBERS or "_" in text:
        return text
    try:
        return float(text)
    except ValueError:
        return text


def _query(row: Any, moments_needed: bool) -> RawQuery:
    if isinstance(row, ValueError):
        raise row
    if not isinstance(row, dict):
        raise ValueError(f"{shown(row)}: expected an object")
    qid = row.get("qid", "")
    if "qid" in row:
        qid = str(qid) if type(qid) is int else _text(row, "qid")
    video_id = _video_id(row)
    name = _first(row, _SENTENCES)
    # An empty sentence is dirt that is dropped; nothing else can be empty.
    if not isinstance(row.get(name), str):
        raise ValueError(f"{name}={shown(row.get(name))}: expected a string")
    moments = _moments(row, moments_needed)
    duration = number(row, _first(row, _LENGTHS))
    return RawQuery(qid, video_id, row[name], moments, duration, _saliency(row, duration))


def _first(row: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((name for name in names if row.get(name) is not None), names[0])


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}={shown(value)}: expected a string")
    return value


def _video_id(row: dict[str, Any]) -> str:
    name = _first(row, (*_IDS, *_PATHS))
    value = _text(row, name)
    if name in _IDS:
        return value
    return _VIDEO_SUFFIX.sub("", re.split(r"[/\\]", value)[-1])


def _moments(row: dict[str, Any], needed: bool) -> tuple[tuple[float, float], ...]:
    name = next((name for name in _MOMENTS if row.get(name) is not None), None)
    if name is not None:
        value = list_of(row, name)
        if value and not isinstance(value[0], list):
            return (interval(value, name),)
        return tuple(interval(moment, name) for moment in value)
    ends = next((ends for ends in _ENDS if any(row.get(end) is not None for end in ends)), None)
    if ends is None and (any(name in row for name in _MOMENTS) or not needed):
        return ()
    start, end = ends or _ENDS[0]
    return ((number(row, start), number(row, end)),)


def _saliency(row: dict[str, Any], duration: float) -> Saliency | None:
    if row.get("saliency_scores") is None:
        return None
    clips, scores = list_of(row, "relevant_clip_ids"), list_of(row, "saliency_scores")
    if len(clips) != len(scores):
        raise ValueError(f"{len(clips)} relevant_clip_ids and {len(scores)} saliency_scores")
    if not clips:
        return None
    saliency = Saliency(
        tuple(whole_number({"relevant_clip_ids": clip}, "relevant_clip_ids", 0) for clip in clips),
        tuple(_scores(of_clip) for of_clip in scores),
    )
    if len(set(saliency.clip_ids)) < len(clips):
        raise ValueError("relevant_clip_ids: a clip is given more than once")
    last = max(saliency.clip_ids)
    if math.isfinite(duration) and last >= duration / saliency.clip_seconds:
        raise ValueError(
            f"relevant_clip_ids: {shown(last)}: expected clips of {saliency.clip_seconds:g} s that "
            f"begin before the end, duration={duration:g}"
        )
    return saliency


def _scores(of_clip: Any) -> tuple[int, ...]:
    values = list_of({"saliency_scores": of_clip}, "saliency_scores")
    scores = tuple(whole_number({"saliency_scores": v}, "saliency_scores", 0) for v in values)
    if not scores or max(scores) > _MAX_SCORE:
        raise ValueError(f"saliency_scores: {shown(of_clip)}: expected 0 to {_MAX_SCORE}, each")
    return scores
