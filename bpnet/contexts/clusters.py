"""Spherical k-means: unit vectors that stand for many directions.

scikit-learn's k-means measures distances, and its centres are no unit vectors; faiss has this one,
but is large and an extra. So it is here (Dhillon, Modha, *Concept decompositions*, 2001).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ITERATIONS = 25


def spherical_kmeans(points: Tensor, num_centres: int, seed: int = 0) -> Tensor:
    """Centres that the points' directions gather around.

    A centre that loses all its points keeps its place.

    Args:
        points: (N, C), N >= 1, on any device; only their directions count, and zeros are left out.
        num_centres: Most centres M, >= 1.
        seed: Of the first centres.

    Returns:
        Unit vectors (M', C), on the CPU; M' is less than M where fewer directions differ.
    """
    norms = points.norm(dim=1)
    unit: Tensor = points[norms > 0] / norms[norms > 0, None]
    if not len(unit):
        return unit.cpu()
    centres = _first(unit, num_centres, torch.Generator().manual_seed(seed))
    nearest = None
    for _ in range(ITERATIONS):
        found = (unit @ centres.T).argmax(dim=1)
        if nearest is not None and bool((found == nearest).all()):
            break
        nearest = found
        sums = torch.zeros_like(centres).index_add_(0, nearest, unit)
        lengths = sums.norm(dim=1, keepdim=True)
        centres = torch.where(lengths > 1e-6, F.normalize(sums, dim=1), centres)
    return centres.cpu()


def _first(unit: Tensor, num_centres: int, generator: torch.Generator) -> Tensor:
    """Points far from one another, as k-means++ draws them: by the distance to those before.

    Of several that are drawn the one is taken that leaves the least distance (Arthur,
    Vassilvitskii, 2007, section 7).
    """
    chosen = torch.randint(len(unit), (1,), generator=generator)
    distance = 1 - unit @ unit[chosen[0]]
    num_drawn = 2 + int(math.log(num_centres))
    while len(chosen) < num_centres and float(distance.max()) > 1e-4:
        weights = distance.clamp(min=0).double().cumsum(0).cpu()
        places = torch.rand(num_drawn, generator=generator, dtype=torch.float64) * weights[-1]
        drawn = torch.searchsorted(weights, places).clamp(max=len(unit) - 1)
        left = torch.minimum(distance[:, None], 1 - unit @ unit[drawn].T)
        best = int(left.sum(dim=0).argmin())
        chosen = torch.cat([chosen, drawn[best : best + 1]])
        distance = left[:, best]
    return unit[chosen].clone()


def merged(centres: Tensor, points: Tensor, cosine: float) -> Tensor:
    """Join centres that stand for one direction: k-means gives a frequent one several.

    The centre with most points takes all that are near it, then the next of those that are left.

    Args:
        centres: Unit vectors (M, C).
        points: What they were fitted to (N, C).
        cosine: From which two are one.

    Returns:
        Unit vectors (M', C), M' <= M.
    """
    unit = F.normalize(points, dim=1)
    nearest = (unit @ centres.T).argmax(dim=1)
    sums = torch.zeros_like(centres).index_add_(0, nearest, unit)
    order = torch.bincount(nearest, minlength=len(centres)).argsort(descending=True, stable=True)
    left = torch.ones(len(centres), dtype=torch.bool)
    joined = []
    for centre in order.tolist():
        if left[centre]:
            near = left & (centres @ centres[centre] >= cosine)
            near[centre] = True
            left &= ~near
            joined.append(sums[near].sum(dim=0))
    return F.normalize(torch.stack(joined), dim=1)
