"""OpenedVideo: a video opened and encoded once, asked many times."""

from __future__ import annotations

import itertools
import math
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np

from bpnet.errors import ConfigError
from bpnet.evaluation.predictions import Prediction
from bpnet.inference.judge import Query, check_several
from bpnet.inference.kept_videos import Held, KeptVideos
from bpnet.inference.windows import Window, merge
from bpnet.report import ReportAnswer, answer_of
from bpnet.report.answers import film_strip
from bpnet.types import Moment
from bpnet_features import ClipGrid

# Positions of all pairs of a query and a window that are judged together: more no longer fit a
# CPU's cache, and where pairs read one video from where it is kept, more make up for that.
POSITIONS_AT_ONCE, SHARED_AT_ONCE = 4096, 16384

Progress: TypeAlias = Callable[[int, int], None]
SecondsProgress: TypeAlias = Callable[[float, float], object]


class OpenedVideo:
    """One video with everything computed that does not depend on a query.

    Made by `Localizer.open_video`. Several threads may ask at once: asking changes nothing in it.

    Args:
        kept: Keeps what is computed of it.
        held: What that is.
        name: What reports call it.
        file: The video file, where it was opened from one.
    """

    def __init__(
        self, kept: KeptVideos, held: Held, name: str = "video", file: Path | None = None
    ) -> None:
        self._kept = kept
        self._held = held
        self._name = name
        self._file = file
        # Nobody has to close it: what is held goes with the last reference.
        self._release = weakref.finalize(self, kept.let_go, held)
        self._release.atexit = False

    @property
    def held(self) -> Held:
        """What is held of it.

        Raises:
            ConfigError: It is closed.
        """
        if not self._release.alive:
            raise ConfigError("the video is closed: open it again")
        return self._held

    @property
    def grid(self) -> ClipGrid:
        """Where the stored clips lie in time."""
        return self._held.grid

    @property
    def windows(self) -> tuple[Window, ...]:
        """What is read at once; one window where the video is not too long for that."""
        return self._held.windows

    @property
    def duration_seconds(self) -> float:
        """Length of the video."""
        return self.grid.duration_seconds

    def close(self) -> None:
        """Let it go: its room may be taken by other videos. It cannot be asked any more."""
        self._release()

    # A str is a sequence of str as well; it is taken for one sentence, as the first line says.
    @overload
    def localize(  # type: ignore[overload-overlap]
        self,
        queries: Query,
        top: int = 5,
        min_score: float = 0.0,
        progress: Progress | None = None,
    ) -> list[Moment]: ...

    @overload
    def localize(
        self,
        queries: Sequence[Query],
        top: int = 5,
        min_score: float = 0.0,
        progress: Progress | None = None,
    ) -> list[list[Moment]]: ...

    def localize(
        self,
        queries: Query | Sequence[Query],
        top: int = 5,
        min_score: float = 0.0,
        progress: Progress | None = None,
    ) -> list[Moment] | list[list[Moment]]:
        """Find what sentences describe.

        Args:
            queries: A sentence, or several. For a model that reads token features, an array
                (L, C'), or several.
            top: Largest number of moments a sentence, >= 1.
            min_score: Moments with a lower score are left out; `Localizer.least_score` is the one
                from which a sentence is probably about the video at all.
            progress: Told, now and then, how many sentences are answered, and of how many. What it
                raises ends the work, and comes back to the caller.

        Returns:
            For a sentence its moments, best first, none where no score is high enough; for several
            a list of such lists.

        Raises:
            AnnotationError: A query has no words.
            ConfigError: ``top`` is out of range, the model does not read such queries or its
                weights have changed, or the video is closed.
            CacheFullError: Opened videos leave no room for what is kept of queries.
        """
        check_wanted(top, min_score)
        if isinstance(queries, (str, np.ndarray)):
            return self.localize([queries], top, min_score, progress)[0]
        self._kept.judge.check(queries)
        answers: list[list[Moment]] = []
        for group in self._predicted(queries):
            for prediction in group:
                best = prediction.moments[:top]
                answers.append([moment for moment in best if moment.score >= min_score])
            if progress is not None:
                progress(len(answers), len(queries))
        return answers

    def predict(self, queries: Sequence[Query]) -> list[Prediction]:
        """The answers of both stages, with the boundary probabilities.

        Args:
            queries: Sentences, or arrays of token features (L, C').

        Returns:
            One prediction a query.

        Raises:
            AnnotationError: A query has no words.
            ConfigError: The model does not read such queries or its weights have changed, or the
                video is closed.
            CacheFullError: Opened videos leave no room for what is kept of queries.
        """
        self._kept.judge.check(queries)
        return [prediction for group in self._predicted(queries) for prediction in group]

    def draw(
        self,
        queries: Sequence[str],
        top: int = 5,
        min_score: float = 0.0,
        *,
        video: str | os.PathLike[str] | None = None,
    ) -> list[ReportAnswer]:
        """Find what sentences describe, for a page (`bpnet.report.write_report`) or a figure.

        Args:
            queries: Several sentences.
            top: Largest number of moments that are answers; the others are drawn as candidates.
            min_score: Score that an answer must have.
            video: The video file, for frames and the player, where features were opened; None: the
                file that was opened, if one was.

        Returns:
            What is drawn of each sentence.

        Raises:
            AnnotationError: A query has no words.
            ConfigError: ``top`` is out of range, or Pillow is not installed.
            FeatureError: The video file cannot be read.
        """
        check_wanted(top, min_score)
        check_several(queries)
        file = self._file if video is None else Path(video)
        duration = self.duration_seconds
        frames = [] if file is None else film_strip(file, duration)
        return [
            answer_of(
                prediction,
                query,
                self._name,
                duration,
                file,
                top=top,
                min_score=min_score,
                frames=frames,
            )
            for prediction, query in zip(self.predict(queries), queries, strict=True)
        ]

    def _predicted(self, queries: Sequence[Query]) -> Iterator[list[Prediction]]:
        """The answers to some queries at a time, so that who needs less can drop the rest."""
        at_once = max(1, self._pairs_at_once() // len(self.windows))
        for first in range(0, len(queries), at_once):
            yield self._predict(queries[first : first + at_once])

    def _pairs_at_once(self) -> int:
        most = SHARED_AT_ONCE if self._kept.shares else POSITIONS_AT_ONCE
        return max(1, most // self._held.grids[0].num_clips)

    def _predict(self, queries: Sequence[Query]) -> list[Prediction]:
        held = self.held
        answers: list[list[Prediction]] = [[] for _ in queries]
        at_once = max(1, self._pairs_at_once() // len(queries))
        with self._kept.asking(held) as judge:
            encoded = judge.encode(queries)
            for first in range(0, len(held.windows), at_once):
                places = range(first, min(first + at_once, len(held.windows)))
                pairs = list(itertools.product(range(len(queries)), places))
                which = [query for query, _ in pairs]
                windows = [place for _, place in pairs]
                found = judge.answer_kept(
                    self._kept.pairs(held, encoded, which, windows),
                    [held.grids[place] for place in windows],
                    encoded,
                    which,
                )
                for query, prediction in zip(which, found, strict=True):
                    answers[query].append(prediction)
        if len(held.windows) == 1:
            return [answer for (answer,) in answers]
        return [merge(answer, held.windows, judge.nms) for answer in answers]


def check_wanted(top: int, min_score: float) -> None:
    """Refuse impossible wishes.

    Args:
        top: Largest number of moments, >= 1.
        min_score: Least score, a number.

    Raises:
        ConfigError: One of them is not what it must be.
    """
    if top < 1:
        raise ConfigError(f"top={top}: expected an integer >= 1")
    if math.isnan(min_score):
        raise ConfigError("min_score=nan: expected a number, such as Localizer.least_score")
