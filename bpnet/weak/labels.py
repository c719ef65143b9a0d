"""Pseudo moments of the training sentences, made by teachers and students, kept as a file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bpnet.data.dataset import MomentDataset
from bpnet.evaluation.intervals import tiou
from bpnet.evaluation.predictions import Prediction
from bpnet.types import Annotation
from bpnet.weak.candidates import Candidates, Floats
from bpnet.weak.hints import Hint
from bpnet.weak.pseudo import PseudoMoments, fuse
from bpnet_features import ClipGrid
from bpnet_features.atomic import write_text_atomically

EXTENTS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
DEFAULT_EXTENT = 0.5
MOST_ANSWERS = 5  # of a student's answers that are asked for support


@dataclasses.dataclass(frozen=True, eq=False)
class Opinion:
    """What one teacher says of some pairs.

    Attributes:
        hints: A hint a pair.
        extent: See `bpnet.weak.contrasts.contrasts`.
    """

    hints: Sequence[Hint]
    extent: float


def choose_extent(hints: Sequence[Hint], targets: Floats) -> float:
    """The extent whose first candidates overlap the true moments best.

    Args:
        hints: Of labelled pairs.
        targets: Their moments in clip positions (N, 2).

    Returns:
        One of `EXTENTS`; of equal ones the least. `DEFAULT_EXTENT` without pairs.
    """
    if not len(targets):
        return DEFAULT_EXTENT
    found = {
        extent: float(
            np.mean(tiou(np.array([hint.candidates(extent).spans[0] for hint in hints]), targets))
        )
        for extent in EXTENTS
    }
    return max(found, key=lambda extent: found[extent])


def pseudo_moments(
    opinions: Sequence[Opinion],
    answers: Sequence[Prediction] | None,
    grids: Sequence[ClipGrid],
    another_moment: float,
) -> list[PseudoMoments]:
    """Fuse what teachers, and a student where there is one, hold for the moments of pairs.

    Args:
        opinions: Of the teachers.
        answers: Of the student, a prediction a pair, or None.
        grids: The clips of each pair's video.
        another_moment: See `bpnet.weak.pseudo.fuse`.

    Returns:
        Moments in clip positions, one record a pair.
    """
    found = []
    for place, grid in enumerate(grids):
        hints = [(opinion.hints[place], opinion.extent) for opinion in opinions]
        sources = [hint.candidates(extent) for hint, extent in hints]
        if answers is not None:
            sources.append(_supported(answers[place], grid, hints))
        found.append(fuse(sources, another_moment))
    return found


def _supported(
    answer: Prediction, grid: ClipGrid, hints: Sequence[tuple[Hint, float]]
) -> Candidates:
    """A student's best answers, their scores times how far the teachers support them."""
    moments = answer.moments[:MOST_ANSWERS]
    seconds = np.array([(one.start_seconds, one.end_seconds) for one in moments])
    spans = np.asarray(grid.to_clips(seconds), dtype=np.float64)
    scores = np.array([max(one.score, 1e-6) for one in moments])
    support = np.mean([hint.support(spans, extent) for hint, extent in hints], axis=0)
    scores = scores * np.maximum(support, 1e-3)
    order = np.argsort(-scores, kind="stable")
    return Candidates(spans[order], scores[order], float(support[order[0]]))


def as_annotations(
    whole: Sequence[Annotation], found: Sequence[PseudoMoments], grids: Sequence[ClipGrid]
) -> list[Annotation]:
    """Pseudo moments in seconds.

    Args:
        whole: The pairs; their own moments are not read.
        found: Their pseudo moments.
        grids: The clips of their videos.

    Returns:
        The same pairs with those moments.
    """
    made = []
    for pair, moments, grid in zip(whole, found, grids, strict=True):
        seconds = np.clip(grid.to_seconds(moments.spans), 0, pair.duration_seconds)
        (start, end), *others = [(float(a), float(b)) for a, b in seconds if a < b] or [
            (0.0, pair.duration_seconds)
        ]
        made.append(
            dataclasses.replace(
                pair, start_seconds=start, end_seconds=end, other_moments=tuple(others)
            )
        )
    return made


def write_labels(path: Path, pairs: Sequence[Annotation], weights: Mapping[str, float]) -> None:
    """Write pseudo moments as an annotation file that `data=jsonl` reads, with a weight each.

    Args:
        path: The file; it appears whole or not at all.
        pairs: The pairs.
        weights: By qid.
    """
    rows = [
        {
            "qid": pair.qid,
            "video_id": pair.video_id,
            "query": pair.query,
            "timestamps": [list(moment) for moment in pair.moments],
            "duration": pair.duration_seconds,
            "split": pair.split,
            "weight": weights[pair.qid],
        }
        for pair in pairs
    ]
    write_text_atomically(path, "".join(json.dumps(row) + "\n" for row in rows))


def read_labels(path: Path) -> tuple[list[Annotation], dict[str, float]]:
    """Read what `write_labels` wrote, exactly.

    Args:
        path: The file.

    Returns:
        The pairs, and the weights by qid.
    """
    pairs, weights = [], {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        (start, end), *others = row["timestamps"]
        pairs.append(
            Annotation(
                row["qid"],
                row["video_id"],
                row["query"],
                start,
                end,
                row["duration"],
                row["split"],
                tuple((a, b) for a, b in others),
            )
        )
        weights[row["qid"]] = row["weight"]
    return pairs, weights


def grids_of(dataset: MomentDataset) -> list[ClipGrid]:
    """The clips of each pair's video."""
    return [dataset.grid(annotation) for annotation in dataset.annotations]
