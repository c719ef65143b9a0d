"""A model is asked about changed videos: seconds before them, noise in their place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from bpnet.data.dataset import MomentDataset, Samples
from bpnet.evaluation.answers import AnsweredQueries
from bpnet.evaluation.changed import Before, ChangedDataset, Filling, Instead, fillings
from bpnet.types import Annotation

# Seconds that are put before the videos of a dataset by DCM (Yang et al., SIGIR 2021).
_SECONDS = {
    "charades_sta": (10.0, 15.0),
    "charades_cd": (10.0, 15.0),
    "activitynet": (30.0, 60.0),
    "activitynet_cd": (30.0, 60.0),
    "didemo": (3.0, 6.0),
}
Ask = Callable[[Samples], AnsweredQueries]


@dataclasses.dataclass(frozen=True, eq=False)
class ChangedAnswers:
    """The same queries about changed videos.

    Attributes:
        name: What was changed.
        seconds: How much was put before the videos.
        found: The queries, in the same order.
    """

    name: str
    seconds: float
    found: AnsweredQueries


def shift_seconds(dataset: str, annotations: Sequence[Annotation]) -> tuple[float, ...]:
    """How much is put before the videos of a dataset, where nothing else is said.

    Args:
        dataset: Its name.
        annotations: The queries.

    Returns:
        Seconds: those of DCM; for other datasets a quarter and a half of the median video.
    """
    if dataset in _SECONDS:
        return _SECONDS[dataset]
    lengths = {one.video_id: one.duration_seconds for one in annotations}
    median = float(np.median(list(lengths.values())))
    return (max(0.1, round(median / 4, 1)), max(0.2, round(median / 2, 1)))


def ask_changed(
    dataset: MomentDataset, seconds: Sequence[float], ask: Ask
) -> tuple[list[ChangedAnswers], list[str]]:
    """Ask a model about changed videos.

    Args:
        dataset: The part as it is.
        seconds: How much is put before the videos, each > 0.
        ask: Gives the answers to the queries of a data set.

    Returns:
        The answers, and what to say of them.
    """
    noise, elsewhere = fillings(dataset)
    kinds: dict[str, Filling] = {"noise": noise}
    notes = []
    if elsewhere is not None:
        kinds["other videos"] = elsewhere
    else:
        notes.append(
            "nothing of other videos is put before the videos: fewer than two videos have clips at "
            "which no sentence points"
        )
    changes = []
    for amount in seconds:
        for kind, filling in kinds.items():
            change = Before(amount, filling)
            name = f"{amount:g} s of {kind} before"
            changes.append(ChangedAnswers(name, amount, ask(ChangedDataset(dataset, change))))
        notes += _coarser(dataset, change, amount)
    without = ask(ChangedDataset(dataset, Instead(noise)))
    return [*changes, ChangedAnswers("noise in place of the video", 0.0, without)], notes


def _coarser(dataset: MomentDataset, change: Before, seconds: float) -> list[str]:
    """Longer videos may be pooled to the model's positions, which costs precision by itself."""
    count = 0
    for one in dataset.annotations:
        grid = dataset.store.grid(one.video_id, one.duration_seconds)
        count += grid.num_clips + change.count(grid) > dataset.max_clips
    if not count:
        return []
    return [
        f"{seconds:g} s more: {count} of {len(dataset)} queries are about videos with more clips "
        f"than the model has positions ({dataset.max_clips}), which are pooled: a part of their "
        "difference is the coarser grid"
    ]
