"""The losses of a batch that several processes have a shard each of."""

from __future__ import annotations

import torch
from torch import Tensor

from bpnet.distributed import rows_of_all, summed
from bpnet.model_config import ModelConfig
from bpnet.models.contrast import contrast, contrast_keys
from bpnet.models.losses import bpnet_losses, loss_counts, weighted_sum
from bpnet.models.output import BPNetOutput
from bpnet.ranks import Ranks
from bpnet.training.shards import Shard
from bpnet.types import Batch

COUNTED = (
    *("boundary", "highlight", "overlap", "consistency"),
    *("matching", "refinement", "mismatch"),
)


def shared_losses(
    output: BPNetOutput,
    batch: Batch,
    config: ModelConfig,
    strangers: BPNetOutput | None,
    copies: BPNetOutput | None,
    shard: Shard,
    ranks: Ranks,
) -> dict[str, Tensor]:
    """This process's part of the losses of the whole batch.

    The mean of a loss over the processes is the loss of the whole batch, and the mean of its
    gradients, which `DistributedDataParallel` takes, is the gradient of that: a loss that is a mean
    over pairs, clips or proposals is weighted by how many of them are here, and ``contrast``
    compares the pairs of all processes.

    Args:
        output: What the model gave for the shard; where the shard is empty, for any pair.
        batch: The pairs of the shard, with targets.
        config: Kinds and weights of the losses.
        strangers: What it gave to sentences of other videos.
        copies: What it gave to the same pairs with other units dropped.
        shard: Where the shard stands in the whole batch.
        ranks: Who this process is.

    Returns:
        Scalars, as `bpnet_losses` names them: the same names in all processes.
    """
    losses = bpnet_losses(output, batch, config, strangers, copies)
    del losses["total"]
    assert losses.keys() <= {*COUNTED, "contrast"}, "a loss without a rule to join it by"
    found = loss_counts(output, batch, strangers, copies) if shard.samples else {}
    here = torch.stack(
        [found.get(name, torch.zeros((), device=batch.video.device)).double() for name in COUNTED]
    )
    everywhere = summed(here, ranks)
    weights = (here * ranks.size / everywhere.clamp(min=1)).float()
    shared = {}
    for name, weight, count in zip(COUNTED, weights, everywhere.tolist(), strict=True):
        if name in losses:
            shared[name] = weight * losses[name]
        elif count:  # other processes have some
            shared[name] = torch.zeros_like(losses["boundary"])
    if "contrast" in losses:
        shared["contrast"] = _contrast(output, batch, shard, ranks)
    ordered = {name: shared[name] for name in (*losses, *shared) if name in shared}
    return {**ordered, "total": weighted_sum(ordered, config)}


def _contrast(output: BPNetOutput, batch: Batch, shard: Shard, ranks: Ranks) -> Tensor:
    """The loss of the pairs of all processes; its gradient reaches those of this one."""
    clip_keys, query_keys = output.stage_one.clip_keys, output.stage_one.query_keys
    assert clip_keys is not None and query_keys is not None and batch.target_spans is not None
    moments, queries = contrast_keys(clip_keys, query_keys, batch.target_spans)
    spans = batch.target_spans.to(moments.dtype)
    size, width = len(shard.samples), moments.shape[1]
    runs = torch.tensor(shard.runs, device=spans.device).to(spans.dtype)  # exact below 2^24
    rows = torch.cat([part[:size] for part in (moments, queries, spans)], dim=1)
    weights = torch.ones_like(runs) if batch.weights is None else batch.weights[:size]
    rows = torch.cat([rows, runs[:, None], weights[:, None].to(rows.dtype)], dim=1)
    rows = rows_of_all(rows, shard.sizes, ranks)
    weights = rows[:, -1]
    loss = contrast(
        rows[:, :width],
        rows[:, width : 2 * width],
        rows[:, -4:-2],
        rows[:, -2],
        None if bool((weights == 1).all()) else weights,
    )
    # Every process gives the same value, but the gradients of its own pairs only: their sum over
    # the processes is the gradient, and their mean is what will be taken.
    return loss.detach() + ranks.size * (loss - loss.detach())
