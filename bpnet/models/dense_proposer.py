"""Stage one, dense: every clip, at several scales, says whether it stands for the moment and how
far away the boundaries are (DEBUG, DRN; pyramid and assignment as ActionFormer describes them).
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bpnet.spans import paired_tiou

RADIUS = 1.5  # a point stands for a target whose middle is at most so many strides away
SHORTEST = 2.0  # in strides: shorter targets belong to a finer level,
LONGEST = 8.0  # and longer ones to a coarser one; the outer levels take what is left
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
NUM_LEVELS = 6  # scales: the points of level l are 2^l clips apart


@dataclasses.dataclass(frozen=True, eq=False)
class PointPredictions:
    """One span for each point of the pyramid, level by level.

    Attributes:
        spans: (B, N, 2), within the video.
        logits: (B, N); their sigmoid is the probability that the point stands for the moment.
        mask: (B, N).
        centres: Where the points lie, in clip positions (B, N).
        strides: Distance between the points of the same level, in clips (B, N).
    """

    spans: Tensor
    logits: Tensor
    mask: Tensor
    centres: Tensor
    strides: Tensor


class DenseProposer(nn.Module):
    """Foreground and two distances for each point of a temporal pyramid.

    Args:
        dim: Width D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.downs = nn.ModuleList(
            nn.Conv1d(dim, dim, kernel_size=3, stride=2, padding=1, groups=dim)
            for _ in range(NUM_LEVELS - 1)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(NUM_LEVELS))
        self.foreground = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1))
        self.distances = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 2))
        # Nearly all points are background, so begin there (focal loss, section 4.1).
        nn.init.constant_(self.foreground[-1].bias, -4.0)  # type: ignore[arg-type]

    def forward(self, frames: Tensor, video_mask: Tensor) -> PointPredictions:
        """Predict at every point.

        Args:
            frames: (B, T, D).
            video_mask: (B, T).

        Returns:
            The predictions of all levels, the finest first.
        """
        lengths = video_mask.sum(dim=1, keepdim=True)
        mask = video_mask
        levels = []
        for level, norm in enumerate(self.norms):
            stride = 2**level
            if level:
                shrink = self.downs[level - 1]
                frames = shrink((frames * mask[..., None]).transpose(1, 2)).transpose(1, 2)
                mask = mask[:, ::2]
            points = norm(frames)
            first = torch.arange(mask.shape[1], device=mask.device) * stride
            # The last point of a level may cover less than a stride of the video.
            centres = (first + torch.minimum(first + stride, lengths).clamp(min=first + 1)) / 2
            reach = F.softplus(self.distances(points).float()) * stride
            start = (centres - reach[..., 0]).clamp(min=0)
            end = torch.minimum(centres + reach[..., 1], lengths)
            spans = torch.stack([start, torch.maximum(end, start)], dim=-1)
            logits = self.foreground(points).squeeze(-1).float()
            strides = torch.full_like(centres, stride)
            levels.append((spans, logits, mask, centres, strides))
        spans, logits, mask, centres, strides = (
            torch.cat(parts, dim=min(1, parts[0].dim() - 1)) for parts in zip(*levels, strict=True)
        )
        return PointPredictions(spans, logits, mask, centres, strides)


def assign(points: PointPredictions, target_spans: Tensor) -> Tensor:
    """The points that stand for the target: near its middle, inside it, on the level of its length.

    Args:
        points: Predictions at N points.
        target_spans: (B, 2).

    Returns:
        (B, N) bool; a target for which there is none gets the finest point nearest its middle.
    """
    start, end = target_spans[:, :1], target_spans[:, 1:]
    middle, length = (start + end) / 2, end - start
    strides = points.strides.to(middle.dtype)
    away = (points.centres - middle).abs()
    inside = (points.centres > start) & (points.centres < end)
    finest, coarsest = strides == strides.min(), strides == strides.max()
    fits = (finest | (length >= SHORTEST * strides)) & (coarsest | (length < LONGEST * strides))
    chosen = points.mask & inside & (away <= RADIUS * strides) & fits
    far = away.masked_fill(~(points.mask & finest), torch.inf)
    nearest = F.one_hot(far.argmin(dim=1), num_classes=far.shape[1]).bool()
    return torch.where(chosen.any(dim=1, keepdim=True), chosen, nearest)


def dense_loss(points: PointPredictions, target_spans: Tensor) -> Tensor:
    """Focal loss of the foreground, and 1 - IoU of the spans of the foreground points.

    Both are divided by the number of foreground points of the batch (Lin et al. 2017).

    Args:
        points: Predictions at N points.
        target_spans: (B, 2) in clip positions.

    Returns:
        Scalar.
    """
    foreground = assign(points, target_spans)
    labels = foreground.to(points.logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(points.logits, labels, reduction="none")
    missed = 1 - torch.exp(-entropy)  # 1 - the probability given to the label
    weight = torch.where(foreground, FOCAL_ALPHA, 1 - FOCAL_ALPHA)
    focal = (weight * missed**FOCAL_GAMMA * entropy).masked_fill(~points.mask, 0).sum()
    overlaps = paired_tiou(points.spans, target_spans[:, None].to(points.spans.dtype))
    return (focal + (1 - overlaps)[foreground].sum()) / foreground.sum()
