"""Weights and pictures, from NumPy's generator, for the reference networks and for ours."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

SEED = 20260101
# Frames, height and width; the second has nothing that divides evenly.
I3D_SIZES = {"even": (16, 224, 224), "odd": (17, 230, 250)}
C3D_SIZE = (16, 112, 112)
IMAGES = (2, 3, 224, 224)


def weights(network: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values for the tensors of a network, each of its name alone; activations stay near one."""
    return {name: _values(name, tuple(tensor.shape)) for name, tensor in network.items()}


def pictures(shape: tuple[int, ...], scale: float) -> Tensor:
    """Noise that is alike in neighbouring pixels, within +-scale."""
    rng = np.random.default_rng([SEED, *shape])
    coarse = rng.uniform(-1, 1, (*shape[:-2], -(-shape[-2] // 8), -(-shape[-1] // 8)))
    fine = coarse.repeat(8, axis=-2).repeat(8, axis=-1)[..., : shape[-2], : shape[-1]]
    return torch.from_numpy((fine * scale).astype(np.float32))


def _values(name: str, shape: tuple[int, ...]) -> Tensor:
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if name.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif len(shape) > 1:
        values = rng.standard_normal(shape, dtype=np.float32) * np.sqrt(2 / np.prod(shape[1:]))
    else:  # scales and shifts
        values = 0.1 * rng.standard_normal(shape) + name.endswith("bn.weight")
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
