"""A model's answers to queries while it is trained, as the trainer is set up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from bpnet.config import TrainerConfig
from bpnet.data.dataset import Samples
from bpnet.evaluation.metrics import localization_metrics
from bpnet.evaluation.predict import predict_all
from bpnet.evaluation.predictions import Prediction
from bpnet.evaluation.protocols import Protocol
from bpnet.models.grounder import Grounder
from bpnet.ranks import ALONE, Ranks


@dataclasses.dataclass(frozen=True, eq=False)
class Validation:
    """How a model did on the validation part.

    Attributes:
        metrics: Percent by name.
        shown: Some of its answers, to be drawn.
    """

    metrics: dict[str, float]
    shown: Sequence[Prediction] = ()


def answer(
    model: Grounder,
    queries: Samples,
    config: TrainerConfig,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> list[Prediction]:
    """Answer every query of a dataset, in its order; of several processes each answers its share.

    Args:
        model: The network, on ``device``; it is left in the mode it was in.
        queries: The queries.
        config: Batch size and workers.
        device: Where to compute.
        ranks: Who this process is.

    Returns:
        One prediction a query, of all queries in every process.
    """
    return predict_all(
        model,
        queries,
        batch_size=config.eval_batch_size,
        num_workers=config.num_workers,
        device=device,
        ranks=ranks,
    )


def validation_metrics(predictions: Sequence[Prediction], rules: Protocol) -> dict[str, float]:
    """R@n,IoU=m and mIoU of stage two, in percent.

    Args:
        predictions: With their annotations.
        rules: The protocol.

    Returns:
        Percent by name.
    """
    targets = [one.annotation.moments for one in predictions if one.annotation is not None]
    return localization_metrics([one.answer().moments for one in predictions], targets, rules)
