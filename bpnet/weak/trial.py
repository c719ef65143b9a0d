"""One trial: a head is trained on a planted set without any moment, and what fools it is seen."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from bpnet.contexts.pool import ContextPool
from bpnet.contexts.pool_config import PoolConfig
from bpnet.evaluation.intervals import tiou
from bpnet.evaluation.reliability import auroc
from bpnet.evaluation.weak_metrics import (
    best_threshold,
    frame_average_precision,
    pointing,
    segment_accuracy,
    segment_at_peak,
)
from bpnet.weak.activation import ActivationHead, combinational
from bpnet.weak.mil import MilConfig, Pairs, mil_losses
from bpnet.weak.synthetic import PlantedPairs, planted_concepts, planted_pairs
from bpnet_features.confounder import TEST_SPLITS, PlantedWorld

CHUNK = 128  # videos that are scored together
NUM_LOWEST = 5  # sentences whose relevance is the background: most of the eight of a planted set


@dataclasses.dataclass(frozen=True)
class TrialConfig:
    """How a head is trained in a trial.

    Attributes:
        hidden_dim: Width D.
        batch_size: Videos a step.
        num_steps: Steps.
        lr: Highest learning rate, of one cycle.
        weight_decay: Of AdamW.
        mil: The losses.
    """

    hidden_dim: int = 32
    batch_size: int = 32
    num_steps: int = 400
    lr: float = 1e-2
    weight_decay: float = 1e-2
    mil: MilConfig = dataclasses.field(default_factory=MilConfig)


def fit_pool(
    part: PlantedPairs,
    config: PoolConfig,
    seed: int = 0,
    prototypes: Tensor | None = None,
    shuffle: bool = False,
) -> ContextPool | None:
    """The pool of a trial.

    Args:
        part: What it is fitted to.
        config: The pool.
        seed: Of the clusters.
        prototypes: As in `ContextPool.fit`.
        shuffle: Whether each video gets the concepts of another one, so that nothing is found.

    Returns:
        The pool; None with ``none``.
    """
    if config.intervention == "none":
        return None
    video, index = part.pairs.video, part.pairs.video_index
    concepts: list[set[int]] = [set() for _ in video]
    for place, row in zip(index.tolist(), part.pairs.concepts, strict=True):
        concepts[place] |= set(row.nonzero().flatten().tolist())
    if shuffle:
        order = np.random.default_rng(seed).permutation(len(concepts))
        concepts = [concepts[place] for place in order]
    pool = ContextPool(config, video.shape[2], part.pairs.concepts.shape[1])
    return pool.fit(list(video.numpy()), concepts, seed, prototypes)


def train_head(
    part: PlantedPairs, pool: ContextPool | None, config: TrialConfig, seed: int = 0
) -> ActivationHead:
    """Train a head; the same seed gives the same weights and batches whatever the pool is.

    Args:
        part: What it is trained on; no moment of it is read.
        pool: The pool, or None.
        config: How.
        seed: Of the weights, the batches and the hidden pieces.

    Returns:
        The head, in evaluation mode.
    """
    pairs = part.pairs
    torch.manual_seed(seed)
    sizes = (pairs.video.shape[2], pairs.queries.shape[1], config.hidden_dim)
    head = ActivationHead(*sizes, pool)
    optimizer = torch.optim.AdamW(head.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.lr, total_steps=config.num_steps
    )
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(config.num_steps):
        if len(order) < config.batch_size:
            order = torch.cat([order, torch.randperm(len(pairs.video), generator=generator)])
        chosen, order = order[: config.batch_size], order[config.batch_size :]
        losses = mil_losses(head, _batch(pairs, chosen), config.mil)
        optimizer.zero_grad()
        losses["total"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return head.eval()


def measure(
    world: PlantedWorld,
    head: ActivationHead,
    shuffle_labels: bool = False,
    combine: bool = False,
) -> dict[str, float]:
    """What a trained head does on the test parts.

    Args:
        world: The planted set.
        head: The head.
        shuffle_labels: Whether the moments of the labelled part are dealt to other sentences; only
            the threshold can change.
        combine: Whether activations are combinational maps, see `bpnet.weak.activation`.

    Returns:
        Percent by name: of each test part ``"iid accuracy"`` (share of videos whose sentence scores
        above those of the objects that it does not name), ``"iid pointing"``, ``"iid CPR"``,
        ``"iid mIoU"``, ``"iid frame AP"``, ``"iid MaxSegAcc"`` (the last three where the object is
        there); ``"AUROC"`` of ``iid`` against ``context_only``; and ``"threshold"``, chosen on the
        labelled part.
    """
    concepts = planted_concepts(world)
    labelled = planted_pairs(world, "val_labelled", concepts)
    activations, _, _ = _ask(head, labelled, combine)
    targets = labelled.targets
    if shuffle_labels:
        order = np.random.default_rng(world.seed).permutation(len(targets))
        targets = [targets[place] for place in order]
    threshold, _ = best_threshold(activations, targets)
    found: dict[str, float] = {"threshold": 100.0 * threshold}
    scores = {}
    for split in TEST_SPLITS:
        part = planted_pairs(world, split, concepts)
        activations, scores[split], right = _ask(head, part, combine)
        found[f"{split} accuracy"] = 100.0 * float(right.mean())
        points = pointing(activations, part.objects, part.contexts)
        found |= {f"{split} {name}": value for name, value in points.items()}
        if split == "context_only":
            continue
        segments = np.array([segment_at_peak(one, threshold) for one in activations])
        overlap = tiou(segments, np.concatenate(part.targets))
        accuracy = segment_accuracy(activations, part.targets, [threshold])
        found[f"{split} mIoU"] = 100.0 * float(overlap.mean())
        found[f"{split} MaxSegAcc"] = float(accuracy.mean())
        found[f"{split} frame AP"] = frame_average_precision(activations, part.targets)
    found["AUROC"] = 100.0 * auroc(scores["iid"], scores["context_only"])
    return found


@torch.no_grad()
def _ask(
    head: ActivationHead, part: PlantedPairs, combine: bool
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Activation and score of each sentence in its video, and whether it beats the others."""
    pairs = part.pairs
    rivals, named = _single_objects(pairs)
    rows = []
    for first in range(0, len(pairs.queries), CHUNK):
        index = slice(first, first + CHUNK)
        place = pairs.video_index[index]
        video, mask = pairs.video[place], pairs.video_mask[place]
        own = head(video, mask, pairs.queries[index], pairs.concepts[index])
        others = head(video[:, None], mask[:, None], rivals, named)
        mentioned = (pairs.concepts[index][:, None] & named).any(dim=2)
        best = others.scores.masked_fill(mentioned, -torch.inf).amax(dim=1)
        relevance = own.relevance
        if combine:
            rivals_scores = others.scores.masked_fill(mentioned, torch.inf)
            relevance = combinational(relevance, others.relevance, rivals_scores, NUM_LOWEST)
        rows.append((relevance, own.scores, own.scores > best))
    relevance, scores, right = (torch.cat(column).numpy() for column in zip(*rows, strict=True))
    return list(relevance), scores, right


def _single_objects(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """A sentence (E,) of each concept that is asked for alone, and its concepts (K,)."""
    alone = (pairs.concepts.sum(dim=1) == 1).nonzero().flatten()
    _, first = np.unique(pairs.concepts[alone].float().argmax(dim=1).numpy(), return_index=True)
    chosen = alone[torch.from_numpy(first)]
    return pairs.queries[chosen], pairs.concepts[chosen]


def _batch(pairs: Pairs, videos: Tensor) -> Pairs:
    """Some of the videos, with all their sentences."""
    place = torch.full((len(pairs.video),), -1)
    place[videos] = torch.arange(len(videos))
    asked = (place[pairs.video_index] >= 0).nonzero().flatten()
    return Pairs(
        pairs.video[videos],
        pairs.video_mask[videos],
        pairs.queries[asked],
        pairs.concepts[asked],
        place[pairs.video_index[asked]],
    )
