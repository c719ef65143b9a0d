"""Child of throughput.py: trains alone and in several processes, in turn, under torchrun.

While the first process trains alone the others wait for it. Both see the same batches, without
dropout, whose random numbers differ from process to process: so their losses are the same.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
from machine import gemm_rate
from made_up import CHARADES, MadeUp, train_config
from throughput import MODELS, SHARED_BATCH, WHICH
from work import count_flops

from bpnet.data.collate import collate
from bpnet.distributed import process_group, share_threads
from bpnet.ranks import ALONE, Ranks, started_ranks
from bpnet.training.batches import EpochBatches
from bpnet.training.optim import build_optimizer
from bpnet.training.profile import no_phase
from bpnet.training.shards import ShardedBatches
from bpnet.training.step import TrainStep


def main() -> None:
    rounds, names = int(sys.argv[1]), sys.argv[2:]
    ranks = started_ranks()
    share_threads(ranks)
    with process_group(ranks):
        found = {name: compare(MODELS[name], rounds, ranks) for name in names}
    if ranks.first:
        print(json.dumps(found))


def compare(overrides: tuple[str, ...], rounds: int, ranks: Ranks) -> dict[str, list[float]]:
    """Pairs a second and losses of the first process, alone and with the others."""
    data = MadeUp(CHARADES)
    together = trainer(data, overrides, ranks)
    alone = trainer(data, overrides, ALONE)
    rng = random.Random(0)
    names = ("alone", "together", "ratio", "share_of_gemm", "alone_losses", "together_losses")
    found: dict[str, list[float]] = {name: [] for name in names}
    flops = 0
    for number in range(rounds + 1):  # the first one warms up
        rate = gemm_rate() if ranks.first else 1.0
        seconds = {}
        for name in rng.sample(WHICH, 2):
            dist.barrier()
            begun = time.perf_counter()
            if name == "together":
                found["together_losses"] += together(number)
            elif ranks.first and number:
                found["alone_losses"] += alone(number)
            elif ranks.first:
                flops = count_flops(lambda: found["alone_losses"].extend(alone(0)))
            dist.barrier()
            seconds[name] = time.perf_counter() - begun
        if number:
            for name, each in seconds.items():
                found[name].append(len(data.samples) / each)
            found["ratio"].append(seconds["alone"] / seconds["together"])
            found["share_of_gemm"].append(flops / seconds["together"] / (rate * ranks.size))
    return found


def trainer(data: MadeUp, overrides: tuple[str, ...], ranks: Ranks) -> Callable[[int], list[float]]:
    """What trains for an epoch, and gives the losses of its steps."""
    config = train_config(
        data.shape, f"trainer.batch_size={SHARED_BATCH}", *overrides, "model.dropout=0"
    )
    model = data.model(config)
    optimizer = build_optimizer(model, config.optim)
    step = TrainStep(model, config, optimizer, torch.device("cpu"), ranks)
    sharing = config.trainer.queries_per_video
    order = EpochBatches(data.video_ids, SHARED_BATCH, config.seed, sharing)
    sharded = ShardedBatches(order, ranks) if ranks.size > 1 else None

    def epoch(number: int) -> list[float]:
        order.begin(number, 0)
        shards = itertools.repeat(None) if sharded is None else sharded.shards()
        losses = []
        for pairs, shard in zip(order if sharded is None else sharded, shards, strict=False):
            batch = collate([data.samples[pair] for pair in pairs])
            losses.append(step([(batch, shard)], no_phase)["total"].item())
        return losses

    return epoch


if __name__ == "__main__":
    main()
