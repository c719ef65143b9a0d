"""The parts of a dataset that training and evaluation read; validation may be carved from train."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from bpnet.config import DataConfig
from bpnet.data.annotations import carve_validation, read_annotations
from bpnet.data.dataset import one_a_moment
from bpnet.errors import AnnotationError, ConfigError
from bpnet.types import Annotation

log = logging.getLogger(__name__)

VALIDATION = "validation"  # the part that a checkpoint was chosen on, whatever its dataset calls it


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluatedPart:
    """What a checkpoint is evaluated on.

    Attributes:
        annotations: The queries.
        train: The training part, for the rows that see no video; None: it cannot be read.
        num_dropped: Queries without a usable moment; None: they are not known by part, because the
            part was carved from another.
        note: A sentence that says which part it is, where its name does not; or None.
    """

    annotations: list[Annotation]
    train: list[Annotation] | None
    num_dropped: int | None
    note: str | None = None


def read_parts(data: DataConfig) -> tuple[list[Annotation], list[Annotation]]:
    """The training and the validation part; the second comes from the first, unless it is named.

    Args:
        data: Which dataset.

    Returns:
        Both parts; no video is in both unless the dataset's own parts share it.

    Raises:
        AnnotationError: A file is missing or not what it must be.
    """
    train_part, report = read_annotations(data.dataset, data.annotations, data.train_split)
    log.info("%s", report.summary())
    if data.validation_split is not None:
        validation, report = read_annotations(data.dataset, data.annotations, data.validation_split)
        log.info("%s", report.summary())
        return train_part, validation
    if data.validation_fraction == 0:
        return train_part, []
    return carve_validation(train_part, data.validation_fraction, data.validation_seed)


def parts_digest(
    train: Sequence[Annotation],
    validation: Sequence[Annotation],
    weights: Mapping[str, float] | None = None,
) -> str:
    """A SHA-256 of queries and moments, to know them again.

    Args:
        train: The training part.
        validation: The validation part.
        weights: How much the moments of some queries count, by qid.

    Returns:
        Hexadecimal digits.
    """
    rows: list[Any] = [
        dataclasses.astuple(annotation) for annotation in [*one_a_moment(train), *validation]
    ]
    if weights:
        rows.append(sorted(weights.items()))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def read_evaluated_part(data: DataConfig, split: str, training: Mapping[str, Any]) -> EvaluatedPart:
    """The part that a checkpoint is evaluated on.

    Args:
        data: The dataset, as the checkpoint was trained, or with some settings replaced.
        split: Name of the part as the dataset has it, or ``"validation"``: the part that the
            checkpoint was chosen on.
        training: What the checkpoint notes of its training.

    Returns:
        The part.

    Raises:
        AnnotationError: A file is missing or not what it must be, or has no such part.
        ConfigError: The checkpoint was chosen on no part, or it was carved from other annotations.
    """
    if split == VALIDATION and data.validation_split is None:
        return _carved(data, training)
    name = data.validation_split if split == VALIDATION else split
    assert name is not None
    annotations, report = read_annotations(data.dataset, data.annotations, name)
    log.info("%s", report.summary())
    note = None
    if split == VALIDATION:
        note = f"validation: {name!r} of the dataset, on which the checkpoint was chosen"
    return EvaluatedPart(
        annotations,
        read_train_part(data.dataset, data.annotations, data.train_split),
        report.num_queries - report.num_kept_queries,
        note,
    )


def read_train_part(dataset: str, folder: str, split: str) -> list[Annotation] | None:
    """The training part, for the rows that see no video.

    Args:
        dataset: Name of the dataset.
        folder: Its annotations.
        split: Name of the training part.

    Returns:
        The part; None, and a warning, where it cannot be read.
    """
    try:
        return read_annotations(dataset, folder, split)[0]
    except AnnotationError as err:
        log.warning("no blind rows, which are fitted on the training part: %s", err)
        return None


def _carved(data: DataConfig, training: Mapping[str, Any]) -> EvaluatedPart:
    """The validation part that was carved from the training part."""
    if data.validation_fraction == 0:
        raise ConfigError(
            "split='validation': the checkpoint was trained with data.validation_fraction=0 and "
            "data.validation_split=null, so it was chosen on no part: give a part of the dataset"
        )
    train, validation = read_parts(data)
    # Of other annotations, other videos might be chosen: some that the model was trained on.
    if training.get("annotations_sha256") != parts_digest(train, validation):
        raise ConfigError(
            f"split='validation': data.annotations={data.annotations!r} holds other queries or "
            "moments than the checkpoint was trained with, so the videos that were carved out of "
            "them cannot be found again: give the same annotations, or a part of the dataset"
        )
    videos = len({one.video_id for one in validation})
    return EvaluatedPart(
        validation,
        train,
        None,
        f"validation: {videos} videos carved from {data.train_split!r} "
        f"(data.validation_fraction={data.validation_fraction:g}, seed {data.validation_seed}), on "
        "which the checkpoint was chosen",
    )
