"""Charades-STA: ``VIDEO START END##sentence`` a line, in seconds; durations in another file."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from pathlib import Path
from typing import Any

from bpnet.data.annotation_text import Faults, lines, load_object, raise_faults, read_text, shown
from bpnet.data.repair import RawQuery
from bpnet.errors import AnnotationError

# The pairs in which the two copies of the training file differ.
_ORIGINAL = {("LEOL6", 8.0, 7.0), ("IOL8Q", 20.9, 12.0), ("AKKWU", 38.0, 13.0)}
_REPAIRED = {("LEOL6", 0.0, 2.5), ("IOL8Q", 20.9, 25.8), ("AKKWU", 3.4, 8.8)}


def read_charades_sta(file: Path, durations_file: Path) -> list[RawQuery]:
    """Read a part of Charades-STA.

    Args:
        file: ``charades_sta_{train,test}.txt``.
        durations_file: ``Charades_v1_{train,test}.csv``, or VSLNet's ``charades.json``.

    Returns:
        The pairs in file order; ids are the video's and its number among the video's pairs.

    Raises:
        AnnotationError: A file is damaged.
    """
    durations = _read_durations(durations_file)
    counters: Counter[str] = Counter()
    queries, faults = [], Faults()
    for where, line in lines(file):
        left, mark, sentence = line.partition("##")
        try:
            video_id, start, end = left.split()
            moment = float(start), float(end)
        except ValueError:
            mark = ""
        if not mark:
            faults.append(f"{where}: {shown(line)}: expected 'VIDEO START END##sentence'")
            continue
        qid = f"{video_id}_{counters[video_id]}"
        counters[video_id] += 1
        duration = durations.get(video_id, math.nan)
        queries.append(RawQuery(qid, video_id, sentence, (moment,), duration))
    raise_faults(file, faults)
    return queries


def which_copy(queries: list[RawQuery]) -> str:
    """Say which of the two copies of the training file in circulation was read.

    Args:
        queries: The training part.

    Returns:
        A clause for the log.
    """
    moments = {(query.video_id, *moment) for query in queries for moment in query.moments}
    if moments >= _ORIGINAL:
        return "the original copy of the train file, with 4 reversed pairs (LEOL6, IOL8Q, AKKWU)"
    if moments >= _REPAIRED:
        return "the repaired copy of the train file (VSLNet, SeqPAN), without the 4 reversed pairs"
    return "neither of the two known copies of the Charades-STA train file"


def _read_durations(file: Path) -> dict[str, float]:
    """Seconds by video; NaN where the file does not say it legibly."""
    values: dict[str, Any]
    if file.suffix == ".csv":
        text = io.StringIO(read_text(file), newline="")
        try:
            values = {row["id"]: row["length"] for row in csv.DictReader(text)}
        except (KeyError, csv.Error) as err:
            raise AnnotationError(
                f"duration file {str(file)!r}: {err!r}: expected columns 'id' and 'length'"
            ) from err
    else:
        values = {
            video_id: entry.get("duration") if isinstance(entry, dict) else None
            for video_id, entry in load_object(file, "one entry a video").items()
        }
    durations = {}
    for video_id, value in values.items():
        try:
            durations[video_id] = float(value)
        except (TypeError, ValueError, OverflowError):
            durations[video_id] = math.nan
    return durations
