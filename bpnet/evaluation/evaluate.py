"""Model + data -> predictions -> metrics."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from bpnet.build import build_from_checkpoint, build_store, pick_device, plain
from bpnet.checkpoint import Checkpoint
from bpnet.config import DataConfig, EvaluateConfig, from_dict
from bpnet.data.annotations import read_annotations
from bpnet.data.collate import collate
from bpnet.data.dataset import MomentDataset
from bpnet.errors import AnnotationError
from bpnet.evaluation.blind import blind_rows
from bpnet.evaluation.metrics import best_of_all, localization_metrics, oracle_recall
from bpnet.evaluation.predictions import Prediction, read_output
from bpnet.evaluation.protocols import Protocol, protocol
from bpnet.models.bpnet import BPNet
from bpnet.types import Annotation, Batch, Moment
from bpnet_features.atomic import write_text_atomically

log = logging.getLogger(__name__)


def predict(
    model: BPNet,
    dataset: MomentDataset,
    *,
    batch_size: int,
    num_workers: int = 0,
    device: torch.device,
    progress: bool = False,
) -> Iterator[Prediction]:
    """Answer every query of a dataset, in its order; none is dropped.

    Args:
        model: The network; it is put in evaluation mode and left in the mode it was in.
        dataset: The queries.
        batch_size: Pairs a step; changes no answer.
        num_workers: Processes that load data.
        device: Where the model is.
        progress: Whether to show a progress bar.

    Yields:
        Prediction: One a query.
    """
    loader: DataLoader[Batch] = DataLoader(
        dataset,  # type: ignore[arg-type]  # collate turns samples into a batch
        batch_size=batch_size,
        collate_fn=collate,
        num_workers=num_workers,
        # A generator of its own: drawing a seed for workers must not disturb dropout's.
        generator=torch.Generator(),
    )
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in tqdm(loader, desc="evaluate", disable=None if progress else True):
                yield from read_output(model(batch.to(device)), batch.samples)
    finally:
        model.train(was_training)


def validation_metrics(predictions: Sequence[Prediction], rules: Protocol) -> dict[str, float]:
    """R@n,IoU=m and mIoU of stage two, in percent.

    Args:
        predictions: With their annotations.
        rules: The protocol.

    Returns:
        Percent by name.
    """
    return localization_metrics(
        [_spans(p.moments) for p in predictions], _targets(predictions), rules
    )


def all_metrics(
    predictions: Sequence[Prediction], train: Sequence[Annotation] | None, rules: Protocol
) -> dict[str, Any]:
    """Every row that stands beside a result, as ``metrics.json`` holds them.

    Args:
        predictions: With their annotations.
        train: Training part, on which the blind rows are fitted; None: no such rows.
        rules: The protocol.

    Returns:
        ``metrics`` (stage two), ``stage_one`` (its most probable span as the answer),
        ``oracle_recall`` (best of the first k proposals) and the rows that see no video:
        ``blind`` (one constant interval, fitted for mIoU), ``blind_best`` (fitted for each column)
        and ``whole_video``.
    """
    targets = _targets(predictions)
    proposals = [_spans(p.stage_one) for p in predictions]
    rows: dict[str, Any] = {
        "metrics": validation_metrics(predictions, rules),
        "stage_one": localization_metrics(proposals, targets, rules),
        "oracle_recall": oracle_recall(proposals, targets, protocol=rules),
        "blind": None,
        "blind_best": None,
        "whole_video": None,
    }
    if train is not None:
        durations = [p.annotation.duration_seconds for p in predictions if p.annotation is not None]
        blind = blind_rows(train, targets, durations, rules)
        rows |= {
            "blind": blind["constant"],
            "blind_best": blind["constant_best"],
            "whole_video": blind["whole_video"],
        }
    return rows


def evaluate(config: EvaluateConfig) -> tuple[dict[str, Any], list[Prediction]]:
    """Evaluate a checkpoint and write ``metrics.json`` and ``predictions.jsonl``.

    Args:
        config: What to evaluate.

    Returns:
        What ``metrics.json`` holds, and the predictions.

    Raises:
        BPNetError: A file is missing, damaged, or does not fit the checkpoint.
    """
    rules = protocol(config.protocol)
    device = pick_device(config.device)
    checkpoint = Checkpoint.load(Path(config.checkpoint))
    changed = {key: value for key, value in config.data.items() if value is not None}
    data = from_dict(DataConfig, {**checkpoint.data, **changed}, "data")
    annotations, report = read_annotations(data.dataset, data.annotations, config.split)
    log.info("%s", report.summary())
    model, vocabulary = build_from_checkpoint(checkpoint)
    store = build_store(data, checkpoint.feature_spec)
    max_clips = int(checkpoint.data["max_clips"])
    dataset = MomentDataset(annotations, store, vocabulary, max_clips, data.missing)
    predictions = list(
        predict(
            model.to(device),
            dataset,
            batch_size=config.batch_size,
            num_workers=config.num_workers,
            device=device,
            progress=True,
        )
    )
    results = {
        "protocol": rules.name,
        "split": config.split,
        "num_queries": len(predictions),
        "num_dropped": {
            "annotations": report.num_pairs - report.num_kept,
            "missing_features": dataset.num_dropped,
        },
        **all_metrics(predictions, _train_part(data), rules),
        "dataset": data.dataset,
        "feature_spec": plain(store.spec),
        "checkpoint": checkpoint.training,
    }
    out = output_folder(config)
    out.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(prediction.to_dict()) for prediction in predictions]
    write_text_atomically(out / "predictions.jsonl", "\n".join(lines) + "\n")
    write_text_atomically(out / "metrics.json", json.dumps(results, indent=1) + "\n")
    return results, predictions


def output_folder(config: EvaluateConfig) -> Path:
    """Where an evaluation writes: ``out``, or ``eval_SPLIT`` beside the checkpoint."""
    if config.out is not None:
        return Path(config.out)
    checkpoint = Path(config.checkpoint)
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    return folder / f"eval_{config.split}"


def format_table(results: dict[str, Any]) -> str:
    """The rows of ``metrics.json`` as a table for the terminal.

    Args:
        results: What `evaluate` gave.

    Returns:
        Lines, without a final line break.
    """
    columns = list(results["metrics"])
    largest, oracle = best_of_all(results["oracle_recall"])
    rows = {
        "two stages": results["metrics"],
        "stage one alone": results["stage_one"],
        f"best of {largest} proposals": oracle,
        "constant interval": results["blind"],
        "  fitted a column": results["blind_best"],
        "whole video": results["whole_video"],
    }
    width = max(map(len, rows))
    lines = [
        f"protocol {results['protocol']}, split {results['split']}, "
        f"{results['num_queries']} queries, percent",
        " " * width + "".join(f"{name.replace(',IoU=', ' '):>9}" for name in columns),
    ]
    for name, row in rows.items():
        if row is not None:
            cells = (f"{row[column]:9.2f}" if column in row else f"{'':9}" for column in columns)
            lines.append(f"{name:<{width}}" + "".join(cells).rstrip())
    return "\n".join(lines)


def _train_part(data: DataConfig) -> list[Annotation] | None:
    try:
        return read_annotations(data.dataset, data.annotations, data.train_split)[0]
    except AnnotationError as err:
        log.warning("no blind rows, which are fitted on the training part: %s", err)
        return None


def _spans(moments: Sequence[Moment]) -> list[tuple[float, float]]:
    return [(moment.start_seconds, moment.end_seconds) for moment in moments]


def _targets(predictions: Sequence[Prediction]) -> list[tuple[float, float]]:
    truths = [prediction.annotation for prediction in predictions]
    return [(truth.start_seconds, truth.end_seconds) for truth in truths if truth is not None]
