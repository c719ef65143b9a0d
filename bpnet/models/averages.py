"""Means that losses are made of: over what is real, and with pairs that count more than others."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of the values (B, ...) where the mask of the same shape is True: a scalar."""
    return values.masked_fill(~mask, 0).sum() / mask.sum()


def counted(values: Tensor, weights: Tensor | None) -> Tensor:
    """Values (B, ...) times the weights (B,) of their pairs, where there are any."""
    if weights is None:
        return values
    return values * weights.view(-1, *[1] * (values.ndim - 1))


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the batch."""
    if weights is None:
        return F.cross_entropy(logits, targets)
    return (weights * F.cross_entropy(logits, targets, reduction="none")).mean()
