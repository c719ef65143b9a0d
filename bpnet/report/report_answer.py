"""One query with everything that a report or a figure draws of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bpnet.types import Moment

Curve = npt.NDArray[np.floating[Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class ReportAnswer:
    """One query; times in seconds from the video's start.

    Attributes:
        query: The sentence.
        video_id: Id of the video.
        duration_seconds: Length of the video, > 0.
        moments: The answers, best first; none: the sentence is not in the video.
        proposals: All candidates as stage two has them, with their matching scores.
        edges_seconds: Edges of the clips (T+1,), ascending.
        start_probabilities: Probability of each clip to be the first of the moment (T,); None: the
            model has none.
        end_probabilities: Probability of each clip to be the last of it (T,), or None.
        highlight_scores: How well each clip fits the query (T,) in [0, 1], or None.
        targets: The true moments; none where they are not known.
        frames: Times and JPEG bytes, ascending; may be empty.
        video: The file, to play the moments of; None: there is none.
        min_score: Score that answers had to have.
    """

    query: str
    video_id: str
    duration_seconds: float
    moments: Sequence[Moment]
    proposals: Sequence[Moment]
    edges_seconds: Curve
    start_probabilities: Curve | None = None
    end_probabilities: Curve | None = None
    highlight_scores: Curve | None = None
    targets: Sequence[tuple[float, float]] = ()
    frames: Sequence[tuple[float, bytes]] = ()
    video: Path | None = None
    min_score: float = 0.0

    def __post_init__(self) -> None:
        assert self.duration_seconds > 0, self.duration_seconds
        for values in (self.start_probabilities, self.end_probabilities, self.highlight_scores):
            assert values is None or len(values) == len(self.edges_seconds) - 1, len(values)

    @property
    def others(self) -> list[Moment]:
        """The candidates that are no answers, best first."""
        others = [one for one in self.proposals if one not in self.moments]
        return sorted(others, key=lambda one: -one.score)

    @staticmethod
    def strength(moment: Moment) -> float:
        """How strongly a candidate is coloured, in [0, 1]: the root keeps low scores apart."""
        return math.sqrt(min(max(moment.score, 0.0), 1.0))
