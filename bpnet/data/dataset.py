"""Annotation + FeatureStore -> Sample."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from bpnet.data.vocabulary import Vocabulary
from bpnet.errors import AnnotationError, MissingVideoError
from bpnet.types import Annotation, Sample
from bpnet_features import ClipGrid, FeatureStore

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
    query: str,
    vocabulary: Vocabulary,
    annotation: Annotation | None = None,
) -> Sample:
    """One query with its video; the target is filled in where the truth is known.

    Args:
        clips: Features (T, C), already of the model's length.
        grid: Where they lie in time.
        query: The sentence.
        vocabulary: What the model knows of words.
        annotation: The truth, or None.

    Returns:
        The sample.

    Raises:
        AnnotationError: The query has no words.
    """
    query_ids, char_ids = vocabulary.encode(query)
    if annotation is None:
        return Sample(clips, grid, query_ids, char_ids)
    moment = (annotation.start_seconds, annotation.end_seconds)
    span = grid.to_clips(moment).astype(np.float32)
    cells = np.array(grid.nearest_cells(*moment), dtype=np.int64)
    return Sample(clips, grid, query_ids, char_ids, annotation, span, cells)


class MomentDataset(Dataset[Sample]):
    """The samples of one split, read from disk when they are asked for.

    Args:
        annotations: The queries, with their moments.
        store: Features of their videos.
        vocabulary: What the model knows of words.
        max_clips: Longer videos are pooled to this many positions.
        missing: ``"error"``, or ``"drop"``: queries about videos without features are left out,
            counted in ``num_dropped`` and logged.

    Raises:
        MissingVideoError: Videos are not in the store, and ``missing`` is ``"error"``.
        AnnotationError: Nothing is left.
    """

    def __init__(
        self,
        annotations: Sequence[Annotation],
        store: FeatureStore,
        vocabulary: Vocabulary,
        max_clips: int,
        missing: str = "error",
    ) -> None:
        self.store = store
        self.vocabulary = vocabulary
        self.max_clips = max_clips
        absent = {a.video_id for a in annotations}
        absent = {video_id for video_id in absent if video_id not in store}
        if absent and missing == "error":
            first = ", ".join(sorted(absent)[:5]) + (", ..." if len(absent) > 5 else "")
            raise MissingVideoError(
                f"{len(absent)} of the videos are not in {store.path}: {first}; run "
                "`bpnet features check` to list all gaps, or set data.missing=drop"
            )
        self.annotations = [a for a in annotations if a.video_id not in absent]
        self.num_dropped = len(annotations) - len(self.annotations)
        if self.num_dropped:
            log.warning(
                "dropped %d of %d queries: %d videos have no features (data.missing=drop)",
                self.num_dropped,
                len(annotations),
                len(absent),
            )
        if not self.annotations:
            raise AnnotationError(
                f"no query of {len(annotations)} is left (features: {store.path})"
            )
        limit = vocabulary.max_query_tokens
        self.num_cut = sum(len(vocabulary.tokens(a.query)) > limit for a in self.annotations)
        if self.num_cut:
            log.warning(
                "cut %d of %d queries to %d tokens (data.max_query_tokens)",
                self.num_cut,
                len(self.annotations),
                limit,
            )

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int) -> Sample:
        annotation = self.annotations[index]
        clips, grid = self.store.read(annotation.video_id, annotation.duration_seconds)
        clips, grid = fit_clips(clips, grid, self.max_clips)
        return make_sample(clips, grid, annotation.query, self.vocabulary, annotation)
