"""Clip features brought to mean 0 and deviation 1, by those of the training part."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from bpnet.weak.pairs import VideoClips

MOST_VIDEOS = 512  # that are read for it
LEAST_DEVIATION = 1e-3  # a feature that never changes stays 0


class Standardised(nn.Module):
    """The mean and the deviation of each feature, in buffers.

    Args:
        feature_dim: Width C of the clip features.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("deviation", torch.ones(feature_dim))

    def fit(self, videos: VideoClips) -> None:
        """Take both from some of the videos.

        Args:
            videos: The training part's.
        """
        sums = squares = np.zeros(len(self.mean))
        count = 0
        for place in spread(len(videos), MOST_VIDEOS):
            clips = videos[place].astype(np.float64)
            sums, squares = sums + clips.sum(axis=0), squares + np.square(clips).sum(axis=0)
            count += len(clips)
        mean = sums / count
        deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0)) + LEAST_DEVIATION
        self.mean.copy_(torch.from_numpy(mean))
        self.deviation.copy_(torch.from_numpy(deviation))

    def forward(self, video: Tensor) -> Tensor:
        """Clips (..., C) to the same shape."""
        return (video - self.mean) / self.deviation


def spread(count: int, most: int) -> list[int]:
    """At most so many of ``count`` places, evenly spread."""
    return [place * count // most for place in range(most)] if count > most else list(range(count))
