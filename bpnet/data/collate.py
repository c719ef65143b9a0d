"""list[Sample] -> Batch; padding and masks are made here, nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bpnet.types import Batch, Sample
from bpnet_features import ClipGrid


def collate(samples: Sequence[Sample]) -> Batch:
    """Pad samples to their longest video, query and word.

    Args:
        samples: At least one. Neighbours that hold the same array of clips share it in the batch.

    Returns:
        The batch; padded places are zero, and False in the masks.
    """
    firsts, video_index = _shared([sample.video for sample in samples])
    video, clip_mask = _pad([samples[first].video for first in firsts])
    seconds, _ = _pad([clip_seconds(samples[first].grid) for first in firsts])
    query_ids, query_mask = _pad([sample.query_ids for sample in samples])
    char_ids, _ = _pad([sample.char_ids for sample in samples])
    features = [one.query_features for one in samples if one.query_features is not None]
    spans = [sample.target_span for sample in samples if sample.target_span is not None]
    cells = [sample.target_cells for sample in samples if sample.target_cells is not None]
    has_targets = len(spans) == len(samples)
    weights = [sample.weight for sample in samples]
    return Batch(
        video=video,
        clip_seconds=seconds,
        video_index=video_index,
        video_mask=clip_mask[video_index],
        query_ids=query_ids,
        char_ids=char_ids,
        query_mask=query_mask,
        query_features=_pad(features)[0] if features else None,
        target_spans=torch.from_numpy(np.stack(spans)) if has_targets else None,
        target_cells=torch.from_numpy(_repeat_first(cells)) if has_targets else None,
        weights=torch.tensor(weights) if any(weight != 1 for weight in weights) else None,
        samples=tuple(samples),
    )


def clip_seconds(grid: ClipGrid) -> npt.NDArray[np.float32]:
    """Begin and end of each clip (T, 2), from the beginning of the first: a window is a video."""
    edges = grid.edges_seconds - grid.edges_seconds[0]
    return np.stack([edges[:-1], edges[1:]], axis=1).astype(np.float32)


def _shared(arrays: Sequence[npt.NDArray[Any]]) -> tuple[list[int], Tensor]:
    """Places of what does not repeat the one before it; the index (B,) says where each went."""
    firsts: list[int] = []
    index = []
    for place, array in enumerate(arrays):
        if not firsts or array is not arrays[firsts[-1]]:
            firsts.append(place)
        index.append(len(firsts) - 1)
    return firsts, torch.tensor(index)


def _repeat_first(cells: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Stack lists of spans (M_i, 2) to (B, M, 2); a shorter list is filled with its first span."""
    most = max(map(len, cells))
    filled = np.empty((len(cells), most, 2), dtype=np.int64)
    for row, spans in zip(filled, cells, strict=True):
        row[:] = spans[0]
        row[: len(spans)] = spans
    return filled


def _pad(arrays: Sequence[npt.NDArray[Any]]) -> tuple[Tensor, Tensor]:
    """Stack arrays that differ in size; the mask (B, N) says which first-axis places are real."""
    shape = np.max([array.shape for array in arrays], axis=0)
    padded = np.empty((len(arrays), *shape), dtype=arrays[0].dtype)
    mask = np.zeros((len(arrays), shape[0]), dtype=bool)
    for row, real, array in zip(padded, mask, arrays, strict=True):
        if array.shape[1:] == row.shape[1:]:
            row[len(array) :] = 0
        else:
            row[...] = 0
        row[tuple(slice(size) for size in array.shape)] = array
        real[: len(array)] = True
    return torch.from_numpy(padded), torch.from_numpy(mask)
