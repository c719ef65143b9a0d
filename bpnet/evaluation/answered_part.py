"""Checkpoint + part of a dataset -> its answers to every query of the part."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from bpnet.build import build_from_checkpoint, build_query_features, build_store
from bpnet.checkpoint import Checkpoint
from bpnet.config import DataConfig, EvaluateConfig
from bpnet.data.dataset import MomentDataset, Samples
from bpnet.device import pick_rank_device
from bpnet.evaluation.answers import Answer
from bpnet.evaluation.calibration import Calibration
from bpnet.evaluation.parts import EvaluatedPart, read_evaluated_part
from bpnet.evaluation.predict import predict_all
from bpnet.evaluation.predictions import Prediction
from bpnet.evaluation.protocols import Protocol, protocol
from bpnet.ranks import ALONE, Ranks
from bpnet.settings import from_dict, replaced


@dataclasses.dataclass(frozen=True, eq=False)
class AnsweredPart:
    """What a checkpoint answers to a part.

    Attributes:
        checkpoint: The checkpoint.
        data: Its data settings, some of them replaced by those of the evaluation.
        rules: The protocol.
        part: What was asked.
        dataset: The queries that are left, with their features.
        predictions: One for each of them, in order.
        ask: Gives the checkpoint's answers to other queries, or about other videos.
    """

    checkpoint: Checkpoint
    data: DataConfig
    rules: Protocol
    part: EvaluatedPart
    dataset: MomentDataset
    predictions: list[Prediction]
    ask: Callable[[Samples], list[Prediction]]

    @property
    def answers(self) -> list[Answer]:
        """What is scored."""
        return [prediction.answer() for prediction in self.predictions]


def answer_part(config: EvaluateConfig, ranks: Ranks = ALONE) -> AnsweredPart:
    """Ask a checkpoint every query of a part.

    Args:
        config: What to evaluate; ``checkpoint`` is set.
        ranks: Who this process is; every process gets all answers.

    Returns:
        The answers.

    Raises:
        BPNetError: A file is missing, damaged, or does not fit the checkpoint or the annotations.
    """
    assert config.checkpoint is not None
    device = pick_rank_device(config.device, ranks)
    checkpoint = Checkpoint.load(Path(config.checkpoint))
    data = from_dict(DataConfig, replaced(checkpoint.data, config.data), "data")
    rules = protocol(config.protocol, data.dataset)
    part = read_evaluated_part(data, config.split, checkpoint.training)
    model, vocabulary = build_from_checkpoint(checkpoint)
    store = build_store(data, checkpoint.feature_spec)
    query_features = None
    if checkpoint.query_spec is not None:
        query_features = build_query_features(data, checkpoint.query_spec)
    max_clips = int(checkpoint.data["max_clips"])
    dataset = MomentDataset(
        part.annotations, store, vocabulary, max_clips, data.missing, query_features
    )
    calibration = Calibration.from_dict(checkpoint.calibration)
    model.to(device)

    def ask(queries: Samples) -> list[Prediction]:
        return predict_all(
            model,
            queries,
            batch_size=config.batch_size,
            num_workers=config.num_workers,
            device=device,
            progress=True,
            calibration=calibration,
            ranks=ranks,
        )

    return AnsweredPart(checkpoint, data, rules, part, dataset, ask(dataset), ask)
