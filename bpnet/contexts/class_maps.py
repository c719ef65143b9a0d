"""CI-CAM's pool as it is published: a map of mean activations for each concept, over time or cells.

It learns where in a video a concept is seen, which is the prior over places. It is here to be
compared with, not because it removes what comes with a concept.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ClassMaps(nn.Module):
    """Maps Q over relative time, without gradient: ``Q <- S(Q + rate * S(M))``.

    M is the sum of the activations of a batch, and S standardizes each map, as batch norm does
    with a batch of one (CI-CAM, equation 6 and its code).

    Args:
        num_concepts: Number of maps K.
        num_bins: Bins N of relative time.
        rate: Share lambda of a batch.
    """

    maps: Tensor

    def __init__(self, num_concepts: int, num_bins: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("maps", torch.zeros(num_concepts, num_bins))

    @torch.no_grad()
    def update(self, activation: Tensor, mask: Tensor, concepts: Tensor) -> None:
        """Add the activations of a batch; with several processes, of all of them.

        Args:
            activation: Of the pairs that are scored right (B, T); B may be 0.
            mask: (B, T).
            concepts: The concepts of each sentence (B, K) bool.
        """
        num_bins = self.maps.shape[1]
        centres = (torch.arange(num_bins, device=mask.device) + 0.5) / num_bins
        found = _at(activation, mask.sum(dim=1), centres.expand(len(mask), -1))
        summed = concepts.to(found.dtype).T @ found
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(summed)
        self.maps.copy_(_standardized(self.maps + self.rate * _standardized(summed)))

    def forward(self, mask: Tensor) -> Tensor:
        """The maps at the clips of some videos.

        Args:
            mask: (..., T).

        Returns:
            (..., T, K); 0 at padded places.
        """
        lengths = mask.sum(dim=-1, keepdim=True)
        centres = (torch.arange(mask.shape[-1], device=mask.device) + 0.5) / lengths
        ends = mask.new_full((1,), self.maps.shape[1], dtype=torch.int64)
        places = centres.clamp(max=1.0).reshape(1, -1).expand(len(self.maps), -1)
        read = _at(self.maps, ends, places).view(len(self.maps), *mask.shape)
        return read.movedim(0, -1) * mask[..., None]


def _at(values: Tensor, lengths: Tensor, places: Tensor) -> Tensor:
    """Values (B, T) of which the first ones are real, at relative places (B, N) in [0, 1].

    Linear between the middles of neighbours, as image resizing is; the same values where there
    are as many places as real ones.
    """
    position = places * lengths[:, None] - 0.5
    last = (lengths - 1)[:, None]
    position = torch.minimum(position.clamp(min=0), last)
    low = position.floor().long()
    high = torch.minimum(low + 1, last)
    share = position - low
    return values.gather(1, low) * (1 - share) + values.gather(1, high) * share


def _standardized(maps: Tensor) -> Tensor:
    """Each map with mean 0 and variance 1; one that is flat becomes 0."""
    return F.layer_norm(maps, maps.shape[1:])
