"""What a teacher is: a network that says where a sentence may be, learned without any moment."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from bpnet.types import Batch
from bpnet.weak.candidates import Candidates, Floats
from bpnet.weak.pairs import QueryDataset


class Teacher(Protocol):
    """A module that learns which sentence belongs to which video, and tells where."""

    def begin(self, pairs: QueryDataset) -> None:
        """Take what it needs to know of the data before it is trained."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars by name, with ``total``."""

    def finish(self, pairs: QueryDataset) -> None:
        """Take what it needs to know of the data after it is trained."""

    def hints(self, batch: Batch) -> list[Hint]:
        """What it says of each pair of a batch, in evaluation mode."""


class Hint(Protocol):
    """What a teacher says of one pair."""

    def candidates(self, extent: float) -> Candidates:
        """Spans, given the exponent of `bpnet.weak.pseudo.contrasts`."""

    def support(self, spans: Floats, extent: float) -> Floats:
        """How far it agrees with spans (N, 2): (N,) in [0, 1], 1 with its own best one."""
