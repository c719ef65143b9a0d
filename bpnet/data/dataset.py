"""Annotation + FeatureSource -> Sample."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from bpnet.data.vocabulary import Vocabulary
from bpnet.errors import AnnotationError, FeatureError, MissingVideoError
from bpnet.types import Annotation, Sample
from bpnet_features import ClipGrid, FeatureSource, QueryFeatureStore

log = logging.getLogger(__name__)


def fit_clips(
    clips: npt.NDArray[np.float32], grid: ClipGrid, max_clips: int
) -> tuple[npt.NDArray[np.float32], ClipGrid]:
    """Bring a video to at most ``max_clips`` positions; a shorter one stays as it is.

    Args:
        clips: Features (T, C).
        grid: Where they lie in time.
        max_clips: Largest number of positions.

    Returns:
        Features (min(T, max_clips), C), and their grid.
    """
    if len(clips) <= max_clips:
        return clips, grid
    pooled, coarse = grid.resample(clips, max_clips)
    return pooled.astype(np.float32, copy=False), coarse


def make_sample(
    clips: npt.NDArray[np.float32],
    grid: ClipGrid,
    query: str | npt.NDArray[np.float32],
    vocabulary: Vocabulary,
    annotation: Annotation | None = None,
) -> Sample:
    """One query with its video; the target is filled in where the truth is known.

    Args:
        clips: Features (T, C), already of the model's length.
        grid: Where they lie in time.
        query: The sentence, or its token features (L, C'), for a model that reads such.
        vocabulary: What the model knows of words.
        annotation: The truth, or None.

    Returns:
        The sample.

    Raises:
        AnnotationError: The query has no words.
    """
    features = None
    if isinstance(query, str):
        query_ids, char_ids = vocabulary.encode(query)
    else:
        features = query[: vocabulary.max_query_tokens]
        query_ids = np.zeros(len(features), dtype=np.int64)
        char_ids = np.zeros((len(features), 0), dtype=np.int64)
    if annotation is None:
        return Sample(clips, grid, query_ids, char_ids, query_features=features)
    moment = (annotation.start_seconds, annotation.end_seconds)
    span = grid.to_clips(moment).astype(np.float32)
    cells = np.array([grid.nearest_cells(*one) for one in annotation.moments], dtype=np.int64)
    if span[0] == span[1]:  # the features end before the moment: their last clip is nearest
        span = cells[0].astype(np.float32)
    return Sample(clips, grid, query_ids, char_ids, annotation, span, cells, features)


def one_a_moment(annotations: Sequence[Annotation]) -> list[Annotation]:
    """Make each moment of a query the first moment of a pair of its own, for training.

    Args:
        annotations: Queries with one or several moments.

    Returns:
        A pair for every moment, in order; the other moments of its query stay beside it.
    """
    return [
        dataclasses.replace(
            annotation,
            start_seconds=start,
            end_seconds=end,
            other_moments=annotation.moments[:place] + annotation.moments[place + 1 :],
        )
        for annotation in annotations
        for place, (start, end) in enumerate(annotation.moments)
    ]


class Samples(Protocol):
    """Samples by number, as a loader wants them."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def __getitem__(self, index: int, /) -> Sample:
        """One of them."""
        ...


class MomentDataset(Dataset[Sample]):
    """The samples of one split, read from disk when they are asked for.

    Args:
        annotations: The queries, with their moments.
        store: Features of their videos.
        vocabulary: What the model knows of words.
        max_clips: Longer videos are pooled to this many positions.
        missing: ``"error"``, or ``"drop"``: queries about videos without features, or without
            token features of their own, are left out, counted and logged.
        query_features: Token features of the queries, for a model that reads them; None: words.
        weights: How much the moments of some queries count in training, by qid; others count 1.

    Attributes:
        num_dropped: Queries that were left out for their videos.
        num_dropped_queries: Further queries that were left out for their token features.
        num_cut: Queries that are cut to the model's number of tokens.

    Raises:
        MissingVideoError: Videos are not in the store, and ``missing`` is ``"error"``.
        FeatureError: The same for token features.
        AnnotationError: Nothing is left.
    """

    def __init__(
        self,
        annotations: Sequence[Annotation],
        store: FeatureSource,
        vocabulary: Vocabulary,
        max_clips: int,
        missing: str = "error",
        query_features: QueryFeatureStore | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.store = store
        self.vocabulary = vocabulary
        self.max_clips = max_clips
        self.query_features = query_features
        self.weights = weights or {}
        self._last: tuple[str, npt.NDArray[np.float32], ClipGrid] | None = None
        videos = {a.video_id for a in annotations}
        absent = {video_id for video_id in videos if video_id not in store}
        if absent and missing == "error":
            raise MissingVideoError(
                f"{len(absent)} of the videos are not in {store.path}: {_first_five(absent)}; run "
                "`bpnet features check` to list all gaps, or set data.missing=drop"
            )
        found = [a for a in annotations if a.video_id not in absent]
        silent = set()
        if query_features is not None:
            silent = {a.qid for a in found if a.qid not in query_features}
        if silent and missing == "error":
            raise FeatureError(
                f"{len(silent)} of the queries are not in {query_features}: {_first_five(silent)}; "
                "compute their token features, or set data.missing=drop"
            )
        self.annotations = [a for a in found if a.qid not in silent]
        self.num_dropped = len(annotations) - len(found)
        self.num_dropped_queries = len(found) - len(self.annotations)
        if absent or silent:
            log.warning(
                "dropped %d of %d queries: %d videos and %d queries have no features "
                "(data.missing=drop)",
                self.num_dropped + self.num_dropped_queries,
                len(annotations),
                len(absent),
                len(silent),
            )
        if not self.annotations:
            raise AnnotationError(
                f"no query of {len(annotations)} is left (features: {store.path})"
            )
        limit = vocabulary.max_query_tokens
        self.num_cut = sum(self._num_tokens(a) > limit for a in self.annotations)
        if self.num_cut:
            log.warning(
                "cut %d of %d queries to %d tokens (data.max_query_tokens)",
                self.num_cut,
                len(self.annotations),
                limit,
            )

    def _num_tokens(self, annotation: Annotation) -> int:
        if self.query_features is not None:
            return self.query_features.num_tokens(annotation.qid)
        return len(self.vocabulary.tokens(annotation.query))

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int) -> Sample:
        annotation = self.annotations[index]
        clips, grid = self._read(annotation)
        query = self.query(annotation)
        sample = make_sample(clips, grid, query, self.vocabulary, annotation)
        weight = self.weights.get(annotation.qid, 1.0)
        return sample if weight == 1 else dataclasses.replace(sample, weight=weight)

    def query(self, annotation: Annotation) -> str | npt.NDArray[np.float32]:
        """What the model reads of a query: its sentence, or its token features (L, C')."""
        if self.query_features is None:
            return annotation.query
        return self.query_features.read(annotation.qid)

    def grid(self, annotation: Annotation) -> ClipGrid:
        """Where the positions of a query's video lie in time; features are not read."""
        grid = self.store.grid(annotation.video_id, annotation.duration_seconds)
        return grid if grid.num_clips <= self.max_clips else grid.coarsen(self.max_clips)

    def _read(self, annotation: Annotation) -> tuple[npt.NDArray[np.float32], ClipGrid]:
        """The video; the same array again where the sample before it was about the same video."""
        key = f"{annotation.duration_seconds} {annotation.video_id}"
        if self._last is None or self._last[0] != key:
            clips, grid = self.store.read(annotation.video_id, annotation.duration_seconds)
            self._last = (key, *fit_clips(clips, grid, self.max_clips))
        return self._last[1:]


def _first_five(names: Collection[str]) -> str:
    return ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
