"""Stage one, windows: the anchor-based control. Sliding windows of fixed lengths, each scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bpnet.models.averages import masked_mean
from bpnet.models.sizes import possibly
from bpnet.models.span_means import Summed
from bpnet.spans import paired_tiou

# Clips, and clips between two windows: the sliding windows in the code of BPNet's first author.
LENGTHS, STRIDES = (8, 16, 32, 64, 128), (2, 4, 8, 16, 32)


@dataclasses.dataclass(frozen=True, eq=False)
class WindowScores:
    """A score a window.

    Attributes:
        spans: (B, N, 2).
        logits: (B, N); their sigmoid is the probability that the window is the moment.
        mask: (B, N); False for windows that reach beyond the video.
    """

    spans: Tensor
    logits: Tensor
    mask: Tensor


class WindowProposer(nn.Module):
    """Scores every sliding window by the mean of its clips.

    Args:
        dim: Width D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1))

    def forward(self, frames: Tensor, video_mask: Tensor) -> WindowScores:
        """Score the windows.

        Args:
            frames: (B, T, D).
            video_mask: (B, T).

        Returns:
            Scores of all windows that fit into the longest video; the whole video is always one.
        """
        lengths = video_mask.sum(dim=1)
        spans = sliding_windows(frames.shape[1]).to(frames)
        mask = spans[None, :, 1] <= lengths[:, None]
        whole = torch.stack([torch.zeros_like(lengths), lengths], dim=-1).to(spans)
        spans = torch.cat([whole[:, None], spans[None].expand(frames.shape[0], -1, -1)], dim=1)
        mask = F.pad(mask, (1, 0), value=True)
        means = Summed.of(frames * video_mask[..., None]).means(spans.clamp(max=frames.shape[1]))
        return WindowScores(spans, self.score(means).squeeze(-1).float(), mask)


def sliding_windows(num_clips: int) -> Tensor:
    """All windows within a video of ``num_clips`` clips, (N, 2); none in a very short one."""
    windows = [
        (start, start + length)
        for length, stride in zip(LENGTHS, STRIDES, strict=True)
        for start in _starts(num_clips, length, stride)
    ]
    return torch.tensor(windows, dtype=torch.float32).reshape(-1, 2)


def _starts(num_clips: int, length: int, stride: int) -> Iterator[int]:
    """First clips of the windows of one length; of an open number of clips, of the largest."""
    start = 0
    while possibly(start + length <= num_clips):
        yield start
        start += stride


def window_loss(
    windows: WindowScores, target_spans: Tensor, scaled_iou: tuple[float, float]
) -> Tensor:
    """Binary cross-entropy on the scaled IoU, as 2D-TAN scores its map of windows.

    Args:
        windows: Scores of N windows.
        target_spans: (B, 2) in clip positions.
        scaled_iou: IoU that counts as 0 and as 1.

    Returns:
        Scalar, mean over the windows of the batch.
    """
    low, high = scaled_iou
    overlaps = paired_tiou(windows.spans, target_spans[:, None].to(windows.spans.dtype))
    targets = ((overlaps - low) / (high - low)).clamp(0, 1)
    entropy = F.binary_cross_entropy_with_logits(windows.logits, targets, reduction="none")
    return masked_mean(entropy, windows.mask)
