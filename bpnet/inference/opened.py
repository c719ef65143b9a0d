"""OpenedVideo: a video opened and encoded once, asked many times."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, overload

import numpy as np
import numpy.typing as npt
import torch

from bpnet.data.collate import collate
from bpnet.data.dataset import fit_clips, make_sample
from bpnet.data.vocabulary import Vocabulary
from bpnet.errors import ConfigError
from bpnet.evaluation.calibration import Calibration
from bpnet.evaluation.predictions import Prediction, read_output
from bpnet.inference.windows import cut, merge
from bpnet.models.bpnet import BPNet
from bpnet.models.encoder import joined
from bpnet.types import Moment
from bpnet_features import ClipGrid, FeatureSpec

log = logging.getLogger(__name__)

POSITIONS_AT_ONCE = 4096  # of all pairs of a query and a window: more no longer fit a CPU's cache
SEEN_TWICE = 0.7  # temporal IoU of moments of two windows, where the model suppresses none
LONGER = 2.0  # than the longest video of training: up to here a video is pooled, as evaluation does

# A sentence, or its token features (L, C').
Query: TypeAlias = "str | npt.NDArray[np.floating]"
Progress: TypeAlias = Callable[[int, int], None]


class OpenedVideo:
    """One video with everything computed that does not depend on a query.

    Made by `Localizer.open_video`. Several threads may ask at once: asking changes nothing in it.

    Args:
        model: The network, in evaluation mode.
        vocabulary: What it knows of words.
        clips: Features (T, C) float32, as stored.
        grid: Where they lie in time.
        max_clips: Positions of the model; a longer video, or window, is pooled to as many.
        window_seconds: Longest time that is read at once; a longer video of more clips than the
            model has positions is cut into windows.
        query_spec: Token features that the model reads in place of words; None: words.
        calibration: What turns its scores into probabilities; None: moments have none.

    Attributes:
        grid: Where the stored clips lie in time.
    """

    def __init__(
        self,
        model: BPNet,
        vocabulary: Vocabulary,
        clips: npt.NDArray[np.float32],
        grid: ClipGrid,
        max_clips: int,
        window_seconds: float,
        query_spec: FeatureSpec | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self._model = model
        self._vocabulary = vocabulary
        self._query_spec = query_spec
        self._calibration = calibration
        self.grid = grid
        self._device = next(model.parameters()).device
        self._nms = SEEN_TWICE if model.choice.nms is None else model.choice.nms
        self._windows = cut(grid, _window_clips(grid, max_clips, window_seconds))
        self._grids: list[ClipGrid] = []
        parts = []
        for window in self._windows:
            pooled, coarse = fit_clips(
                clips[window.first : window.first + window.grid.num_clips], window.grid, max_clips
            )
            video = torch.from_numpy(pooled).to(self._device)[None]
            mask = torch.ones(video.shape[:2], dtype=torch.bool, device=self._device)
            with torch.inference_mode():
                parts.append(model.encode_video(video, mask))
            self._grids.append(coarse)
        self._encoded = joined(parts)
        self._pairs_at_once = max(1, POSITIONS_AT_ONCE // self._grids[0].num_clips)

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
        if top < 1:
            raise ConfigError(f"top={top}: expected an integer >= 1")
        if math.isnan(min_score):
            raise ConfigError("min_score=nan: expected a number, such as Localizer.least_score")
        if isinstance(queries, (str, np.ndarray)):
            return self.localize([queries], top, min_score, progress)[0]
        self._check(queries)
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
        self._check(queries)
        return [prediction for group in self._predicted(queries) for prediction in group]

    def _predicted(self, queries: Sequence[Query]) -> Iterator[list[Prediction]]:
        """The answers to some queries at a time, so that who needs less can drop the rest."""
        at_once = max(1, self._pairs_at_once // len(self._windows))
        for first in range(0, len(queries), at_once):
            with torch.inference_mode():
                group = self._predict(queries[first : first + at_once])
            yield group

    def _check(self, queries: Sequence[Query]) -> None:
        """Make sure of all queries before any is answered."""
        limit = self._vocabulary.max_query_tokens
        for query in queries:
            self._check_kind(query)
            length = len(self._vocabulary.tokens(query) if isinstance(query, str) else query)
            if length > limit:
                log.warning("cut a query of %d tokens to %d: %.40r...", length, limit, query)

    def _check_kind(self, query: Query) -> None:
        """Make sure that a query is of the kind that the model reads."""
        spec = self._query_spec
        if spec is None:
            if not isinstance(query, str):
                raise ConfigError("the model reads words: give sentences, not arrays")
            return
        wanted = f"arrays (L, {spec.feature_dim}) of token features from {spec.backbone!r}"
        if isinstance(query, str):
            raise ConfigError(f"query {query!r}: the model does not read words: give {wanted}")
        if query.ndim != 2 or query.shape[1] != spec.feature_dim or len(query) == 0:
            raise ConfigError(f"query features of shape {query.shape}: expected {wanted}")
        if not np.isfinite(query).all():
            raise ConfigError("query features: NaN or infinite values; compute them again")

    def _predict(self, queries: Sequence[Query]) -> list[Prediction]:
        # The clips themselves are not needed again: only their number, for the mask.
        clips = np.empty((self._grids[0].num_clips, 0), dtype=np.float32)
        samples = [
            make_sample(
                clips,
                self._grids[0],
                query if isinstance(query, str) else query.astype(np.float32),
                self._vocabulary,
            )
            for query in queries
        ]
        batch = dataclasses.replace(collate(samples), samples=()).to(self._device)
        encoded = self._model.encoder.encode_query(
            batch.query_ids, batch.char_ids, batch.query_mask, batch.query_features
        )
        answers: list[list[Prediction]] = [[] for _ in queries]
        at_once = max(1, self._pairs_at_once // len(queries))
        for first in range(0, len(self._windows), at_once):
            places = range(first, min(first + at_once, len(self._windows)))
            query = torch.arange(len(queries), device=self._device).repeat_interleave(len(places))
            video = torch.tensor(places, device=self._device).repeat(len(queries))
            output = self._model.judge(
                self._encoded.pick(video),
                encoded.pick(query),
                batch.video_mask[query],
                batch.query_mask[query],
            )
            asked = [
                dataclasses.replace(sample, grid=self._grids[place])
                for sample in samples
                for place in places
            ]
            found = iter(read_output(output, asked, self._calibration))
            for answer in answers:
                answer += itertools.islice(found, len(places))
        if len(self._windows) == 1:
            return [answer for (answer,) in answers]
        return [merge(answer, self._windows, self._nms) for answer in answers]


def _window_clips(grid: ClipGrid, max_clips: int, window_seconds: float) -> int:
    """Clips of a window: all, where the model has as many positions or knows videos so long."""
    if grid.num_clips <= max_clips or grid.duration_seconds <= window_seconds * LONGER:
        return grid.num_clips
    seconds = float(np.median(np.diff(grid.edges_seconds)))
    return min(grid.num_clips, max(2, max_clips, int(window_seconds / seconds)))
