"""Dropout whose masks cost little on a CPU.

torch draws one random number for each element, which takes longer than a matrix product of the same
tensor. Here one random word of 64 bits decides about four elements.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 2**16  # what 16 bits can tell apart


class Dropout(nn.Dropout):
    """`torch.nn.Dropout`; on a CPU its share is rounded to the nearest 65,536th."""

    def forward(self, x: Tensor) -> Tensor:
        """A tensor of any shape, with elements zeroed and the others scaled up in training."""
        return dropout(x, self.p if self.training else 0.0)


def dropout(x: Tensor, share: float) -> Tensor:
    """Zero a random share of the elements, and scale the others up by 1 / (1 - share).

    Args:
        x: Any shape.
        share: In [0, 1); 0 gives ``x`` itself.

    Returns:
        The same shape.
    """
    if not share:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, share)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    drawn = words.view(torch.int16)[: x.numel()].view(x.shape)  # each of LEVELS equally often
    dropped = min(round(share * LEVELS), LEVELS - 1)
    kept = (drawn >= dropped - LEVELS // 2).to(x.dtype)
    return x * kept.mul_(LEVELS / (LEVELS - dropped))
