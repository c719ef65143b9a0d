"""OpenedVideo: a video opened and encoded once, asked many times."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
import torch

from bpnet.errors import ConfigError
from bpnet.evaluation.predictions import Prediction
from bpnet.inference.encoded import EncodedVideo
from bpnet.inference.judge import Judge, Query, check_several
from bpnet.inference.windows import Window, merge
from bpnet.report import ReportAnswer, answer_of
from bpnet.report.answers import film_strip
from bpnet.types import Moment
from bpnet_features import ClipGrid

POSITIONS_AT_ONCE = 4096  # of all pairs of a query and a window: more no longer fit a CPU's cache

Progress: TypeAlias = Callable[[int, int], None]


class OpenedVideo:
    """One video with everything computed that does not depend on a query.

    Made by `Localizer.open_video`. Several threads may ask at once: asking changes nothing in it.

    Args:
        judge: The model.
        video: The encoded video.
        name: What reports call it.
        file: The video file, where it was opened from one.
    """

    def __init__(
        self, judge: Judge, video: EncodedVideo, name: str = "video", file: Path | None = None
    ) -> None:
        self._judge = judge
        self._video = video
        self._name = name
        self._file = file
        self._pairs_at_once = max(1, POSITIONS_AT_ONCE // video.num_positions)

    @property
    def grid(self) -> ClipGrid:
        """Where the stored clips lie in time."""
        return self._video.grid

    @property
    def windows(self) -> tuple[Window, ...]:
        """What is read at once; one window where the video is not too long for that."""
        return self._video.windows

    @property
    def duration_seconds(self) -> float:
        """Length of the video."""
        return self.grid.duration_seconds

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
            ConfigError: ``top`` is out of range, or the model does not read such queries.
        """
        check_wanted(top, min_score)
        if isinstance(queries, (str, np.ndarray)):
            return self.localize([queries], top, min_score, progress)[0]
        self._judge.check(queries)
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
            ConfigError: The model does not read such queries.
        """
        self._judge.check(queries)
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
        at_once = max(1, self._pairs_at_once // len(self._video.windows))
        for first in range(0, len(queries), at_once):
            yield self._predict(queries[first : first + at_once])

    def _predict(self, queries: Sequence[Query]) -> list[Prediction]:
        video, encoded = self._video, self._judge.encode(queries)
        answers: list[list[Prediction]] = [[] for _ in queries]
        at_once = max(1, self._pairs_at_once // len(queries))
        for first in range(0, len(video.windows), at_once):
            places = range(first, min(first + at_once, len(video.windows)))
            pairs = list(itertools.product(range(len(queries)), places))
            windows = torch.tensor([place for _, place in pairs], device=self._judge.device)
            shape = (len(pairs), video.num_positions)
            found = self._judge.answer(
                video.states.pick(windows),
                torch.ones(shape, dtype=torch.bool, device=self._judge.device),
                [video.grids[place] for _, place in pairs],
                encoded,
                [query for query, _ in pairs],
            )
            for (query, _), prediction in zip(pairs, found, strict=True):
                answers[query].append(prediction)
        if len(video.windows) == 1:
            return [answer for (answer,) in answers]
        return [merge(answer, video.windows, self._judge.nms) for answer in answers]


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
