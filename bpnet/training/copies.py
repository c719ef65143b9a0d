"""A batch, with its pairs once more: two answers to each, with other units dropped."""

from __future__ import annotations

import dataclasses

import torch

from bpnet.types import Batch


def with_copies(batch: Batch, count: int) -> Batch:
    """Ask the first pairs of a batch once more.

    Args:
        batch: Pairs.
        count: How many of them are asked again.

    Returns:
        The pairs, and behind them those again, without targets. Their videos are there twice, so
        that other units can be dropped in them, too.
    """
    doubled = {
        name: torch.cat([value, value[:count]])
        for name in ("video_mask", "query_ids", "char_ids", "query_mask", "query_features")
        if (value := getattr(batch, name)) is not None
    }
    again = batch.video_index[:count] + len(batch.video)
    most = int(batch.video_index[:count].max()) + 1
    return dataclasses.replace(
        batch,
        **doubled,
        video=torch.cat([batch.video, batch.video[:most]]),
        clip_seconds=torch.cat([batch.clip_seconds, batch.clip_seconds[:most]]),
        video_index=torch.cat([batch.video_index, again]),
        target_spans=None,
        target_cells=None,
        weights=None,
        samples=(),
    )
