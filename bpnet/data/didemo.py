"""DiDeMo: a JSON list with several people's choices of five-second segments a sentence.

Files ``{train,val,test}_data.json`` of LisaAnne/LocalizingMoments. A choice [i, j] is the segments
i to j, both included: 5 i to 5 (j + 1) seconds. Videos were cut to 30 s, six segments; those
shorter than 25 s have five. The files say no exact durations, so a video counts as long as its
segments.

People disagree, and DiDeMo's own evaluation compares an answer with all of them. Here a query gets
one moment, the *consensus*: the choice made most often; of equals the one with the highest mean
temporal IoU with the choices of all; of equals still the earliest, then the shortest.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

from bpnet.data.annotation_text import Faults, list_of, load_json, raise_faults, shown, whole_number
from bpnet.data.repair import RawQuery
from bpnet.errors import AnnotationError

SEGMENT_SECONDS = 5.0
NUM_SEGMENTS = 6
MAX_PEOPLE = 100  # four, as a rule


def read_didemo(file: Path) -> list[RawQuery]:
    """Read a part of DiDeMo.

    Args:
        file: ``{train,val,test}_data.json``.

    Returns:
        The queries in file order; ids are the ``annotation_id``. A video's id is its name up to the
        first dot, since some videos occur under two suffixes.

    Raises:
        AnnotationError: The file is damaged.
    """
    value = load_json(file)
    if not isinstance(value, list):
        raise AnnotationError(
            f"annotation file {str(file)!r}: a JSON {type(value).__name__}: expected a list with "
            "an object a sentence"
        )
    queries, faults = [], Faults()
    for index, row in enumerate(value):
        try:
            queries.append(_query(row))
        except ValueError as err:
            faults.append(f"entry {index}: {err}")
    raise_faults(file, faults)
    return queries


def consensus(choices: list[tuple[int, int]]) -> tuple[int, int]:
    """The one choice that stands for several people's, see the top of this module.

    Args:
        choices: First and last segment of each person's choice; at least one.

    Returns:
        One of them.
    """
    counts = Counter(choices)
    most = max(counts.values())

    def rank(choice: tuple[int, int]) -> tuple[Fraction, tuple[int, int]]:
        return -sum((_overlap(choice, other) for other in choices), Fraction()), choice

    return min((choice for choice, count in counts.items() if count == most), key=rank)


def _overlap(choice: tuple[int, int], other: tuple[int, int]) -> Fraction:
    """Temporal IoU; exact, since a sum of rounded ones would break ties by their order."""
    common = min(choice[1], other[1]) - max(choice[0], other[0]) + 1
    return Fraction(max(common, 0), max(choice[1], other[1]) - min(choice[0], other[0]) + 1)


def _query(row: Any) -> RawQuery:
    if not isinstance(row, dict):
        raise ValueError(f"{shown(row)}: expected an object")
    for name in ("video", "description"):
        if not isinstance(row.get(name), str):
            raise ValueError(f"{name}={shown(row.get(name))}: expected a string")
    choices = [_choice(value) for value in list_of(row, "times")]
    if not 1 <= len(choices) <= MAX_PEOPLE:
        raise ValueError(f"times: {len(choices)} choices: expected 1 to {MAX_PEOPLE}")
    num_segments = NUM_SEGMENTS
    if row.get("num_segments") is not None:
        num_segments = whole_number(row, "num_segments", 1)
    first, last = consensus(choices)
    try:
        moment = SEGMENT_SECONDS * first, SEGMENT_SECONDS * (last + 1)
        duration = SEGMENT_SECONDS * num_segments
    except OverflowError as err:
        raise ValueError("times: a number beyond all floats") from err
    return RawQuery(
        str(whole_number(row, "annotation_id", 0)),
        row["video"].partition(".")[0],
        row["description"],
        (moment,),
        duration,
    )


def _choice(value: Any) -> tuple[int, int]:
    if not (isinstance(value, list) and len(value) == 2):
        raise ValueError(f"times: {shown(value)}: expected [first, last]")
    first, last = (whole_number({"times": segment}, "times", 0) for segment in value)
    if first > last:
        raise ValueError(f"times: {shown(value)}: expected first <= last")
    return first, last
