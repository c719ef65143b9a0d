"""A part whose videos are changed: seconds put before them, or nothing left of them.

What is put there comes from the same features: noise with their mean and spread, or clips of other
videos at which no sentence points. The answers of a model that looks at the video move along with
it; those of a model that knows where moments mostly lie do not (Yang et al., *Deconfounded Video
Moment Retrieval with Causal Intervention*, SIGIR 2021, puts random features before videos).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from bpnet.data.dataset import MomentDataset, fit_clips, make_sample
from bpnet.types import Annotation, Sample
from bpnet_features import ClipGrid

Clips = npt.NDArray[np.float32]

MOST_VIDEOS = 64  # that fillings are taken from, spread over the part
MOST_CLIPS = 256  # of each of them


class Filling(Protocol):
    """Clips that are no part of a video."""

    def clips(self, video_id: str, count: int) -> Clips:
        """The clips for a video, the same ones each time (count, C)."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Noise:
    """Normal noise, each dimension with the mean and the spread that it has in the part.

    Attributes:
        mean: (C,).
        spread: Standard deviations (C,).
    """

    mean: Clips
    spread: Clips

    def clips(self, video_id: str, count: int) -> Clips:
        """See `Filling`."""
        drawn = _generator(video_id).standard_normal((count, len(self.mean)), dtype=np.float32)
        return drawn * self.spread + self.mean


@dataclasses.dataclass(frozen=True, eq=False)
class Elsewhere:
    """Clips of other videos of the part, at which no sentence of the part points.

    Attributes:
        pieces: Such clips by video, each (n >= 1, C); of two videos at least.
    """

    pieces: dict[str, Clips]

    def clips(self, video_id: str, count: int) -> Clips:
        """See `Filling`; a video with too few such clips begins again."""
        others = [name for name in self.pieces if name != video_id]
        piece = self.pieces[others[int(_generator(video_id).integers(len(others)))]]
        return piece[np.arange(count) % len(piece)]


@dataclasses.dataclass(frozen=True)
class Before:
    """Puts clips before a video; its moments move by as much.

    Attributes:
        seconds: How much, > 0; rounded to whole clips, of which there is one at least.
        filling: What.
    """

    seconds: float
    filling: Filling

    def count(self, grid: ClipGrid) -> int:
        """How many clips that is for a video."""
        return max(1, round(self.seconds / _stride(grid)))

    def __call__(
        self, clips: Clips, grid: ClipGrid, one: Annotation
    ) -> tuple[Clips, ClipGrid, Annotation]:
        """The changed video and query.

        Args:
            clips: Features (T, C).
            grid: Where they lie in time.
            one: The query.

        Returns:
            The same of the longer video.
        """
        count, stride = self.count(grid), _stride(grid)
        more = count * stride
        first = grid.edges_seconds[0] + stride * np.arange(count)
        edges = np.concatenate([first, grid.edges_seconds + more])
        longer = ClipGrid(edges, grid.duration_seconds + more)
        moved = [(start + more, end + more) for start, end in one.moments]
        return (
            np.concatenate([self.filling.clips(one.video_id, count), clips]),
            longer,
            dataclasses.replace(
                one,
                start_seconds=moved[0][0],
                end_seconds=moved[0][1],
                other_moments=tuple(moved[1:]),
                duration_seconds=one.duration_seconds + more,
                saliency=None,
            ),
        )


@dataclasses.dataclass(frozen=True)
class Instead:
    """Puts other clips in the place of all of a video, whose length stays as it is."""

    filling: Filling

    def __call__(
        self, clips: Clips, grid: ClipGrid, one: Annotation
    ) -> tuple[Clips, ClipGrid, Annotation]:
        """As `Before`."""
        return self.filling.clips(one.video_id, len(clips)), grid, one


class ChangedDataset(Dataset[Sample]):
    """The samples of a part whose videos are changed.

    Args:
        dataset: The part.
        change: What becomes of each video.
    """

    def __init__(self, dataset: MomentDataset, change: Before | Instead) -> None:
        self._dataset = dataset
        self._change = change
        self._last: tuple[str, Clips, ClipGrid] | None = None

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        one = self._dataset.annotations[index]
        clips, grid = self._dataset.store.read(one.video_id, one.duration_seconds)
        clips, grid, changed = self._change(clips, grid, one)
        # Pairs about one video share its array, as in the data set itself.
        key = f"{one.duration_seconds} {one.video_id}"
        if self._last is None or self._last[0] != key:
            self._last = (key, *fit_clips(clips, grid, self._dataset.max_clips))
        query = self._dataset.query(one)
        return make_sample(*self._last[1:], query, self._dataset.vocabulary, changed)


def fillings(dataset: MomentDataset) -> tuple[Noise, Elsewhere | None]:
    """What can be put before the videos of a part, taken from some of its videos.

    Args:
        dataset: The part.

    Returns:
        Noise, and clips at which no sentence points; None where fewer than two videos have such.
    """
    by_video: dict[str, list[Annotation]] = {}
    for one in dataset.annotations:
        by_video.setdefault(one.video_id, []).append(one)
    names = list(by_video)
    read, pieces = [], {}
    for name in names[:: max(1, len(names) // MOST_VIDEOS)][:MOST_VIDEOS]:
        asked = by_video[name]
        clips, grid = dataset.store.read(name, asked[0].duration_seconds)
        read.append(clips[:MOST_CLIPS].astype(np.float64))
        free = clips[_unasked(grid, asked)][:MOST_CLIPS]
        if len(free):
            pieces[name] = free
    every = np.concatenate(read)
    noise = Noise(every.mean(axis=0).astype(np.float32), every.std(axis=0).astype(np.float32))
    return noise, Elsewhere(pieces) if len(pieces) > 1 else None


def _unasked(grid: ClipGrid, asked: Sequence[Annotation]) -> npt.NDArray[np.bool_]:
    """Clips that no moment touches (T,)."""
    starts, ends = grid.edges_seconds[:-1], grid.edges_seconds[1:]
    free = np.ones(grid.num_clips, dtype=np.bool_)
    for one in asked:
        for start, end in one.moments:
            free &= (ends <= start) | (starts >= end)
    return free


def _stride(grid: ClipGrid) -> float:
    """Mean seconds of a clip."""
    return float(grid.edges_seconds[-1] - grid.edges_seconds[0]) / grid.num_clips


def _generator(video_id: str) -> np.random.Generator:
    digest = hashlib.sha256(video_id.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
