"""Encoded videos and queries -> answers: what an opened video and a library have in common."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bpnet.data.collate import collate
from bpnet.data.dataset import make_sample
from bpnet.data.vocabulary import Vocabulary
from bpnet.errors import ConfigError
from bpnet.evaluation.calibration import Calibration
from bpnet.evaluation.predictions import Prediction, read_output
from bpnet.models.encoder import Encoded
from bpnet.models.grounder import Grounder
from bpnet.models.kept import KeptPairs
from bpnet.models.output import BPNetOutput
from bpnet.types import Sample
from bpnet_features import ClipGrid, FeatureSpec

log = logging.getLogger(__name__)

SEEN_TWICE = 0.7  # temporal IoU of one moment found twice, where the model suppresses none

# A sentence, or its token features (L, C').
Query: TypeAlias = "str | npt.NDArray[np.floating]"

# What a query is encoded with; nothing of a video is read there.
_NO_VIDEO = ClipGrid.uniform(1, 1.0)


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedQueries:
    """Queries, encoded.

    Attributes:
        samples: The queries as samples, without their video.
        states: Their tokens (N, L, D), with keys (N, heads, M) or None.
        mask: (N, L).
    """

    samples: tuple[Sample, ...]
    states: Encoded
    mask: Tensor


class Judge:
    """A trained model with what its input and output mean.

    Args:
        model: The network, in evaluation mode, on its device.
        vocabulary: What it knows of words.
        query_spec: Token features that it reads in place of words; None: words.
        calibration: What turns its scores into probabilities; None: moments have none.

    Attributes:
        nms: Temporal IoU above which two answers are the same moment.
        device: Where the model is.
    """

    def __init__(
        self,
        model: Grounder,
        vocabulary: Vocabulary,
        query_spec: FeatureSpec | None,
        calibration: Calibration | None,
    ) -> None:
        self.model = model
        self.calibration = calibration
        self._vocabulary = vocabulary
        self._query_spec = query_spec
        self.nms = SEEN_TWICE if model.choice.nms is None else model.choice.nms
        self.device = next(model.parameters()).device

    def check(self, queries: Sequence[Query]) -> None:
        """Make sure of all queries before any is answered.

        Args:
            queries: Sentences, or arrays of token features (L, C').

        Raises:
            ConfigError: The model does not read such queries.
        """
        check_several(queries)
        limit = self._vocabulary.max_query_tokens
        long: list[Query] = []
        strange: list[Query] = []
        for query in queries:
            self._check_kind(query)
            tokens = self._vocabulary.tokens(query) if isinstance(query, str) else query
            if len(tokens) > limit:
                long.append(query)
            if isinstance(tokens, list) and not self._vocabulary.knows_any(tokens):
                strange.append(query)
        _warn(long, len(queries), f"with more than {limit} tokens: cut there")
        _warn(strange, len(queries), "of words that the model does not know: expect little")

    def _check_kind(self, query: Query) -> None:
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

    def encode(self, queries: Sequence[Query]) -> EncodedQueries:
        """Encode queries.

        Args:
            queries: Sentences, or arrays of token features (L, C'), at least one.

        Returns:
            The encoded queries.

        Raises:
            AnnotationError: A query has no words.
        """
        samples = [
            make_sample(
                np.empty((1, 0), dtype=np.float32),
                _NO_VIDEO,
                query if isinstance(query, str) else query.astype(np.float32),
                self._vocabulary,
            )
            for query in queries
        ]
        batch = dataclasses.replace(collate(samples), samples=()).to(self.device)
        with torch.inference_mode():
            states = self.model.encoder.encode_query(
                batch.query_ids, batch.char_ids, batch.query_mask, batch.query_features
            )
        return EncodedQueries(tuple(samples), states, batch.query_mask)

    def answer(
        self,
        video: Encoded,
        video_mask: Tensor,
        grids: Sequence[ClipGrid],
        queries: EncodedQueries,
        which: Sequence[int],
    ) -> list[Prediction]:
        """Judge pairs of a video, or a window of one, and a query.

        Args:
            video: Clips of each pair (B, P, D), with keys (B, P, M) or None.
            video_mask: (B, P).
            grids: Where those lie in time (B).
            queries: Encoded queries.
            which: The query of each pair (B).

        Returns:
            One prediction a pair.
        """
        index = torch.tensor(which, device=self.device)
        with torch.inference_mode():
            states, mask = queries.states.pick(index), queries.mask[index]
            output = self.model.judge(video, states, video_mask, mask)
        return self._read(output, grids, queries, which)

    def answer_kept(
        self,
        pairs: KeptPairs,
        grids: Sequence[ClipGrid],
        queries: EncodedQueries,
        which: Sequence[int],
    ) -> list[Prediction]:
        """Judge pairs of a video, or a window of one, that a tree keeps, and a query.

        Args:
            pairs: The videos of the pairs (B).
            grids: Where their clips lie in time (B).
            queries: Encoded queries.
            which: The query of each pair (B).

        Returns:
            One prediction a pair.
        """
        index = torch.tensor(which, device=self.device)
        with torch.inference_mode():
            output = self.model.judge_kept(pairs, queries.states.pick(index), queries.mask[index])
        return self._read(output, grids, queries, which)

    def _read(
        self,
        output: BPNetOutput,
        grids: Sequence[ClipGrid],
        queries: EncodedQueries,
        which: Sequence[int],
    ) -> list[Prediction]:
        samples = [
            dataclasses.replace(queries.samples[query], grid=grid)
            for query, grid in zip(which, grids, strict=True)
        ]
        return read_output(output, samples, self.calibration)


def _warn(found: Sequence[Query], num_queries: int, what: str) -> None:
    if found:
        log.warning("%d of %d queries %s (%.40r ...)", len(found), num_queries, what, found[0])


def check_several(queries: Sequence[Query]) -> None:
    """Refuse one query where several are expected: a sentence is a sequence of letters, too.

    Args:
        queries: What was given.

    Raises:
        ConfigError: It is a sentence, or one array of token features.
    """
    if isinstance(queries, (str, np.ndarray)):
        raise ConfigError(f"queries={queries!r:.60}: expected a list of queries; put it into one")
