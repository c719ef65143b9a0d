"""A checkpoint, or a file of predictions -> metrics, in files."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

from bpnet.config import EvaluateConfig
from bpnet.data.annotations import read_annotations
from bpnet.data.dataset import Samples
from bpnet.data.parts import opposite_parts
from bpnet.errors import ConfigError
from bpnet.evaluation.answered_part import AnsweredPart, answer_part
from bpnet.evaluation.answers import AnsweredQueries
from bpnet.evaluation.bias import bias_results, part_rows
from bpnet.evaluation.calibrate import calibration_row, score_pairs
from bpnet.evaluation.calibration import Calibration
from bpnet.evaluation.ceiling import grid_ceiling
from bpnet.evaluation.matching import match_predictions
from bpnet.evaluation.parts import read_train_part
from bpnet.evaluation.prediction_files import read_predictions
from bpnet.evaluation.predictions import Prediction
from bpnet.evaluation.protocols import protocol
from bpnet.evaluation.score import metric_rows, score, table_notes
from bpnet.evaluation.shift import ask_changed, shift_seconds
from bpnet.ranks import ALONE, Ranks
from bpnet.settings import plain
from bpnet_features.atomic import write_text_atomically

log = logging.getLogger(__name__)


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
        return AnsweredQueries([one.answer() for one in predictions], asked)

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
