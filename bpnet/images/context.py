"""What comes with each class in the training pictures: `bpnet.contexts.pool` on patches.

A picture is to the pool what a video is, and a cell of its feature map what a clip is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from bpnet.contexts.pool import (
    ADJUSTED,
    FEW_EFFECTIVE,
    FEW_VIDEOS,
    NO_CONTEXT,
    NOT_IDENTIFIABLE,
    ContextPool,
)
from bpnet.contexts.pool_config import PoolConfig

# How much of what contexts tell is taken away by weights, and not told. Pictures in their usual
# context have little left to teach once all is told: without weights, training takes far longer.
WEIGHTED = 0.5
SMOOTHING = 1.0  # pictures, of all classes by their rates, that are added to each context
STATUS = {
    ADJUSTED: "adjusted",
    NO_CONTEXT: "nothing comes with it",
    FEW_VIDEOS: "too few pictures, not adjusted",
    NOT_IDENTIFIABLE: "not identifiable, not adjusted",
    FEW_EFFECTIVE: "too few effective pictures, not adjusted",
}


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingContext:
    """The contexts of N training pictures, Z of which occur.

    Attributes:
        pool: Their prototypes, tables and strata.
        contexts: The one of each picture (N,) int64.
        prior: Rates P(z) (Z,).
        told: What the head is told of each class in each context, with ``backdoor`` (Z, K).
        weights: Weight of each picture (N,), 1 in the mean.
    """

    pool: ContextPool
    contexts: Tensor
    prior: Tensor
    told: Tensor
    weights: Tensor


@torch.no_grad()
def fit_context(
    config: PoolConfig, features: Tensor, labels: Tensor, num_classes: int, seed: int = 0
) -> TrainingContext:
    """Find what comes with each class.

    Args:
        config: What to do about it.
        features: Maps of the training pictures by a network that stays as it is (N, H, W, C).
        labels: Their classes (N,) int64.
        num_classes: Classes K.
        seed: Of the prototypes.

    Returns:
        The contexts.
    """
    patches = features.float().cpu().flatten(1, 2)  # (N, H W, C)
    pool = ContextPool(config, patches.shape[2], num_classes)
    pool.fit(list(patches.numpy()), [[label] for label in labels.tolist()], seed)
    seen = pool(patches, torch.ones(patches.shape[:2], dtype=torch.bool))
    one_hot = torch.nn.functional.one_hot(labels, num_classes)
    _, contexts, sizes = seen.strata.unique(return_inverse=True, return_counts=True)
    counts = torch.zeros(len(sizes), num_classes)
    counts.index_add_(0, contexts, one_hot.float())
    # A context of few pictures says little more than all pictures do.
    added = SMOOTHING * counts.sum(dim=0) / counts.sum()
    rates = (counts + added) / (sizes[:, None] + SMOOTHING)
    log_rates = rates.clamp(min=1e-6).log()
    if config.intervention == "stratified":
        weights = pool.pair_weights(seen.present, one_hot.bool())
    else:
        weights = (-WEIGHTED * log_rates[contexts, labels]).exp()
    # Of pictures weighted by P(k | z)^-a, those of class k in context z are P(k | z)^(1 - a), up to
    # a factor of z: that is what is left to be told.
    told = (1 - WEIGHTED) * log_rates
    return TrainingContext(pool, contexts, sizes / sizes.sum(), told, weights / weights.mean())


def context_lines(context: TrainingContext, classes: Sequence[str]) -> list[str]:
    """What was found, for people: the contexts of each class, and what is done about them.

    Args:
        context: The contexts.
        classes: Names of the classes.

    Returns:
        A line a class.
    """
    given, otherwise = context.pool.rates()
    lines = []
    for number, name in enumerate(classes):
        places = context.pool.strata[number].nonzero().flatten().tolist()
        rates = ", ".join(
            f"{given[number, one]:.2f} of its pictures against {otherwise[number, one]:.2f}"
            for one in places[:3]
        )
        rest = f" and {len(places) - 3} more" if len(places) > 3 else ""
        found = STATUS[int(context.pool.status[number])]
        lines.append(f"{name}: {found}" + (f": {rates}{rest}" if places else ""))
    return lines
