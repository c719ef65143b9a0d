"""What training without timestamps reads: sentences with their videos, and a few labelled ones."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from bpnet.config import TrainConfig
from bpnet.data.annotations import (
    carve_validation,
    read_annotations,
    read_labelled,
    read_queries,
)
from bpnet.data.dataset import MomentDataset
from bpnet.errors import AnnotationError
from bpnet.evaluation.parts import parts_digest
from bpnet.types import Annotation, Query, Sample

log = logging.getLogger(__name__)

LABELLED_SHARE = 0.05  # of the training videos: as many more may have moments, to choose by
MOST_LABELLED = 250  # videos


@dataclasses.dataclass(frozen=True, eq=False)
class WeakParts:
    """What a run without timestamps knows.

    Attributes:
        queries: The sentences of the training part, without moments.
        labelled: The moments of some of them, with ``mixed``; by qid.
        validation: The labelled validation part, by which settings are chosen; never learned from.
        files_digest: See `bpnet.training.run.TrainingParts`.
    """

    queries: list[Query]
    labelled: dict[str, Annotation]
    validation: list[Annotation]
    files_digest: str


def read_weak_parts(config: TrainConfig) -> WeakParts:
    """Read the sentences of the training part, and a validation part of the size that is allowed.

    Moments of the training part go as soon as they are read, but for those of the labelled videos
    of ``mixed``, and those of the videos that are carved out for validation.

    Args:
        config: The run.

    Returns:
        The parts.

    Raises:
        AnnotationError: A file is missing or not what it must be.
    """
    data, supervision = config.data, config.supervision
    queries = read_queries(data.dataset, data.annotations, data.train_split)
    num_videos = len({query.video_id for query in queries})
    marked: list[Annotation] = []
    validation: list[Annotation] = []
    carves = data.validation_split is None and data.validation_fraction > 0
    if carves or supervision.kind == "mixed":
        marked = read_labelled(data.dataset, data.annotations, data.train_split)
    if data.validation_split is not None:
        validation = read_annotations(data.dataset, data.annotations, data.validation_split)[0]
    elif carves and not marked:
        log.warning("no training sentence has a moment: no labelled validation part is carved out")
    elif carves:
        marked, validation = carve_validation(
            marked, data.validation_fraction, data.validation_seed
        )
        taken = {one.video_id for one in validation}
        queries = [query for query in queries if query.video_id not in taken]
    carved = carves and bool(validation)
    digest = parts_digest(marked, validation) if carved else _digest(queries, validation)
    allowed = min(max(int(LABELLED_SHARE * num_videos), 1), MOST_LABELLED)
    validation = some_videos(validation, allowed, data.validation_seed)
    labelled = {}
    if supervision.kind == "mixed":
        if not marked:
            raise AnnotationError(
                f"supervision=mixed: none of the {len(queries)} training sentences has a moment "
                f"(data.annotations={data.annotations!r}): expected those of some videos, or give "
                "supervision=weak"
            )
        videos = len({one.video_id for one in marked})
        most = max(round(supervision.labelled_fraction * videos), 1)
        kept = some_videos(marked, most, supervision.labelled_seed)
        labelled = {one.qid: one for one in kept}
    log.info(
        "%s supervision: %d training sentences about %d videos, %d of them with their moments; "
        "labelled validation: %d pairs about %d videos (at most %d)",
        supervision.kind,
        len(queries),
        len({query.video_id for query in queries}),
        len(labelled),
        len(validation),
        len({one.video_id for one in validation}),
        allowed,
    )
    return WeakParts(queries, labelled, validation, digest)


def some_videos(annotations: Sequence[Annotation], most: int, seed: int) -> list[Annotation]:
    """The pairs of a few videos, chosen by a hash of the seed and the video's id.

    Args:
        annotations: Pairs.
        most: Number of videos, >= 1.
        seed: Another seed chooses others.

    Returns:
        Pairs of that many videos, or of all where there are fewer, in order.
    """
    videos = {one.video_id for one in annotations}
    ranked = sorted(videos, key=lambda name: hashlib.sha256(f"{seed}|{name}".encode()).digest())
    chosen = set(ranked[:most])
    return [one for one in annotations if one.video_id in chosen]


def _digest(queries: Sequence[Query], validation: Sequence[Annotation]) -> str:
    sentences = json.dumps([dataclasses.astuple(query) for query in queries])
    return hashlib.sha256((sentences + parts_digest([], validation)).encode()).hexdigest()


MakeDataset = Callable[[list[Annotation]], MomentDataset]


class QueryDataset(Dataset[Sample]):
    """Sentences with their videos; a sample of it has neither annotation nor target.

    Args:
        queries: The sentences.
        make_dataset: Makes the dataset that reads videos and words.

    Attributes:
        queries: Those that are left, see `bpnet.data.dataset.MomentDataset`.
    """

    def __init__(self, queries: Sequence[Query], make_dataset: MakeDataset) -> None:
        # The reader knows pairs with moments: it gets the whole video as one, which goes again.
        whole = [
            Annotation(
                q.qid, q.video_id, q.query, 0.0, q.duration_seconds, q.duration_seconds, q.split
            )
            for q in queries
        ]
        self.dataset = make_dataset(whole)
        left: Collection[str] = {one.qid for one in self.dataset.annotations}
        self.queries = [query for query in queries if query.qid in left]

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        return dataclasses.replace(sample, annotation=None, target_span=None, target_cells=None)


class VideoClips(Sequence[npt.NDArray[np.float32]]):
    """The videos of some sentences, each once, read when they are asked for.

    Args:
        pairs: The sentences.

    Attributes:
        names: Their ids, in order.
    """

    def __init__(self, pairs: QueryDataset) -> None:
        self._pairs = pairs
        first: dict[str, int] = {}
        for place, query in enumerate(pairs.queries):
            first.setdefault(query.video_id, place)
        self._places = list(first.values())
        self.names = list(first)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: Any) -> Any:
        """Features (T, C) of a video; a list of them for a slice."""
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        # A store may map its file: torch takes only what it may write to.
        return np.require(self._pairs[self._places[place]].video, requirements="W")

    def where(self, place: int, clip: int) -> str:
        """A clip of a video in words: its id and seconds."""
        seconds = self._pairs[self._places[place]].grid.edges_seconds[clip]
        return f"{self.names[place]} {seconds:.1f} s"
