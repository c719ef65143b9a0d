"""What comes with the concepts of the training sentences: their words, and the context pool."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bpnet.contexts.pool import ContextPool
from bpnet.contexts.pool_config import PoolConfig
from bpnet.data.vocabulary import Vocabulary
from bpnet.errors import ConfigError
from bpnet.settings import from_dict
from bpnet.supervision_config import SupervisionConfig
from bpnet.types import Batch
from bpnet.weak.concepts import NUM_CONCEPTS, fit_concepts
from bpnet.weak.pairs import QueryDataset, VideoClips
from bpnet.weak.pool_report import pool_report, report_lines

log = logging.getLogger(__name__)


def pool_config(config: SupervisionConfig) -> PoolConfig:
    """The settings ``supervision.pool``, checked.

    Args:
        config: What they are part of.

    Returns:
        The pool's settings.

    Raises:
        ConfigError: A setting is wrong, or one that the teacher ``evidence`` does not know.
    """
    pool = from_dict(PoolConfig, config.pool, "supervision.pool")
    negatives = pool.context_negatives and pool.intervention != "none"
    if "evidence" in config.teachers and (
        pool.intervention in ("cicam", "stratified") or negatives
    ):
        what = "context_negatives=true" if negatives else f"intervention={pool.intervention}"
        raise ConfigError(
            f"supervision.pool.{what} with the teacher 'evidence': expected intervention=backdoor "
            "or none, without context_negatives; the others are known to supervision.teachers=[mil]"
        )
    return pool


class QueryContexts(nn.Module):
    """The concepts of sentences, by their words, and the pool of a teacher.

    Args:
        vocabulary: The words by id.
        vectors: Vectors of the words, or None: each content word is a concept of its own.
        queries: The training sentences, whose words become concepts.
        config: The pool.
        feature_dim: Width C of the clip features.

    Attributes:
        pool: The pool; None with ``none``.
    """

    concept_of: Tensor

    def __init__(
        self,
        vocabulary: Vocabulary,
        vectors: Tensor | None,
        queries: Sequence[str],
        config: PoolConfig,
        feature_dim: int,
    ) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        said = [vocabulary.tokens(query) for query in queries]
        words = vocabulary.words[2:]
        if vectors is None:  # no word is like another one
            table, most = np.eye(len(words), dtype=np.float32), len(words)
        else:
            table, most = vectors[2:].numpy(), NUM_CONCEPTS
        self.concepts = fit_concepts(said, dict(zip(words, table, strict=True)), most)
        concept_of = [self.concepts.words.get(word, -1) for word in vocabulary.words]
        self.register_buffer("concept_of", torch.tensor(concept_of), persistent=False)
        self.pool = None
        if config.intervention != "none":
            self.pool = ContextPool(config, feature_dim, self.concepts.count)

    def fit(self, pairs: QueryDataset) -> None:
        """Fit the pool, and say what it takes for contexts.

        Args:
            pairs: The training sentences with their videos.
        """
        if self.pool is None:
            return
        videos = VideoClips(pairs)
        named: dict[str, set[int]] = {}
        for query in pairs.queries:
            concepts = self.concepts.of(self.vocabulary.tokens(query.query))
            named.setdefault(query.video_id, set()).update(concepts)
        self.pool.fit(videos, [named[name] for name in videos.names])
        lines = report_lines(pool_report(self.pool, self.concepts, videos), videos.where)
        log.info("what comes with the concepts of the sentences:\n%s", "\n".join(lines))

    def named_as_told(self) -> str:
        """The concepts about which `told` tells something, in words."""
        if self.pool is None or not self.pool.tells:
            return "none"
        places = self.pool.log_lift.any(dim=1).nonzero().flatten().tolist()
        return "; ".join(self.concepts.name(place) for place in places)

    def told(self, batch: Batch) -> Tensor:
        """How much the contexts of videos alone speak for sentences: (V, B), see `ContextPool`."""
        if self.pool is None or not self.pool.tells:
            return batch.video.new_zeros(())
        present = self.pool(batch.video, batch.clip_mask()).present
        return self.pool.told(present, self.of_queries(batch))

    def of_tokens(self, batch: Batch) -> Tensor:
        """The concept of each token (B, L) int64; -1 where it is no content word."""
        return self.concept_of[batch.query_ids].masked_fill(~batch.query_mask, -1)

    def of_queries(self, batch: Batch) -> Tensor:
        """Which concepts each sentence names (B, K) bool."""
        named = self.of_tokens(batch)
        marks = torch.zeros(len(named), self.concepts.count + 1, device=named.device)
        marks.scatter_(1, torch.where(named >= 0, named, self.concepts.count), 1.0)
        return marks[:, :-1].bool()
