"""Whether a video shows a prototype: windows of clips, and a threshold for each prototype.

A fixed cosine would be passed by some clips of what is faint and by most clips of what is salient.
So each prototype gets a threshold of its own: over the videos, its highest cosine is a mixture of
two normal distributions, those that have it and those that do not, where it is one thing at all. A
prototype that does not split the videos clearly in two is not used.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bpnet.models.span_means import Summed

ITERATIONS = 40
STARTS = (0.5, 0.75, 0.9, 0.97)  # shares of videos without it, from which the fit begins
# Probability of having it from which a video counts so. It is low: who misses a concept in its own
# videos takes it for something that comes and goes.
LEAST_PROBABILITY = 0.005


def window_directions(
    video: Tensor, mask: Tensor, min_clips: int, min_share: float
) -> tuple[Tensor, Tensor]:
    """Directions of the means of neighbouring clips: one clip is noise.

    Args:
        video: (V, T, C), centred.
        mask: (V, T).
        min_clips: Clips of a window; a shorter video is one window.
        min_share: The same as a share of the video's clips; the larger of the two counts.

    Returns:
        Unit vectors (V, T, C), a window by its first clip, and where there is one (V, T) bool.
    """
    lengths = mask.sum(dim=1, keepdim=True)
    width = window_width(lengths, min_clips, min_share)
    first = torch.arange(video.shape[1], device=video.device)
    whole = first + width <= lengths
    end = (first + width).clamp(max=video.shape[1])
    spans = torch.stack([first.expand_as(end), end], dim=-1).to(video)
    means = Summed.of(video * mask[..., None]).means(spans)
    return F.normalize(means, dim=-1) * whole[..., None], whole


def window_width(lengths: Tensor, min_clips: int, min_share: float) -> Tensor:
    """Clips of a window in videos of some lengths, see `window_directions`."""
    width = (min_share * lengths).ceil().long().clamp(min=min_clips)
    return torch.minimum(width, lengths)


def thresholds(best: Tensor) -> tuple[Tensor, Tensor]:
    """Split videos in those that have a prototype and those that do not.

    Two normal distributions are fitted by expectation-maximisation from several beginnings; the
    most likely fit counts. How far they lie apart is Ashman's D, the distance of the means in
    standard deviations (Ashman, Bird, Zepf, 1994).

    Args:
        best: Highest cosine of each video and prototype (N, M).

    Returns:
        Threshold of each prototype (M,), and D (M,).
    """
    fits = [_fit(best, start) for start in STARTS]
    likelihood = torch.stack([fit[0] for fit in fits])
    chosen = likelihood.argmax(dim=0, keepdim=True)[..., None]  # (1, M, 1)
    found = torch.stack([fit[1] for fit in fits]).gather(0, chosen.expand(1, -1, 6))[0]
    low, high = found[:, 1], found[:, 4]
    apart = (high - low) / ((found[:, 2] + found[:, 5]) / 2).sqrt()
    steps = torch.linspace(0, 1, 256)[:, None]
    places = low + steps * (high - low)
    has = torch.sigmoid(_log_density(places, found[:, 3:]) - _log_density(places, found[:, :3]))
    first = (has >= LEAST_PROBABILITY).float().argmax(dim=0)
    return places.gather(0, first[None])[0], apart


def _fit(best: Tensor, start: float) -> tuple[Tensor, Tensor]:
    """Log likelihood (M,), and share, mean and variance of both groups (M, 6)."""
    has = (best > best.quantile(start, dim=0)).to(best.dtype)
    for _ in range(ITERATIONS):
        groups = [_moments(best, 1 - has), _moments(best, has)]
        without, with_it = (_log_density(best, group) for group in groups)
        has = torch.sigmoid(with_it - without)
    return torch.logaddexp(without, with_it).mean(dim=0), torch.cat(groups, dim=1)


def _moments(values: Tensor, weights: Tensor) -> Tensor:
    count = weights.sum(dim=0).clamp(min=1)
    mean = (weights * values).sum(dim=0) / count
    variance = (weights * (values - mean) ** 2).sum(dim=0) / count + 1e-4
    return torch.stack([count / len(values), mean, variance], dim=1)


def _log_density(values: Tensor, group: Tensor) -> Tensor:
    share, mean, variance = group.unbind(dim=1)
    return share.log() - 0.5 * variance.log() - 0.5 * (values - mean) ** 2 / variance
