"""A run without timestamps as an object: its data, its teachers, and what its students answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bpnet.build import build_from_checkpoint, build_query_features, build_store, sizes_for_training
from bpnet.checkpoint import Checkpoint
from bpnet.config import TrainConfig
from bpnet.data.dataset import MomentDataset
from bpnet.data.vocabulary import Vocabulary
from bpnet.device import pick_device
from bpnet.evaluation.metrics import localization_metrics
from bpnet.evaluation.predictions import Prediction
from bpnet.evaluation.protocols import VSLNET
from bpnet.settings import plain
from bpnet.training.repeatable import repeatable
from bpnet.training.run import known_words
from bpnet.training.state import deciding_settings
from bpnet.training.validation import answer
from bpnet.types import Annotation
from bpnet.weak.candidates import Floats
from bpnet.weak.labels import (
    Opinion,
    as_annotations,
    choose_extent,
    grids_of,
    pseudo_moments,
)
from bpnet.weak.pairs import QueryDataset, WeakParts, read_weak_parts
from bpnet.weak.pseudo import weights_of
from bpnet.weak.teach import AnyTeacher, ask, build_teacher, teach

log = logging.getLogger(__name__)

SHOWN = ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")


class WeakRun:
    """The data of a run, and what can be asked of them.

    Args:
        config: The run.
        run_dir: Its folder; it exists.

    Attributes:
        parts: What the run knows.
        pairs: The training sentences with their videos, without moments.
        validation: The labelled validation part, or None.
        device: Where to compute.

    Raises:
        BPNetError: A setting or a file is not what it must be.
    """

    def __init__(self, config: TrainConfig, run_dir: Path) -> None:
        self.config, self.run_dir = config, run_dir
        self.device = pick_device(config.trainer.device)
        self.parts: WeakParts = read_weak_parts(config)
        self._query_features = build_query_features(config.data)
        self._vocabulary, self._vectors = known_words(
            config,
            [query.query for query in self.parts.queries],
            [one.query for one in self.parts.validation],
            reads_words=self._query_features is None,
        )
        self._store = build_store(config.data)
        self.pairs = QueryDataset(self.parts.queries, self.dataset)
        self._grids = grids_of(self.pairs.dataset)
        self.validation = self.dataset(self.parts.validation) if self.parts.validation else None

    def dataset(
        self, part: Sequence[Annotation], vocabulary: Vocabulary | None = None
    ) -> MomentDataset:
        """A dataset of pairs.

        Args:
            part: The pairs.
            vocabulary: A student's, or None: the teachers'.

        Returns:
            The dataset.
        """
        data = self.config.data
        return MomentDataset(
            part,
            self._store,
            vocabulary or self._vocabulary,
            data.max_clips,
            data.missing,
            self._query_features,
        )

    def teacher(self, name: str) -> AnyTeacher:
        """A trained teacher: trained now, or as far as that is still to be done.

        Args:
            name: One of `bpnet.supervision_config.TEACHERS`.

        Returns:
            The teacher, in evaluation mode.
        """
        folder = self.run_dir / f"teacher_{name}"
        folder.mkdir(exist_ok=True)
        spec = None if self._query_features is None else self._query_features.spec
        sizes = sizes_for_training(
            self.config, self._vocabulary, self._vectors, self._store.spec, spec
        )
        teacher = build_teacher(
            name,
            self.config,
            sizes,
            self._vectors,
            self._vocabulary,
            [query.query for query in self.parts.queries],
        )
        with repeatable(self.device):
            teach(
                teacher,
                self.pairs,
                self.config,
                folder,
                device=self.device,
                settings=run_settings(self.config),
                digest=self.parts.files_digest,
            )
        return teacher

    def opinions(self, teacher: AnyTeacher) -> tuple[Opinion, Opinion]:
        """What a teacher says of the training and of the validation part.

        Args:
            teacher: The teacher, trained.

        Returns:
            Both; the second is of no pair where there is no such part.
        """
        hints = list(ask(teacher, self.pairs, self.config, self.device))
        known = []
        if self.validation is not None:
            known = list(ask(teacher, self.validation, self.config, self.device))
        extent = self.config.supervision.extent
        if extent is None:
            labelled = [
                hint
                for hint, query in zip(hints, self.pairs.queries, strict=True)
                if query.qid in self.parts.labelled
            ]
            extent = choose_extent([*known, *labelled], self._targets())
        return Opinion(hints, extent), Opinion(known, extent)

    def answers(self, student: Path, pairs: QueryDataset | MomentDataset) -> list[Prediction]:
        """What a student answers.

        Args:
            student: Folder of its run.
            pairs: The training or the validation part.

        Returns:
            A prediction a pair.
        """
        model, vocabulary = build_from_checkpoint(Checkpoint.load(student))
        asked: QueryDataset | MomentDataset
        if isinstance(pairs, QueryDataset):
            asked = QueryDataset(pairs.queries, lambda part: self.dataset(part, vocabulary))
        else:
            asked = self.dataset(pairs.annotations, vocabulary)
        return answer(model.to(self.device), asked, self.config.trainer, self.device)

    def labels(
        self, opinions: Sequence[Opinion], answers: list[Prediction] | None, left_out: float
    ) -> tuple[list[Annotation], dict[str, float]]:
        """What the next student is taught.

        Args:
            opinions: Of the teachers on the training part.
            answers: Of the student before it, or None.
            left_out: Share of the pairs of which it is taught no moment.

        Returns:
            The training pairs with pseudo moments, or with true ones where these are known, and
            their weights by qid.
        """
        most = self.config.supervision.another_moment
        found = pseudo_moments(opinions, answers, self._grids, most)
        pairs = as_annotations(self.pairs.dataset.annotations, found, self._grids)
        true = self.parts.labelled
        confidences = np.array(
            [
                1.0 if pair.qid in true else moments.confidence
                for pair, moments in zip(pairs, found, strict=True)
            ]
        )
        weights = weights_of(confidences, left_out)
        return (
            [true.get(pair.qid, pair) for pair in pairs],
            {pair.qid: float(weight) for pair, weight in zip(pairs, weights, strict=True)},
        )

    def quality(
        self, opinions: Sequence[Opinion], answers: list[Prediction] | None
    ) -> dict[str, float] | None:
        """How good pseudo moments of the labelled validation part are, made as the training part's.

        Args:
            opinions: Of the teachers on the validation part.
            answers: Of a student, or None.

        Returns:
            Metrics in percent, or None without such a part.
        """
        if self.validation is None:
            return None
        return span_metrics(opinions, answers, self.validation)

    def _targets(self) -> Floats:
        """Moments of the labelled pairs in clip positions (N, 2), the validation part's first."""
        rows = []
        if self.validation is not None:
            rows += list(zip(self.validation.annotations, grids_of(self.validation), strict=True))
        for query, grid in zip(self.pairs.queries, self._grids, strict=True):
            if query.qid in self.parts.labelled:
                rows.append((self.parts.labelled[query.qid], grid))
        spans = [grid.to_clips((one.start_seconds, one.end_seconds)) for one, grid in rows]
        return np.array(spans, dtype=np.float64).reshape(-1, 2)


