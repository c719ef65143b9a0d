"""Is an answer about the video, or about where moments mostly lie? The rows of ``bias=true``.

Differences are paired query by query, and every number has an interval from a bootstrap over
videos, as in `bpnet.evaluation.compare`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bpnet.evaluation.answers import Answer, AnsweredQueries
from bpnet.evaluation.blind import fit_constant_interval
from bpnet.evaluation.bootstrap import (
    INTERVAL,
    bootstrap,
    bootstrap_difference,
    interval_notes,
)
from bpnet.evaluation.confounders import COLUMNS as POINTING
from bpnet.evaluation.confounders import Pairs, pointing, read_confounders
from bpnet.evaluation.outcomes import COLUMNS, Outcomes, outcomes
from bpnet.evaluation.protocols import Protocol
from bpnet.evaluation.shift import ChangedAnswers
from bpnet.types import Annotation


def bias_results(
    found: AnsweredQueries,
    train: Sequence[Annotation] | None,
    rules: Protocol,
    confounders: str | None,
    changes: Sequence[ChangedAnswers] = (),
) -> dict[str, Any]:
    """What ``metrics.json`` says of bias, without the parts, which need more answers.

    Args:
        found: The queries as they are.
        train: As in `changed_rows`.
        rules: The protocol.
        confounders: File that says where confounders are, or None.
        changes: As in `changed_rows`.

    Returns:
        ``interval`` (how the intervals were made), ``rows``, ``parts`` (None), ``confounder``
        (None where none is known) and ``notes``.

    Raises:
        AnnotationError: The file of confounders is not what it must be.
    """
    known = None if confounders is None else read_confounders(confounders)
    return {
        "interval": INTERVAL,
        "rows": changed_rows(found, train, rules, changes),
        "parts": None,
        "confounder": None if known is None else confounder_row(found, known),
        "notes": [
            "*: the interval of a difference does not hold 0; differences are from the first row",
            *interval_notes([one.video_id for one in found.annotations]),
        ],
    }


def changed_rows(
    found: AnsweredQueries,
    train: Sequence[Annotation] | None,
    rules: Protocol,
    changes: Sequence[ChangedAnswers] = (),
) -> list[dict[str, Any]]:
    """The answers as they are, with changed videos, and those of one constant interval.

    Args:
        found: The queries as they are.
        train: Training part, on which the constant interval is fitted for mIoU; None: no such rows.
        rules: The protocol.
        changes: The same queries about changed videos.

    Returns:
        Rows with ``name``, ``metrics`` and ``difference`` from the first row (None there): each
        R@1,IoU=m and mIoU in percent, as ``value``, ``low`` and ``high``.
    """
    rows = {"as it is": found, **{one.name: one.found for one in changes}}
    if train is not None:
        interval = _constant_interval(train, rules)
        rows["constant interval"] = _constant(interval, found.annotations)
        for one in changes:
            if one.seconds:
                name = f"constant interval, {one.seconds:g} s before"
                rows[name] = _constant(interval, one.found.annotations)
    values = {
        name: outcomes(one.answers, one.annotations, rules).values for name, one in rows.items()
    }
    first = values["as it is"]
    differences = [value - first for value in values.values()]
    videos = [one.video_id for one in found.annotations]
    every = np.concatenate([*values.values(), *differences], axis=1)
    cells = bootstrap(every[None], videos).cells(COLUMNS)
    return [
        {
            "name": name,
            "metrics": cells[place],
            "difference": cells[len(values) + place] if place else None,
        }
        for place, name in enumerate(values)
    ]


def part_rows(
    parts: Mapping[str, AnsweredQueries],
    train: Sequence[Annotation] | None,
    rules: Protocol,
) -> list[dict[str, Any]]:
    """Several parts of a dataset, and how much the others differ from the first one.

    Args:
        parts: Their answers, by name.
        train: As in `changed_rows`.
        rules: The protocol.

    Returns:
        Rows with ``name``, ``num_queries``, ``num_videos``, ``metrics``, ``difference`` from the
        first row (None there), and the same two of the constant interval as ``blind`` and
        ``blind_difference`` (None without a training part). Nothing is paired: the videos differ.
    """
    interval = None if train is None else _constant_interval(train, rules)
    rows: list[dict[str, Any]] = []
    before: list[Outcomes] = []
    for name, part in parts.items():
        runs = [outcomes(part.answers, part.annotations, rules)]
        if interval is not None:
            blind = _constant(interval, part.annotations)
            runs.append(outcomes(blind.answers, blind.annotations, rules))
        values = [bootstrap(one.values[None], one.videos).cells(COLUMNS) for one in runs]
        differences: list[Any] = [None, None]
        if before:
            differences = [
                bootstrap_difference(first.values, first.videos, run.values, run.videos).cells(
                    COLUMNS
                )
                for first, run in zip(before, runs, strict=True)
            ]
        before = before or runs
        rows.append(
            {
                "name": name,
                "num_queries": len(part.annotations),
                "num_videos": len({one.video_id for one in part.annotations}),
                "metrics": values[0][0],
                "difference": differences[0] and differences[0][0],
                "blind": values[1][0] if len(runs) > 1 else None,
                "blind_difference": differences[1][0] if len(runs) > 1 and differences[1] else None,
            }
        )
    return rows


def confounder_row(found: AnsweredQueries, confounders: Mapping[str, Pairs]) -> dict[str, Any]:
    """How often answers point at known confounders, see `bpnet.evaluation.confounders`.

    Args:
        found: The queries.
        confounders: Where the confounders are, by qid.

    Returns:
        ``num_queries``, and each rate in percent with its interval.

    Raises:
        AnnotationError: No query's confounder is known.
    """
    values, videos = pointing(found.answers, found.annotations, confounders)
    cells = bootstrap(values[None], videos).cells(POINTING)[0]
    return {"num_queries": len(videos), **cells}


def _constant_interval(train: Sequence[Annotation], rules: Protocol) -> tuple[float, float]:
    relative = [
        (start / one.duration_seconds, end / one.duration_seconds)
        for one in train
        for start, end in one.moments
    ]
    return fit_constant_interval(relative, "mIoU", rules)


def _constant(interval: tuple[float, float], annotations: Sequence[Annotation]) -> AnsweredQueries:
    ends = np.array(interval)
    answers = [Answer(one.duration_seconds * ends[None], scores=[1.0]) for one in annotations]
    return AnsweredQueries(answers, annotations)
