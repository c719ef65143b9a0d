"""Metrics of an exported file beside those of its checkpoint, by the same evaluation code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
from torch.utils.data import DataLoader

from bpnet.config import EvaluateConfig
from bpnet.data.collate import collate
from bpnet.data.dataset import MomentDataset
from bpnet.evaluation.answered_part import answer_part
from bpnet.evaluation.answers import Answer
from bpnet.evaluation.score import metric_rows
from bpnet.export.check import Answerer, inputs_of
from bpnet.export.program import Signature
from bpnet.types import Batch

COLUMNS = ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Metrics on one part.

    Attributes:
        protocol: Name of the rules.
        dataset: Name of the dataset.
        split: Name of the part.
        num_queries: Queries that were asked.
        rows: Percent by metric, for each of those that were asked.
    """

    protocol: str
    dataset: str
    split: str
    num_queries: int
    rows: dict[str, dict[str, float]]


def accuracy(
    config: EvaluateConfig, files: Mapping[str, Answerer], signature: Signature
) -> Accuracy:
    """Score the checkpoint of an evaluation, and exported files of it.

    Args:
        config: The evaluation.
        files: The files, by the name of their row.
        signature: What they read.

    Returns:
        The metrics, of the checkpoint first.

    Raises:
        BPNetError: A file is missing, damaged, or does not fit the checkpoint or the annotations.
    """
    found = answer_part(config)
    dataset = found.dataset
    answered = {"checkpoint": found.answers}
    for name, file in files.items():
        answered[name] = list(_answers(file, dataset, signature, config.batch_size))
    rows = {
        name: metric_rows(answers, dataset.annotations, None, found.rules)["metrics"]
        for name, answers in answered.items()
    }
    return Accuracy(
        found.rules.name, found.data.dataset, config.split, len(dataset.annotations), rows
    )


def _answers(
    file: Answerer, dataset: MomentDataset, signature: Signature, batch_size: int
) -> Iterator[Answer]:
    loader: DataLoader[Batch] = DataLoader(
        dataset,  # type: ignore[arg-type]  # collate turns samples into a batch
        batch_size=batch_size,
        collate_fn=collate,
    )
    for batch in loader:
        spans, scores = file(inputs_of(batch, signature))
        ranks = np.argsort(-scores, axis=1, kind="stable")
        for row, sample in enumerate(batch.samples):
            order = ranks[row, : int((scores[row] >= 0).sum())]
            yield Answer(sample.grid.to_seconds(spans[row])[order], scores[row][order])
