"""Where a confounder is known: how often the answer points at it, and how often at the moment.

An answer *points* at the middle of its first moment. The confounder pointing rate is the share of
queries whose answer points at the confounder and not at the moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bpnet.data.annotation_text import Faults, interval, lines, parse_json, raise_faults, shown
from bpnet.errors import AnnotationError
from bpnet.evaluation.answers import Answer
from bpnet.evaluation.intervals import Array
from bpnet.types import Annotation

Pairs = Sequence[tuple[float, float]]
COLUMNS = ("pointing", "confounder_pointing")


def read_confounders(path: str | Path) -> dict[str, list[tuple[float, float]]]:
    """Read where the confounders are.

    Args:
        path: JSON lines, each with ``qid`` and ``context``: ``[start, end]`` in seconds, a list of
            these, or null where the video shows none; what else a line has is not read.

    Returns:
        The intervals by qid.

    Raises:
        AnnotationError: The file cannot be read, or is something else.
    """
    file = Path(path)
    found: dict[str, list[tuple[float, float]]] = {}
    faults = Faults()
    for where, line in lines(file):
        try:
            qid, intervals = _row(parse_json(line))
            if qid in found:
                raise ValueError(f"qid {qid!r} is there twice")
            found[qid] = intervals
        except ValueError as err:
            faults.append(f"{where}: {err}")
    raise_faults(file, faults)
    if not found:
        raise AnnotationError(f"confounders {str(file)!r}: no line in it: expected one a query")
    return found


def pointing(
    answers: Sequence[Answer],
    annotations: Sequence[Annotation],
    confounders: Mapping[str, Pairs],
) -> tuple[Array, list[str]]:
    """At what each answer points.

    Args:
        answers: One for each annotation; one without a moment points at nothing.
        annotations: What was asked.
        confounders: Where they are, by qid; queries that are not in it are left out.

    Returns:
        `COLUMNS` in percent (Q, 2), 100 or 0 each, and the video of each of the Q queries.

    Raises:
        AnnotationError: None of the queries is in it.
    """
    rows, videos = [], []
    for answer, one in zip(answers, annotations, strict=True):
        if one.qid not in confounders:
            continue
        moments = np.asarray(answer.moments, np.float64).reshape(-1, 2)
        middle = float(moments[0].mean()) if len(moments) else np.nan
        right = _inside(middle, one.moments)
        wrong = not right and _inside(middle, confounders[one.qid])
        rows.append((100.0 * right, 100.0 * wrong))
        videos.append(one.video_id)
    if not rows:
        raise AnnotationError(
            f"confounders: none of the {len(annotations)} queries is among the {len(confounders)} "
            f"of the file, such as {next(iter(confounders))!r}: expected the qids of this part"
        )
    return np.array(rows), videos


def _row(row: Any) -> tuple[str, list[tuple[float, float]]]:
    if not (isinstance(row, dict) and isinstance(row.get("qid"), str) and "context" in row):
        raise ValueError(f"{shown(row)}: expected an object with qid, a string, and context")
    value = row["context"]
    if value is None:
        return row["qid"], []
    if not isinstance(value, list):
        raise ValueError(f"context={shown(value)}: expected [start, end], or null")
    several = value if value and isinstance(value[0], list) else [value] if value else []
    intervals = [interval(one, "context") for one in several]
    if not all(start < end for start, end in intervals):
        raise ValueError(f"context={shown(value)}: expected start < end")
    return row["qid"], intervals


def _inside(seconds: float, pairs: Pairs) -> bool:
    return any(start <= seconds < end for start, end in pairs)
