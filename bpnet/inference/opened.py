"""OpenedVideo: a video opened and encoded once, asked many times."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
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
from bpnet.models.bpnet import BPNet
from bpnet.types import Moment
from bpnet_features import ClipGrid, FeatureSpec

log = logging.getLogger(__name__)

QUERIES_AT_ONCE = 64

# A sentence, or its token features (L, C').
Query: TypeAlias = "str | npt.NDArray[np.floating]"


class OpenedVideo:
    """One video with everything computed that does not depend on a query.

    Made by `Localizer.open_video`.

    Args:
        model: The network, in evaluation mode.
        vocabulary: What it knows of words.
        clips: Features (T, C) float32, as stored.
        grid: Where they lie in time.
        max_clips: Positions of the model; a longer video is pooled to as many.
        query_spec: Token features that the model reads in place of words; None: words.
        calibration: What turns its scores into probabilities; None: moments have none.
    """

    def __init__(
        self,
        model: BPNet,
        vocabulary: Vocabulary,
        clips: npt.NDArray[np.float32],
        grid: ClipGrid,
        max_clips: int,
        query_spec: FeatureSpec | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self._model = model
        self._vocabulary = vocabulary
        self._query_spec = query_spec
        self._calibration = calibration
        self._clips, self.grid = fit_clips(clips, grid, max_clips)
        self._device = next(model.parameters()).device
        video = torch.from_numpy(self._clips).to(self._device)[None]
        with torch.inference_mode():
            mask = torch.ones(video.shape[:2], dtype=torch.bool, device=self._device)
            self._encoded = model.encode_video(video, mask)

    @property
    def duration_seconds(self) -> float:
        """Length of the video."""
        return self.grid.duration_seconds

    # A str is a sequence of str as well; it is taken for one sentence, as the first line says.
    @overload
    def localize(  # type: ignore[overload-overlap]
        self, queries: Query, top: int = 5
    ) -> list[Moment]: ...

    @overload
    def localize(self, queries: Sequence[Query], top: int = 5) -> list[list[Moment]]: ...

    def localize(
        self, queries: Query | Sequence[Query], top: int = 5
    ) -> list[Moment] | list[list[Moment]]:
        """Find what sentences describe.

        Args:
            queries: A sentence, or several. For a model that reads token features, an array
                (L, C'), or several.
            top: Largest number of moments a sentence, >= 1.

        Returns:
            For a sentence its moments, best first; for several a list of such lists.

        Raises:
            AnnotationError: A query has no words.
            ConfigError: ``top`` is out of range, or the model does not read such queries.
        """
        if top < 1:
            raise ConfigError(f"top={top}: expected an integer >= 1")
        if isinstance(queries, (str, np.ndarray)):
            return list(self.predict([queries])[0].moments[:top])
        return [list(prediction.moments[:top]) for prediction in self.predict(queries)]

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
        limit = self._vocabulary.max_query_tokens
        for query in queries:
            self._check(query)
            length = len(self._vocabulary.tokens(query) if isinstance(query, str) else query)
            if length > limit:
                log.warning("cut a query of %d tokens to %d: %.40r...", length, limit, query)
        predictions: list[Prediction] = []
        with torch.inference_mode():
            for first in range(0, len(queries), QUERIES_AT_ONCE):
                predictions += self._predict(queries[first : first + QUERIES_AT_ONCE])
        return predictions

    def _check(self, query: Query) -> None:
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
        clips = self._clips[:, :0]
        samples = [
            make_sample(
                clips,
                self.grid,
                query if isinstance(query, str) else query.astype(np.float32),
                self._vocabulary,
            )
            for query in queries
        ]
        batch = dataclasses.replace(collate(samples), samples=()).to(self._device)
        encoded = self._encoded.pick(batch.video_index)  # all are about the one video
        return read_output(self._model.localize(encoded, batch), samples, self._calibration)
