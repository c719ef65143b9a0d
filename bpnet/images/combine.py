"""The combinational class activation map: maps of unlikely classes show the background.

Yang et al., *Combinational Class Activation Maps for Weakly Supervised Object Localization*
(NL-CCAM, WACV 2020), as CI-CAM uses it at test time: the maps of all classes, sorted by their
scores, are added with weights, most of them negative.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bpnet.errors import ConfigError

WEIGHTINGS = ("top", "quadratic", "sum_1")
_LAST = 20  # classes whose maps `sum_1` takes away


def combined_map(
    maps: Tensor, scores: Tensor, weighting: str, first: Tensor | None = None
) -> Tensor:
    """One map a picture.

    Args:
        maps: Activation of each class (N, K, H, W).
        scores: Of the classes (N, K); they are sorted by these.
        weighting: ``top``: the first class's map alone. ``quadratic``: class k of 0 to K - 1 has
            the weight ``-(k / (K - 1))^2``, so the first one has 0 and the last -1: what no class
            likes is suppressed. ``sum_1``: the first one's map, less the mean of the last 20 (or
            K - 1) with these same weights.
        first: Classes to be put first, whatever their scores (N,) int64: the map then belongs to a
            class that is known. None: the likeliest ones.

    Returns:
        (N, H, W).

    Raises:
        ConfigError: There is no such weighting.
    """
    if first is not None:
        scores = scores.scatter(1, first[:, None], torch.inf)
    order = scores.argsort(dim=1, descending=True, stable=True)
    weights = _weights(maps.shape[1], weighting).to(maps)
    # Weights by class instead of maps by rank: the maps are larger.
    by_class = torch.zeros_like(scores, dtype=maps.dtype)
    by_class.scatter_(1, order, weights.expand_as(by_class))
    return torch.einsum("nk,nkhw->nhw", by_class, maps)


def _weights(num_classes: int, weighting: str) -> Tensor:
    """Weights by rank (K,)."""
    if weighting not in WEIGHTINGS:
        raise ConfigError(f"weighting={weighting!r}: expected one of {', '.join(WEIGHTINGS)}")
    squares = (torch.arange(num_classes) / max(1, num_classes - 1)) ** 2
    if weighting == "quadratic":
        return -squares
    weights = torch.zeros(num_classes)
    if weighting == "sum_1" and num_classes > 1:
        last = slice(max(1, num_classes - _LAST), None)
        weights[last] = -squares[last] / squares[last].sum()
    weights[0] = 1.0
    return weights
