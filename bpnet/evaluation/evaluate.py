"""Model + data, or a file of predictions, -> metrics."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from bpnet.build import (
    build_from_checkpoint,
    build_query_features,
    build_store,
    plain,
)
from bpnet.checkpoint import Checkpoint
from bpnet.config import DataConfig, EvaluateConfig
from bpnet.data.annotations import read_annotations
from bpnet.data.collate import collate
from bpnet.data.dataset import MomentDataset, Samples
from bpnet.data.parts import opposite_parts
from bpnet.distributed import from_all, pick_rank_device
from bpnet.errors import ConfigError
from bpnet.evaluation.answers import Answer, AnsweredQueries
from bpnet.evaluation.bias import bias_results, part_rows
from bpnet.evaluation.calibrate import calibration_row, score_pairs
from bpnet.evaluation.calibration import Calibration
from bpnet.evaluation.ceiling import grid_ceiling
from bpnet.evaluation.matching import match_predictions
from bpnet.evaluation.metrics import localization_metrics
from bpnet.evaluation.parts import EvaluatedPart, read_evaluated_part, read_train_part
from bpnet.evaluation.prediction_files import read_predictions
from bpnet.evaluation.predictions import Prediction, read_output
from bpnet.evaluation.protocols import Protocol, protocol
from bpnet.evaluation.score import metric_rows, score, table_notes
from bpnet.evaluation.shift import ask_changed, shift_seconds
from bpnet.models.grounder import Grounder
from bpnet.ranks import ALONE, Ranks
from bpnet.settings import from_dict, replaced
from bpnet.types import Batch, Moment
from bpnet_features.atomic import write_text_atomically

log = logging.getLogger(__name__)


def predict(
    model: Grounder,
    dataset: Samples,
    *,
    batch_size: int,
    num_workers: int = 0,
    device: torch.device,
    progress: bool = False,
    calibration: Calibration | None = None,
    which: range | None = None,
) -> Iterator[Prediction]:
    """Answer every query of a dataset, in its order; none is dropped.

    Args:
        model: The network; it is put in evaluation mode and left in the mode it was in.
        dataset: The queries.
        batch_size: Pairs a step; changes no answer.
        num_workers: Processes that load data.
        device: Where the model is.
        progress: Whether to show a progress bar.
        calibration: What turns its scores into probabilities, or None.
        which: The queries to answer, where it is only some of them; may be empty.

    Yields:
        Prediction: One a query.
    """
    loader: DataLoader[Batch] = DataLoader(
        dataset,  # type: ignore[arg-type]  # collate turns samples into a batch
        batch_size=batch_size,
        sampler=which,
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
                yield from read_output(model(batch.to(device)), batch.samples, calibration)
    finally:
        model.train(was_training)


def share(count: int, ranks: Ranks) -> range:
    """The queries that a process answers: neighbours, since they are often about one video."""
    return range(count * ranks.rank // ranks.size, count * (ranks.rank + 1) // ranks.size)


def predict_all(
    model: Grounder,
    dataset: Samples,
    *,
    batch_size: int,
    num_workers: int = 0,
    device: torch.device,
    progress: bool = False,
    calibration: Calibration | None = None,
    ranks: Ranks = ALONE,
) -> list[Prediction]:
    """`predict`, shared out among the processes: each query is answered once, by one of them.

    Args:
        model: As there.
        dataset: As there.
        batch_size: As there.
        num_workers: As there.
        device: As there.
        progress: As there; only the first process shows it.
        calibration: As there.
        ranks: Who this process is.

    Returns:
        The predictions of all queries, in their order, in every process.
    """
    found = predict(
        model,
        dataset,
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
        progress=progress and ranks.first,
        calibration=calibration,
        which=share(len(dataset), ranks) if ranks.size > 1 else None,
    )
    return [prediction for part in from_all(list(found), ranks) for prediction in part]


def validation_metrics(predictions: Sequence[Prediction], rules: Protocol) -> dict[str, float]:
    """R@n,IoU=m and mIoU of stage two, in percent.

    Args:
        predictions: With their annotations.
        rules: The protocol.

    Returns:
        Percent by name.
    """
    targets = [one.annotation.moments for one in predictions if one.annotation is not None]
    return localization_metrics([_spans(one.moments) for one in predictions], targets, rules)


def evaluate(
    config: EvaluateConfig, ranks: Ranks = ALONE
) -> tuple[dict[str, Any], list[Prediction]]:
    """Evaluate, and write ``metrics.json`` and, of a checkpoint, ``predictions.jsonl``.

    Args:
        config: What to evaluate.
        ranks: Who this process is; of several each answers its share, and the first one writes.

    Returns:
        What ``metrics.json`` holds, and the predictions of the checkpoint.

    Raises:
        BPNetError: A file is missing, damaged, or does not fit the checkpoint or the annotations.
    """
    predictions: list[Prediction] = []
    if config.predictions is not None:
        results = _evaluate_file(config, config.predictions)
    else:
        results, predictions = _evaluate_checkpoint(config, ranks)
    if ranks.first:
        out = output_folder(config)
        out.mkdir(parents=True, exist_ok=True)
        if config.predictions is None:
            lines = [json.dumps(prediction.to_dict()) for prediction in predictions]
            write_text_atomically(out / "predictions.jsonl", "\n".join(lines) + "\n")
        write_text_atomically(out / "metrics.json", json.dumps(results, indent=1) + "\n")
    return results, predictions


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
        return [answer_of(prediction) for prediction in self.predictions]


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


def _evaluate_checkpoint(
    config: EvaluateConfig, ranks: Ranks
) -> tuple[dict[str, Any], list[Prediction]]:
    found = answer_part(config, ranks)
    part, dataset = found.part, found.dataset
    dropped = {} if part.num_dropped is None else {"annotations": part.num_dropped}
    notes = table_notes(found.rules, found.data.dataset, config.split)
    results = {
        "protocol": found.rules.name,
        "split": config.split,
        "num_queries": len(found.predictions),
        "num_dropped": {
            **dropped,
            "missing_features": dataset.num_dropped,
            "missing_query_features": dataset.num_dropped_queries,
        },
        **metric_rows(found.answers, dataset.annotations, part.train, found.rules),
        "ceiling": grid_ceiling(dataset, found.rules),
        "notes": notes if part.note is None else [*notes, part.note],
        "dataset": found.data.dataset,
        "feature_spec": plain(dataset.store.spec),
        "checkpoint": found.checkpoint.training,
        "num_stages": 2 if found.checkpoint.model.get("stage_two", True) else 1,
    }
    if config.calibration:
        results["calibration"] = _calibration(found)
    if config.bias:
        results["bias"] = _bias(config, found, ranks)
    return results, found.predictions


def _bias(config: EvaluateConfig, found: AnsweredPart, ranks: Ranks) -> dict[str, Any]:
    def ask(queries: Samples) -> AnsweredQueries:
        predictions = found.ask(queries)
        asked = [one.annotation for one in predictions if one.annotation is not None]
        return AnsweredQueries([answer_of(one) for one in predictions], asked)

    dataset = found.dataset
    seconds = config.shift_seconds or shift_seconds(found.data.dataset, dataset.annotations)
    as_it_is = AnsweredQueries(found.answers, dataset.annotations)
    parts = {config.split: as_it_is}
    for split in config.other_splits or opposite_parts(found.data.dataset, config.split):
        other = answer_part(dataclasses.replace(config, split=split), ranks)
        parts[split] = AnsweredQueries(other.answers, other.dataset.annotations)
    changes, notes = ask_changed(dataset, seconds, ask)
    results = bias_results(as_it_is, found.part.train, found.rules, config.confounders, changes)
    if len(parts) > 1:
        results["parts"] = part_rows(parts, found.part.train, found.rules)
    results["notes"] += notes
    return results


def _calibration(found: AnsweredPart) -> dict[str, Any] | None:
    pairs = score_pairs(found.predictions, found.dataset, found.ask)
    if pairs is None:
        log.warning("calibration=true: there is no other video to ask the queries about")
        return None
    return calibration_row(pairs, Calibration.from_dict(found.checkpoint.calibration))


def _evaluate_file(config: EvaluateConfig, path: str) -> dict[str, Any]:
    absent = [name for name in ("dataset", "annotations") if config.data.get(name) is None]
    if absent:
        given = " and ".join(f"data.{name}=..." for name in absent)
        raise ConfigError(f"predictions={path!r}: what are they about? Give {given}")
    dataset, folder = config.data["dataset"], config.data["annotations"]
    annotations, report = read_annotations(dataset, folder, config.split)
    log.info("%s", report.summary())
    found = read_predictions(path)
    log.info("%s: form %s (%s)", path, found.form, found.reason)
    train = read_train_part(dataset, folder, "train")
    missing = config.data.get("missing") or "error"
    results = score(found, annotations, train, config.protocol, dataset, config.split, missing)
    dropped = {"annotations": report.num_queries - report.num_kept_queries}
    results["num_dropped"] = dropped | results["num_dropped"]
    if config.bias:
        matched = match_predictions(found, annotations, missing)
        results["bias"] = bias_results(
            AnsweredQueries(matched.answers, matched.annotations),
            train,
            protocol(config.protocol, dataset),
            config.confounders,
        )
    return results


def output_folder(config: EvaluateConfig) -> Path:
    """Where an evaluation writes: ``out``, or ``eval_SPLIT`` beside what is evaluated."""
    if config.out is not None:
        return Path(config.out)
    evaluated = Path(config.checkpoint or config.predictions or "")
    folder = evaluated if evaluated.is_dir() else evaluated.parent
    return folder / f"eval_{config.split}"


def answer_of(prediction: Prediction) -> Answer:
    """What is scored of a prediction."""
    truth = prediction.annotation
    saliency = None
    if truth is not None and truth.saliency is not None:
        saliency = prediction.saliency(truth.saliency.clip_seconds)
    return Answer(
        moments=_spans(prediction.moments),
        scores=[moment.score for moment in prediction.moments],
        stage_one=_spans(prediction.stage_one),
        stage_one_scores=[moment.score for moment in prediction.stage_one],
        saliency=saliency,
    )


def _spans(moments: Sequence[Moment]) -> npt.NDArray[np.float64]:
    """Moments in seconds (n, 2)."""
    pairs = [(moment.start_seconds, moment.end_seconds) for moment in moments]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)
