"""Means over many spans of one sequence, each in a time that does not grow with its length."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Summed:
    """A sequence with its running sums.

    Attributes:
        clips: (B, T, D).
        sums: Of the first 0, 1, ..., T of them (B, T + 1, D), in double: differences are taken.
    """

    clips: Tensor
    sums: Tensor

    @classmethod
    def of(cls, clips: Tensor) -> Summed:
        """Clips (B, T, D) with their sums."""
        return cls(clips, F.pad(clips.double().cumsum(dim=1), (0, 0, 1, 0)))

    def each(self, change: Callable[[Tensor], Tensor]) -> Summed:
        """The same of other rows: ``change`` picks, or detaches."""
        return Summed(change(self.clips), change(self.sums))

    def means(self, spans: Tensor) -> Tensor:
        """Means over spans.

        Args:
            spans: (B, K, 2) in clip positions; clips that are covered in part count in part.

        Returns:
            (B, K, D), of the type of the clips.
        """
        clips = self.clips
        whole = spans.long().clamp(min=0, max=clips.shape[1] - 1)
        index = whole.flatten(1)[..., None].expand(-1, -1, clips.shape[2])  # (B, 2 K, D)
        part = (spans - whole).flatten(1)[..., None]
        until = (self.sums.gather(1, index) + part * clips.gather(1, index)).view(*spans.shape, -1)
        lengths = (spans[..., 1] - spans[..., 0]).clamp(min=1e-6)
        return ((until[:, :, 1] - until[:, :, 0]) / lengths[..., None]).to(clips.dtype)
