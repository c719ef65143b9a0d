"""Clips of a long video -> at most so many cells, on which all spans can be listed."""

from __future__ import annotations

import torch
from torch import Tensor

from bpnet.models.sizes import is_open
from bpnet.models.span_means import Summed
from bpnet.spans import paired_tiou


def pool_cells(frames: Tensor, video_mask: Tensor, max_cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """Average clips in cells of one length a video; what a cell covers in part counts in part.

    Args:
        frames: (B, T, D).
        video_mask: (B, T).
        max_cells: Largest number of cells; a video of no more clips keeps them.

    Returns:
        Cells (B, G, D), which of them are real (B, G), and how many clips each holds (B,).
    """
    lengths = video_mask.sum(dim=1)
    counts = lengths.clamp(max=max_cells)
    widths = lengths.to(frames.dtype) / counts
    num_clips = frames.shape[1]
    most = max_cells if is_open(num_clips) else min(num_clips, max_cells)
    places = torch.arange(most, device=frames.device)
    mask = places < counts[:, None]
    first = torch.where(mask, places, 0)[..., None] * widths[:, None, None]
    spans = torch.cat([first, first + widths[:, None, None]], dim=-1)
    return Summed.of(frames).means(spans) * mask[..., None], mask, widths


def nearest_cells(spans: Tensor) -> Tensor:
    """The spans of whole cells with the highest temporal IoU with real-valued ones.

    Args:
        spans: In cells (B, 2).

    Returns:
        Half-open (B, 2) int64, at least one cell long; of equal ones the earlier and shorter.
    """
    start, end = spans[:, 0].floor(), spans[:, 1].ceil()
    starts = torch.stack([start, start + 1], dim=1)[:, :, None].expand(-1, -1, 2)
    ends = torch.stack([end - 1, end], dim=1)[:, None].expand(-1, 2, -1)
    choices = torch.stack([starts, ends], dim=-1).flatten(1, 2)  # (B, 4, 2)
    overlaps = paired_tiou(choices, spans[:, None])
    overlaps = overlaps.masked_fill(choices[..., 0] >= choices[..., 1], -1.0)
    best = overlaps.argmax(dim=1)[:, None, None].expand(-1, 1, 2)
    return choices.gather(1, best)[:, 0].long()
