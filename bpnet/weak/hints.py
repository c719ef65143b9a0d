"""What a teacher with an activation says of one pair."""

from __future__ import annotations

import dataclasses

from bpnet.weak.candidates import Candidates, Floats
from bpnet.weak.pseudo import activation_candidates, explained, span_support


@dataclasses.dataclass(frozen=True, eq=False)
class ActivationHint:
    """How much each clip of a video speaks for its sentence.

    Attributes:
        activation: (T,).
    """

    activation: Floats

    def candidates(self, extent: float) -> Candidates:
        """See `bpnet.weak.teacher.Hint`."""
        spans, scores = activation_candidates(self.activation, extent)
        return Candidates(spans, scores, explained(self.activation, spans[0]))

    def support(self, spans: Floats, extent: float) -> Floats:
        """See `bpnet.weak.teacher.Hint`."""
        return span_support(self.activation, extent, spans)
