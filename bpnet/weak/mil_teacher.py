"""The activation head with its context pool, as a teacher."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bpnet.data.vocabulary import Vocabulary
from bpnet.errors import ConfigError
from bpnet.models.build import Sizes
from bpnet.settings import from_dict
from bpnet.supervision_config import SupervisionConfig
from bpnet.types import Batch
from bpnet.weak.activation import ActivationHead
from bpnet.weak.concepts import NUM_CONCEPTS, fit_concepts
from bpnet.weak.context_pool import ContextPool
from bpnet.weak.hints import ActivationHint
from bpnet.weak.mil import MilConfig, Pairs, mil_losses
from bpnet.weak.pairs import QueryDataset, VideoClips
from bpnet.weak.pool_config import PoolConfig
from bpnet.weak.pool_report import pool_report, report_lines
from bpnet.weak.sentences import Tokens
from bpnet.weak.standard import Standardised

log = logging.getLogger(__name__)


def mil_config(config: SupervisionConfig) -> MilConfig:
    """The settings ``supervision.mil``, checked."""
    return from_dict(MilConfig, config.mil, "supervision.mil")


def pool_config(config: SupervisionConfig) -> PoolConfig:
    """The settings ``supervision.pool``, checked."""
    return from_dict(PoolConfig, config.pool, "supervision.pool")


class MilTeacher(nn.Module):
    """Sentences as means of their content words, the head, and what the pool does about contexts.

    Args:
        sizes: Sizes that follow from the data.
        vectors: Vectors of the words, or None: they are learned.
        config: The losses, and the pool.
        vocabulary: The words by id.
        queries: The training sentences, whose words become concepts.

    Raises:
        ConfigError: Queries come as token features: there are no words to make concepts of.
    """

    concept_of: Tensor

    def __init__(
        self,
        sizes: Sizes,
        vectors: Tensor | None,
        config: SupervisionConfig,
        vocabulary: Vocabulary,
        queries: Sequence[str],
    ) -> None:
        super().__init__()
        if sizes.query_dim:
            raise ConfigError(
                "supervision.teachers=[mil] with data.query_features: its concepts are words, and "
                "token features are none; use teachers=[evidence]"
            )
        self.losses_config, pool = mil_config(config), pool_config(config)
        said = [vocabulary.tokens(query) for query in queries]
        words = vocabulary.words[2:]
        if vectors is None:  # no word is like another one: each is a concept
            table, most = np.eye(len(words), dtype=np.float32), len(words)
        else:
            table, most = vectors[2:].numpy(), NUM_CONCEPTS
        self.concepts = fit_concepts(said, dict(zip(words, table, strict=True)), most)
        concept_of = [self.concepts.words.get(word, -1) for word in vocabulary.words]
        self.register_buffer("concept_of", torch.tensor(concept_of), persistent=False)
        self.tokens = Tokens(sizes, vectors)
        self.standard = Standardised(sizes.feature_dim)
        self.pool = None
        if pool.intervention != "none":
            self.pool = ContextPool(pool, sizes.feature_dim, self.concepts.count)
        self.head = ActivationHead(
            sizes.feature_dim, self.tokens.dim, config.evidence.dim, self.pool
        )

    def begin(self, pairs: QueryDataset) -> None:
        """Fit the pool, and say what it takes for contexts.

        Args:
            pairs: The training sentences with their videos.
        """
        videos = VideoClips(pairs)
        self.standard.fit(videos)
        if self.pool is None:
            return
        named: dict[str, set[int]] = {}
        for place, query in enumerate(pairs.queries):
            ids = torch.from_numpy(pairs[place].query_ids)
            named.setdefault(query.video_id, set()).update(self.concept_of[ids].tolist())
        self.pool.fit(videos, [named[name] - {-1} for name in videos.names])
        lines = report_lines(pool_report(self.pool, self.concepts, videos), videos.where)
        log.info("what comes with each concept of the sentences:\n%s", "\n".join(lines))

    def finish(self, pairs: QueryDataset) -> None:
        """There is nothing to take."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """See `bpnet.weak.mil.mil_losses`.

        Args:
            batch: Pairs; targets are not read.

        Returns:
            Scalars by name, with ``total``.
        """
        queries, concepts = self._sentences(batch)
        mask, index = batch.clip_mask(), batch.video_index
        pairs = Pairs(batch.video, mask, queries, concepts, index)
        return mil_losses(self.head, pairs, self.losses_config, self.standard(batch.video))

    def hints(self, batch: Batch) -> list[ActivationHint]:
        """The relevance of each pair's clips, without the contexts where there is a pool.

        Args:
            batch: Pairs.

        Returns:
            A hint a pair.
        """
        with torch.inference_mode():
            clips = self.standard(batch.video)[batch.video_index]
            found = self.head(clips, batch.video_mask, *self._sentences(batch)).relevance
            rows = found.double().cpu().numpy()
        lengths = batch.video_mask.sum(dim=1).tolist()
        return [ActivationHint(row[:length]) for row, length in zip(rows, lengths, strict=True)]

    def _sentences(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Means of the content words (B, E), of all words where there is none; and concepts."""
        named = self.concept_of[batch.query_ids]  # (B, L)
        content = (named >= 0) & batch.query_mask
        counted = torch.where(content.any(dim=1, keepdim=True), content, batch.query_mask)
        weights = counted / counted.sum(dim=1, keepdim=True)
        queries = (weights[:, None] @ self.tokens(batch)).squeeze(1)
        marks = torch.zeros(len(named), self.concepts.count + 1, device=named.device)
        marks.scatter_(1, torch.where(content, named, self.concepts.count), 1.0)
        return queries, marks[:, :-1].bool()
