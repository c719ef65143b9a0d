"""What each single query contributes to R@1,IoU=m and mIoU, so that runs are compared in pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from bpnet.errors import AnnotationError
from bpnet.evaluation.answers import Answer
from bpnet.evaluation.intervals import Array, check_lengths
from bpnet.evaluation.metrics import THRESHOLDS, best_overlaps, metric_names
from bpnet.evaluation.protocols import Protocol
from bpnet.types import Annotation

COLUMNS = (*metric_names(ranks=(1,)), "mIoU")


@dataclasses.dataclass(frozen=True, eq=False)
class Outcomes:
    """The queries of a part, and how one run did at each.

    Attributes:
        annotations: The queries.
        values: For each of them, in percent, `COLUMNS` (Q, C): 100 or 0 for a hit of the first
            moment or none, and 100 times its temporal IoU. Their means are the metrics.
    """

    annotations: Sequence[Annotation]
    values: Array

    @property
    def videos(self) -> list[str]:
        """The video of each query."""
        return [one.video_id for one in self.annotations]

    def in_order_of(self, other: Outcomes, names: tuple[str, str]) -> Outcomes:
        """The same in the order of another run's queries.

        Args:
            other: The other run.
            names: What the two are called in a message, this one first.

        Returns:
            The outcomes, in that order.

        Raises:
            AnnotationError: The two runs answer different queries.
        """
        mine = {_key(one): place for place, one in enumerate(self.annotations)}
        wanted = [_key(one) for one in other.annotations]
        different = sorted(mine.keys() ^ set(wanted))
        if different:
            first = different[0]
            where = names[0] if first in mine else names[1]
            raise AnnotationError(
                f"{names[0]!r} and {names[1]!r} answer different queries ({len(mine)} and "
                f"{len(wanted)}; {len(different)} are not in both): qid {first[0]!r}, video "
                f"{first[1]!r}, {first[2]!r} at {first[3]} s is only in {where!r}: expected the "
                "same queries, videos and moments; evaluate both on the same annotations"
            )
        return Outcomes(other.annotations, self.values[[mine[key] for key in wanted]])


def outcomes(
    answers: Sequence[Answer], annotations: Sequence[Annotation], rules: Protocol
) -> Outcomes:
    """How a run did at each query.

    Args:
        answers: One for each annotation.
        annotations: What was asked.
        rules: The protocol.

    Returns:
        The outcomes.

    Raises:
        AnnotationError: There are no queries, or answers are not what the protocol needs.
    """
    check_lengths(answers=answers, annotations=annotations)
    scores = [one.scores for one in answers]
    known = [one for one in scores if one is not None]
    best = best_overlaps(
        [one.moments for one in answers],
        [one.moments for one in annotations],
        rules,
        limit=1,
        scores=known if len(known) == len(scores) else None,
    )[:, 0]
    hits = [rules.hits(best, threshold) for threshold in THRESHOLDS]
    return Outcomes(annotations, 100.0 * np.stack([*hits, best.clip(min=0.0)], axis=1))


def _key(one: Annotation) -> tuple[str, str, str, tuple[tuple[float, float], ...]]:
    """What makes a query the same query."""
    return one.qid, one.video_id, one.query, one.moments
