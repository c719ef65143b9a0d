"""Spans that may be the moment of a sentence, as one source holds them."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """Spans that one source holds possible for one sentence, best first.

    Attributes:
        spans: Half-open clip positions (N, 2), N >= 1, start < end.
        scores: (N,), > 0; comparable within one sentence.
        certainty: How certain it is of this sentence, in [0, 1]; comparable between sentences.
    """

    spans: Floats
    scores: Floats
    certainty: float = 1.0
