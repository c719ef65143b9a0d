"""A batch, with one more pair for each video: a sentence of another one."""

from __future__ import annotations

import dataclasses

import torch

from bpnet.types import Batch


def with_strangers(batch: Batch, lender: Batch | None = None, first_is_asked: bool = True) -> Batch:
    """Ask each video of a batch for a sentence of the next other video in it, too.

    Args:
        batch: Pairs with their samples and annotations.
        lender: One pair, padded like the batch. Of a batch that is a part of a larger one: the
            first pair behind the part that is about another video than its last one.
        first_is_asked: Whether the first video is; not where a part before this one asks it.

    Returns:
        The pairs, and behind them at most one more a video, without targets; none where the batch
        is about one video only.
    """
    lenders = [batch] if lender is None else [batch, lender]
    names = [one.annotation.video_id for part in lenders for one in part.samples if one.annotation]
    index = batch.video_index.tolist()
    first = [index.index(video) for video in range(len(batch.video))]  # a pair of each video
    behind = [] if lender is None else [len(index)]
    videos, queries = list(range(len(index))), list(range(len(index)))
    for video, pair in enumerate(first):
        following = first[video + 1 :] + behind + first[:video]
        other = next((one for one in following if names[one] != names[pair]), None)
        if other is not None and (video or first_is_asked):
            videos.append(pair)
            queries.append(other)
    of_video = torch.tensor(videos, device=batch.video.device)
    of_query = torch.tensor(queries, device=batch.video.device)

    def asked(name: str) -> torch.Tensor:
        parts = [getattr(part, name) for part in lenders]
        return (parts[0] if len(parts) == 1 else torch.cat(parts))[of_query]

    return dataclasses.replace(
        batch,
        video_index=batch.video_index[of_video],
        video_mask=batch.video_mask[of_video],
        query_ids=asked("query_ids"),
        char_ids=asked("char_ids"),
        query_mask=asked("query_mask"),
        query_features=None if batch.query_features is None else asked("query_features"),
        target_spans=None,
        target_cells=None,
        weights=None,
        samples=(),
    )


def split_lender(batch: Batch) -> tuple[Batch, Batch]:
    """The pairs of a shard, and the one behind them that only lends its sentence.

    Args:
        batch: Two pairs or more.

    Returns:
        Both as batches; clips that are only the lender's video are in neither.
    """
    size = len(batch.samples) - 1
    clips = int(batch.video_mask[:size].sum(dim=1).max())
    videos = int(batch.video_index[size - 1]) + 1
    return _rows(batch, slice(0, size), videos, clips), _rows(batch, slice(size, None), 1, clips)


def _rows(batch: Batch, which: slice, num_videos: int, num_clips: int) -> Batch:
    """Some pairs of a batch about its first videos, which have at most so many clips."""
    picked = {
        field.name: value[which]
        for field in dataclasses.fields(batch)
        if (value := getattr(batch, field.name)) is not None
    }
    for name in ("video", "clip_seconds"):
        picked[name] = getattr(batch, name)[:num_videos, :num_clips]
    picked["video_index"] = picked["video_index"].clamp(max=num_videos - 1)
    picked["video_mask"] = picked["video_mask"][:, :num_clips]
    return Batch(**picked)
