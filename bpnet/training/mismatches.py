"""A batch, with one more pair for each video: a sentence of another one."""

from __future__ import annotations

import dataclasses

import torch

from bpnet.types import Batch


def with_strangers(batch: Batch) -> Batch:
    """Ask each video of a batch for a sentence of the next other video in it, too.

    Args:
        batch: Pairs with their samples and annotations.

    Returns:
        The pairs, and behind them at most one more a video, without targets; none where the batch
        is about one video only.
    """
    names = [sample.annotation.video_id for sample in batch.samples if sample.annotation]
    index = batch.video_index.tolist()
    first = [index.index(video) for video in range(len(batch.video))]  # a pair of each video
    videos, queries = list(range(len(names))), list(range(len(names)))
    for video, pair in enumerate(first):
        following = first[video + 1 :] + first[:video]
        other = next((one for one in following if names[one] != names[pair]), None)
        if other is not None:
            videos.append(pair)
            queries.append(other)
    of_video = torch.tensor(videos, device=batch.video.device)
    of_query = torch.tensor(queries, device=batch.video.device)
    features = batch.query_features
    return dataclasses.replace(
        batch,
        video_index=batch.video_index[of_video],
        video_mask=batch.video_mask[of_video],
        query_ids=batch.query_ids[of_query],
        char_ids=batch.char_ids[of_query],
        query_mask=batch.query_mask[of_query],
        query_features=None if features is None else features[of_query],
        target_spans=None,
        target_cells=None,
        samples=(),
    )
