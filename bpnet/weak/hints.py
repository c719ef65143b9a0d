"""What a teacher says of a pair: it has learned, without any moment, where a sentence may be."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from bpnet.weak.candidates import Candidates, Floats
from bpnet.weak.contrasts import activation_candidates, explained, span_support


class Hint(Protocol):
    """What a teacher says of one pair."""

    def candidates(self, extent: float) -> Candidates:
        """Spans, given the exponent of `bpnet.weak.contrasts.contrasts`."""

    def support(self, spans: Floats, extent: float) -> Floats:
        """How far it agrees with spans (N, 2): (N,) in [0, 1], 1 with its own best one."""


@dataclasses.dataclass(frozen=True, eq=False)
class ActivationHint:
    """That of a teacher with an activation: how much each clip speaks for the sentence.

    Attributes:
        activation: (T,).
    """

    activation: Floats

    def candidates(self, extent: float) -> Candidates:
        """See `Hint`."""
        spans, scores = activation_candidates(self.activation, extent)
        return Candidates(spans, scores, explained(self.activation, spans[0]))

    def support(self, spans: Floats, extent: float) -> Floats:
        """See `Hint`."""
        return span_support(self.activation, extent, spans)