def span_metrics(
    opinions: Sequence[Opinion], answers: list[Prediction] | None, pairs: MomentDataset
) -> dict[str, float]:
    """R@1,IoU=m and mIoU of pseudo moments, in percent.

    Args:
        opinions: Of the teachers on the pairs.
        answers: Of a student, or None.
        pairs: The pairs, with their true moments.

    Returns:
        Percent by name.
    """
    grids = grids_of(pairs)
    made = as_annotations(
        pairs.annotations, pseudo_moments(opinions, answers, grids, another_moment=1.0), grids
    )
    spans = [np.array(one.moments) for one in made]
    metrics = localization_metrics(
        spans, [one.moments for one in pairs.annotations], VSLNET, ranks=(1,)
    )
    return {name: metrics[name] for name in SHOWN}


def run_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide a run's numbers.

    Args:
        config: The run.

    Returns:
        Values by dotted name; lists for tuples, as JSON gives them back.
    """
    groups = deciding_settings(config)
    groups["supervision"] = plain(config.supervision)
    flat: dict[str, Any] = {}
    for group, values in groups.items():
        for name, value in values.items() if isinstance(values, dict) else [("", values)]:
            inner = value if isinstance(value, dict) else {"": value}
            for key, one in inner.items():
                dotted = ".".join(part for part in (group, name, key) if part)
                flat[dotted] = list(one) if isinstance(one, tuple) else one
    return flat
