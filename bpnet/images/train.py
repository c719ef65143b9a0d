"""Pictures and their class names -> an image model; no box is read."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bpnet.contexts.pool_config import PoolConfig
from bpnet.errors import AnnotationError
from bpnet.images.context import TrainingContext, context_lines, fit_context
from bpnet.images.heads import AdjustedHead, CausalHead, MapOutput
from bpnet.images.model import ImageModel
from bpnet.images.network import ImageNetwork, build_network
from bpnet.images.settings import ImageConfig

log = logging.getLogger(__name__)

_AT_ONCE = 256  # pictures whose features are computed together


def train_images(
    pictures: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    config: ImageConfig,
    pool: PoolConfig | None = None,
) -> ImageModel:
    """Train on the CPU.

    Args:
        pictures: (N, 3, S, S) uint8.
        labels: Their classes (N,) int64.
        classes: Names of the classes, two at least.
        config: How to train.
        pool: How contexts are found, where the config asks for that; None: as by default, with
            64 prototypes.

    Returns:
        The model; its threshold is not fitted.

    Raises:
        AnnotationError: There are fewer than two classes or fewer than two pictures.
    """
    if len(classes) < 2 or len(pictures) < 2:
        raise AnnotationError(
            f"{len(pictures)} pictures of {len(classes)} classes: expected two classes at least: "
            "where all pictures show the same, their names say nothing of where it is"
        )
    context = None
    if config.intervention in ("backdoor", "stratified"):
        first = dataclasses.replace(config, intervention="none", epochs=config.first_epochs)
        fixed = _train(pictures, labels, len(classes), first, None)
        wanted = pool or PoolConfig(num_prototypes=64)
        wanted = dataclasses.replace(wanted, intervention=config.intervention)
        features = _features(fixed, pictures)
        context = fit_context(wanted, features, labels, len(classes), config.seed)
        for line in context_lines(context, classes):
            log.info("%s", line)
    network = _train(pictures, labels, len(classes), config, context)
    return ImageModel(network, classes, config)


def _train(
    pictures: Tensor,
    labels: Tensor,
    num_classes: int,
    config: ImageConfig,
    context: TrainingContext | None,
) -> ImageNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = build_network(config, num_classes, 0 if context is None else len(context.prior))
    contexts: Tensor | None = None
    if context is not None and isinstance(network.head, AdjustedHead):
        network.head.prior.copy_(context.prior)
        network.head.told.copy_(context.told)
        contexts = context.contexts
    order = torch.Generator().manual_seed(config.seed)
    size = min(config.batch_size, len(pictures))
    steps = config.epochs * (len(pictures) // size)
    optimiser = torch.optim.Adam(network.parameters(), config.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, steps)
    network.train()
    for epoch in range(config.epochs):
        total = torch.zeros(())
        shuffled = torch.randperm(len(pictures), generator=order)
        # An incomplete batch would be too small for batch norm; other pictures fall out each time.
        for first in range(0, len(pictures) - size + 1, size):
            batch = shuffled[first : first + size]
            seen = None if contexts is None else contexts[batch]
            output = network(pictures[batch].float() / 255, seen)
            loss = _loss(output, labels[batch], None if context is None else context.weights[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            if isinstance(network.head, CausalHead):
                network.head.update(output, labels[batch])
            total += loss.detach()
        log.info("epoch %d: loss %.4f", epoch + 1, size * total / len(pictures))
    return network.eval()


def _loss(output: MapOutput, labels: Tensor, weights: Tensor | None) -> Tensor:
    losses = F.cross_entropy(output.scores, labels, reduction="none")
    loss = losses.mean() if weights is None else (weights * losses).mean()
    if output.plain_scores is not None:
        loss = loss + F.cross_entropy(output.plain_scores, labels)
    return loss


@torch.inference_mode()
def _features(network: ImageNetwork, pictures: Tensor) -> Tensor:
    """Features of a network that stays as it is (N, H, W, C)."""
    parts = range(0, len(pictures), _AT_ONCE)
    return torch.cat(
        [network.backbone(pictures[first : first + _AT_ONCE].float() / 255) for first in parts]
    )
