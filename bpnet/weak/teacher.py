"""What a teacher says of a pair: it has learned, without any moment, where a sentence may be."""

from __future__ import annotations

from typing import Protocol

from bpnet.weak.candidates import Candidates, Floats


class Hint(Protocol):
    """What a teacher says of one pair."""

    def candidates(self, extent: float) -> Candidates:
        """Spans, given the exponent of `bpnet.weak.pseudo.contrasts`."""

    def support(self, spans: Floats, extent: float) -> Floats:
        """How far it agrees with spans (N, 2): (N,) in [0, 1], 1 with its own best one."""
