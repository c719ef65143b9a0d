"""Answers + annotations -> every row of ``metrics.json``; needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bpnet.errors import AnnotationError
from bpnet.evaluation.answers import Answer
from bpnet.evaluation.average_precision import mean_average_precision
from bpnet.evaluation.blind import blind_rows
from bpnet.evaluation.discounted import discounted_recall
from bpnet.evaluation.intervals import check_lengths
from bpnet.evaluation.matching import match_predictions
from bpnet.evaluation.metrics import localization_metrics, oracle_recall
from bpnet.evaluation.prediction_files import PredictionFile
from bpnet.evaluation.protocols import Protocol, part_note, protocol
from bpnet.evaluation.saliency import highlight_metrics
from bpnet.types import Annotation


def score(
    predictions: PredictionFile,
    annotations: Sequence[Annotation],
    train_annotations: Sequence[Annotation] | None,
    protocol_name: str,
    dataset: str,
    split: str,
    missing: str = "error",
) -> dict[str, Any]:
    """Score a file of predictions.

    Args:
        predictions: What `bpnet.evaluation.prediction_files.read_predictions` gave.
        annotations: The part that is evaluated.
        train_annotations: Training part, on which the blind rows are fitted; None: no such rows.
        protocol_name: As in `bpnet.evaluation.protocols.protocol`.
        dataset: As there.
        split: Name of the part.
        missing: As in `bpnet.evaluation.matching.match_predictions`.

    Returns:
        What ``metrics.json`` holds; ``predictions`` says what was read, and ``num_dropped`` how
        many queries had no answer, and how many answers no query.

    Raises:
        AnnotationError: The answers do not fit the annotations, or lack what the protocol needs.
        ConfigError: The protocol, the dataset or ``missing`` is unknown.
    """
    rules = protocol(protocol_name, dataset)
    matched = match_predictions(predictions, annotations, missing)
    return {
        "protocol": rules.name,
        "split": split,
        "num_queries": len(matched.answers),
        "num_dropped": {
            "missing_predictions": matched.num_missing,
            "unknown_predictions": matched.num_unknown,
        },
        **metric_rows(matched.answers, matched.annotations, train_annotations, rules),
        "notes": [*table_notes(rules, dataset, split), *predictions.notes],
        "dataset": dataset,
        "feature_spec": None,
        "checkpoint": None,
        "predictions": {
            "path": predictions.path,
            "form": predictions.form,
            "reason": predictions.reason,
            "matched_by": matched.by,
        },
    }


def table_notes(rules: Protocol, dataset: str, split: str) -> list[str]:
    """Sentences that stand below a table: how it counts, what its columns are, which part it is.

    Args:
        rules: The protocol.
        dataset: Name of the dataset.
        split: Name of the part.

    Returns:
        At least one.
    """
    note = part_note(rules.name, dataset, split)
    return rules.notes() if note is None else [*rules.notes(), note]


def metric_rows(
    answers: Sequence[Answer],
    annotations: Sequence[Annotation],
    train: Sequence[Annotation] | None,
    rules: Protocol,
) -> dict[str, Any]:
    """Every row that stands beside a result, as ``metrics.json`` holds them.

    Args:
        answers: One for each annotation.
        annotations: What was asked.
        train: Training part, on which the blind rows are fitted; None: no such rows.
        rules: The protocol.

    Returns:
        Percent by name in each row; a row that does not apply is None. ``metrics``: R@n,IoU=m and
        mIoU. ``discounted``: dR@n,IoU=m. ``average_precision``: where the protocol reports it, or
        a query has several targets. ``saliency``: where clips were judged and scored.
        ``stage_one`` (its most probable span as the answer) and ``oracle_recall`` (best of its
        first k), where there is such a stage. The rows that see no video: ``blind`` (one constant
        interval, fitted for mIoU), ``blind_best`` (fitted for each column) and ``whole_video``.

    Raises:
        AnnotationError: There are no queries, or answers are not what the metrics need.
    """
    check_lengths(answers=answers, annotations=annotations)
    targets = [one.moments for one in annotations]
    durations = [one.duration_seconds for one in annotations]
    moments = [one.moments for one in answers]
    scores = _all_or_none([one.scores for one in answers])
    several = any(len(one) > 1 for one in targets)
    rows: dict[str, Any] = {
        "metrics": localization_metrics(moments, targets, rules, scores=scores),
        "discounted": discounted_recall(moments, targets, durations, rules, scores=scores),
        "average_precision": None,
        "saliency": _saliency(answers, annotations),
        "stage_one": None,
        "oracle_recall": None,
        "blind": None,
        "blind_best": None,
        "whole_video": None,
    }
    if several or "mAP" in rules.reported:
        rows["average_precision"] = mean_average_precision(moments, targets, rules, scores)
    proposals = _all_or_none([one.stage_one for one in answers])
    if proposals is not None:
        joint = _all_or_none([one.stage_one_scores for one in answers])
        rows["stage_one"] = localization_metrics(proposals, targets, rules, scores=joint)
        rows["oracle_recall"] = oracle_recall(proposals, targets, protocol=rules)
    if train is not None:
        blind = blind_rows(train, targets, durations, rules)
        rows |= {
            "blind": blind["constant"],
            "blind_best": blind["constant_best"],
            "whole_video": blind["whole_video"],
        }
    return rows


def _all_or_none(values: list[npt.ArrayLike | None]) -> list[npt.ArrayLike] | None:
    """All of them, if none is missing."""
    there = [value for value in values if value is not None]
    return there if len(there) == len(values) else None


def _saliency(
    answers: Sequence[Answer], annotations: Sequence[Annotation]
) -> dict[str, float] | None:
    """The highlight metrics of all queries whose clips were judged."""
    if all(one.saliency is None for one in answers):
        return None
    truths, scores, durations, absent = [], [], [], []
    for answer, one in zip(answers, annotations, strict=True):
        if one.saliency is None:
            continue
        if answer.saliency is None:
            absent.append(one.qid)
            continue
        truths.append(one.saliency)
        scores.append(np.asarray(answer.saliency, np.float64))
        durations.append(one.duration_seconds)
    if absent:
        raise AnnotationError(
            f"query {absent[0]!r}: no scores of clips, while other queries have them "
            f"({len(absent)} have none): expected them for all"
        )
    return highlight_metrics(scores, truths, durations) if truths else None
