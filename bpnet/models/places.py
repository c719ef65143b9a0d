"""Places in a sequence as numbers that a layer can read, whatever its length."""

from __future__ import annotations

import math

import torch
from torch import Tensor

NUM_WAVES = 8  # wave lengths of `waves`: 4, 2, 1, ... down to a 32nd of the whole


def waves(places: Tensor) -> Tensor:
    """Places (..., N), 1 being a whole length, as sines and cosines (..., 2 N NUM_WAVES)."""
    frequencies = 2.0 ** torch.arange(NUM_WAVES, device=places.device) * (math.pi / 2)
    angles = (places[..., None] * frequencies).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def place_waves(mask: Tensor) -> Tensor:
    """Where each place lies: as a share of its sequence, and counted from the beginning.

    Args:
        mask: (B, N).

    Returns:
        (B, N, 4 NUM_WAVES) in [-1, 1]; any length has its own, and padding changes none.
    """
    places = torch.arange(mask.shape[1], device=mask.device, dtype=torch.float32) + 0.5
    lengths = mask.sum(dim=1, keepdim=True).clamp(min=1)
    shares = waves((places / lengths)[..., None])
    counted = waves((places / 2**NUM_WAVES)[:, None])
    return torch.cat([shares, counted.expand_as(shares)], dim=-1)
