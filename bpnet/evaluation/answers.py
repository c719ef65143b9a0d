"""What is scored for one query, whoever answered it: a model of ours, or a file of predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy.typing as npt

from bpnet.types import Annotation


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """Ranked moments of one query, and what else was predicted for it.

    Attributes:
        moments: In seconds (n, 2), best first; n may be 0, and then the query counts as missed.
        scores: Of the moments (n,), the higher the better; None: unknown.
        stage_one: Stage one's ranking in seconds (k, 2), best first; None: there is no such stage.
        stage_one_scores: Of its moments (k,), or None.
        saliency: A score for each clip of the video (clips,), from its beginning; None: none.
    """

    moments: npt.ArrayLike
    scores: npt.ArrayLike | None = None
    stage_one: npt.ArrayLike | None = None
    stage_one_scores: npt.ArrayLike | None = None
    saliency: npt.ArrayLike | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class AnsweredQueries:
    """Queries, and how they were answered.

    Attributes:
        answers: One for each annotation.
        annotations: What was asked.
    """

    answers: Sequence[Answer]
    annotations: Sequence[Annotation]
