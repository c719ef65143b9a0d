"""A batch -> the same videos, each asked about with a sentence of another one."""

from __future__ import annotations

import torch

from bpnet.types import Batch


def mismatched(batch: Batch) -> Batch | None:
    """Ask each video of a batch for a sentence of the next other video in it.

    Args:
        batch: Pairs with their samples and annotations.

    Returns:
        One pair a video, without targets; None where the batch is about one video only.
    """
    names = [sample.annotation.video_id for sample in batch.samples if sample.annotation]
    index = batch.video_index.tolist()
    first = [index.index(video) for video in range(len(batch.video))]  # a pair of each video
    videos, queries = [], []
    for video, pair in enumerate(first):
        following = first[video + 1 :] + first[:video]
        other = next((one for one in following if names[one] != names[pair]), None)
        if other is not None:
            videos.append(video)
            queries.append(other)
    if not videos:
        return None
    rows = torch.tensor(queries, device=batch.video.device)
    picked = torch.tensor(videos, device=batch.video.device)
    features = batch.query_features
    return Batch(
        video=batch.video[picked],
        video_index=torch.arange(len(videos), device=batch.video.device),
        video_mask=batch.clip_mask()[picked],
        query_ids=batch.query_ids[rows],
        char_ids=batch.char_ids[rows],
        query_mask=batch.query_mask[rows],
        query_features=None if features is None else features[rows],
    )
