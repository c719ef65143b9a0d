"""Records on the path of a query; each checks its parts once, and inner code trusts it.

Shape letters, project-wide:

======  =======================  ======  ======================
B       query-video pairs        D       hidden width
T       clips                    K       proposals a pair
L       query tokens             H       heads
C       stored feature width     W       characters of a token
N, M    free
======  =======================  ======  ======================

Masks are bool and True where an entry is real. Spans are half-open pairs [start, end) of
real-valued clip positions; moments are in seconds.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from bpnet.errors import AnnotationError, ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from bpnet_features import ClipGrid


@dataclasses.dataclass(frozen=True)
class Saliency:
    """How well some clips of a video fit its query, as people judged them (QVHighlights).

    Attributes:
        clip_ids: Indices of the judged clips (n), each ``clip_seconds`` long, from the beginning of
            the video; all others count as not relevant.
        scores: What each annotator gave to each clip (n, annotators): 0 (very bad) to 4 (very
            good).
        clip_seconds: Length of a clip.
    """

    clip_ids: tuple[int, ...]
    scores: tuple[tuple[int, ...], ...]
    clip_seconds: float = 2.0

    def __post_init__(self) -> None:
        same = len(self.clip_ids) == len(self.scores) > 0
        if not (same and len({len(scores) for scores in self.scores}) == 1):
            raise AnnotationError(
                f"saliency: {len(self.clip_ids)} clips and {len(self.scores)} rows of scores: "
                "expected as many rows as clips, at least one, all of one length"
            )


@dataclasses.dataclass(frozen=True)
class Annotation:
    """One sentence about one video, and the moment, or moments, that it describes.

    Attributes:
        qid: Id of the query, unique in its file.
        video_id: Id of the video.
        query: The sentence, not empty.
        start_seconds: Beginning of the moment, >= 0.
        end_seconds: End of the moment, > start_seconds and <= duration_seconds.
        duration_seconds: Length of the video.
        split: Name of the part that it belongs to, such as ``"train"``.
        other_moments: Further moments that the sentence describes, in seconds, within the video;
            only QVHighlights and files of its form have them.
        saliency: Scores of single clips, where the dataset has them.
    """

    qid: str
    video_id: str
    query: str
    start_seconds: float
    end_seconds: float
    duration_seconds: float
    split: str
    other_moments: tuple[tuple[float, float], ...] = ()
    saliency: Saliency | None = None

    def __post_init__(self) -> None:
        for start, end in self.moments:
            times = (start, end, self.duration_seconds)
            inside = 0 <= start < end <= self.duration_seconds
            if not (all(math.isfinite(time) for time in times) and inside):
                raise AnnotationError(
                    f"query {self.qid!r}: moment {start} to {end} s of a video of "
                    f"{self.duration_seconds} s: expected 0 <= start < end <= duration"
                )
        if not self.query.strip():
            raise AnnotationError(f"query {self.qid!r}: empty sentence")

    @property
    def moments(self) -> tuple[tuple[float, float], ...]:
        """All moments in seconds, the first one first."""
        return ((self.start_seconds, self.end_seconds), *self.other_moments)


@dataclasses.dataclass(frozen=True)
class Query:
    """One sentence about one video; where in it is not known.

    Attributes:
        qid: Id of the query, unique in its file.
        video_id: Id of the video.
        query: The sentence, not empty.
        duration_seconds: Length of the video.
        split: Name of the part that it belongs to.
    """

    qid: str
    video_id: str
    query: str
    duration_seconds: float
    split: str


@dataclasses.dataclass(frozen=True)
class Moment:
    """An answer: a piece of a video, and how well it fits the query.

    Attributes:
        start_seconds: Its beginning.
        end_seconds: Its end, > start_seconds.
        score: Matching score; higher is better, comparable within one query.
        probability: That its temporal IoU with the true moment is 0.5 or more, calibrated on the
            validation part; comparable between queries. None: the checkpoint has no calibration.
    """

    start_seconds: float
    end_seconds: float
    score: float
    probability: float | None = None

    def to_dict(self) -> dict[str, float]:
        """The moment as plain values; what is None is left out."""
        return {
            name: value for name, value in dataclasses.asdict(self).items() if value is not None
        }


@dataclasses.dataclass(frozen=True)
class FoundMoment:
    """A moment of one of many videos.

    Attributes:
        video_id: The video.
        moment: Where in it.
        similarity: Cosine of the query and of the piece of the video that is nearest to it.
    """

    video_id: str
    moment: Moment
    similarity: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "video_id": self.video_id,
            **self.moment.to_dict(),
            "similarity": self.similarity,
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One query with its video, as arrays.

    Attributes:
        video: Clip features (T, C) float32.
        grid: Where those clips lie in time.
        query_ids: Token ids (L,) int64, L >= 1; zeros where ``query_features`` are read instead.
        char_ids: Character ids (L, W) int64; W is 0 where the model reads no characters.
        annotation: Where the sample comes from; None when the truth is not known.
        target_span: The moment in clip positions (2,) float32, or None.
        target_cells: The nearest whole clips of every moment of the query (M, 2) int64, half-open,
            the target's first, or None.
        query_features: Precomputed token features (L, C') float32, or None: words are read.
        weight: How much its moment counts in training, >= 0; 1 where a person has marked it.
    """

    video: npt.NDArray[np.float32]
    grid: ClipGrid
    query_ids: npt.NDArray[np.int64]
    char_ids: npt.NDArray[np.int64]
    annotation: Annotation | None = None
    target_span: npt.NDArray[np.float32] | None = None
    target_cells: npt.NDArray[np.int64] | None = None
    query_features: npt.NDArray[np.float32] | None = None
    weight: float = 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Samples padded to common lengths; padded places are zero.

    Attributes:
        video: Clip features of the V videos that the pairs are about (V, T, C).
        clip_seconds: Where each of those clips begins and ends, from the beginning of the first one
            (V, T, 2).
        video_index: Each pair's video (B,) int64: neighbours about one video share it.
        video_mask: (B, T) bool.
        query_ids: Token ids (B, L) int64.
        char_ids: Character ids (B, L, W) int64.
        query_mask: (B, L) bool.
        query_features: Precomputed token features (B, L, C'), or None: words are read.
        target_spans: Moments in clip positions (B, 2), or None.
        target_cells: Nearest whole clips of every moment (B, M, 2) int64, half-open, the target's
            first, or None; queries with fewer moments repeat their first.
        weights: How much each pair's moment counts in training (B,), or None: all count 1.
        samples: The samples, in order.
    """

    video: Tensor
    clip_seconds: Tensor
    video_index: Tensor
    video_mask: Tensor
    query_ids: Tensor
    char_ids: Tensor
    query_mask: Tensor
    query_features: Tensor | None = None
    target_spans: Tensor | None = None
    target_cells: Tensor | None = None
    weights: Tensor | None = None
    samples: tuple[Sample, ...] = ()

    def __post_init__(self) -> None:
        size, num_tokens = self.query_ids.shape
        num_clips = self.video.shape[1]
        expected = {
            "clip_seconds": (len(self.video), num_clips, 2),
            "video_index": (size,),
            "video_mask": (size, num_clips),
            "query_ids": (size, num_tokens),
            "char_ids": (size, num_tokens, self.char_ids.shape[-1]),
            "query_mask": (size, num_tokens),
            "query_features": (size, num_tokens, *getattr(self.query_features, "shape", ())[2:]),
            "target_spans": (size, 2),
            "target_cells": (size, *getattr(self.target_cells, "shape", (0, 0, 0))[1:2], 2),
            "weights": (size,),
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            assert value is None or tuple(value.shape) == shape, (name, tuple(value.shape), shape)
        assert bool(self.video_mask[:, 0].all()) and bool(self.query_mask[:, 0].all())

    def clip_mask(self) -> Tensor:
        """Which clips of each video are real (V, T)."""
        mask = self.video_mask.new_zeros(self.video.shape[:2])
        return mask.index_copy_(0, self.video_index, self.video_mask)

    def to(self, device: Any) -> Batch:
        """The same batch on another device."""
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in dataclasses.fields(self)
            if hasattr(value := getattr(self, field.name), "to")
        }
        return dataclasses.replace(self, **moved)


@dataclasses.dataclass(frozen=True, eq=False)
class Proposals:
    """Candidate spans of stage one, best first.

    Attributes:
        spans: (B, K, 2) float, half-open clip positions, start < end where real.
        logits: (B, K) log of stage one's confidence, in (0, 1]: the probability of the span (of
            ``span``, P_start * P_end), or its expected IoU (``model.proposal_order``).
        mask: (B, K) bool; a short video has fewer than K spans.

    Raises:
        ConfigError: A pair has none, which happens where no probability is a number.
    """

    spans: Tensor
    logits: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        size, num_proposals = self.logits.shape
        assert tuple(self.spans.shape) == (size, num_proposals, 2), tuple(self.spans.shape)
        assert tuple(self.mask.shape) == (size, num_proposals), tuple(self.mask.shape)
        import torch  # here: whoever reads annotations alone does not pay for it

        if torch.compiler.is_compiling():
            return  # a graph that is being traced holds no values yet
        if not bool(self.mask[:, 0].all()):
            raise ConfigError(
                "the network's probabilities are not finite: lower optim.lr, or look for extreme "
                "values in the features; of a training run, the last good state is in its folder"
            )
