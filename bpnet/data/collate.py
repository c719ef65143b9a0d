"""list[Sample] -> Batch; padding and masks are made here, nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bpnet.types import Batch, Sample


def collate(samples: Sequence[Sample]) -> Batch:
    """Pad samples to their longest video, query and word.

    Args:
        samples: At least one. Neighbours that hold the same array of clips share it in the batch.

    Returns:
        The batch; padded places are zero, and False in the masks.
    """
    videos, video_index = _shared([sample.video for sample in samples])
    video, clip_mask = _pad(videos)
    query_ids, query_mask = _pad([sample.query_ids for sample in samples])
    char_ids, _ = _pad([sample.char_ids for sample in samples])
    features = [one.query_features for one in samples if one.query_features is not None]
    spans = [sample.target_span for sample in samples if sample.target_span is not None]
    cells = [sample.target_cells for sample in samples if sample.target_cells is not None]
    has_targets = len(spans) == len(samples)
    return Batch(
        video=video,
        video_index=video_index,
        video_mask=clip_mask[video_index],
        query_ids=query_ids,
        char_ids=char_ids,
        query_mask=query_mask,
        query_features=_pad(features)[0] if features else None,
        target_spans=torch.from_numpy(np.stack(spans)) if has_targets else None,
        target_cells=torch.from_numpy(_repeat_first(cells)) if has_targets else None,
        samples=tuple(samples),
    )


def _shared(arrays: Sequence[npt.NDArray[Any]]) -> tuple[list[npt.NDArray[Any]], Tensor]:
    """Leave out what repeats the one before it; the index (B,) says where each one went."""
    kept: list[npt.NDArray[Any]] = []
    index = []
    for array in arrays:
        if not kept or array is not kept[-1]:
            kept.append(array)
        index.append(len(kept) - 1)
    return kept, torch.tensor(index)


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
