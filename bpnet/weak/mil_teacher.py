"""The activation head with its context pool, as a teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bpnet.data.vocabulary import Vocabulary
from bpnet.errors import ConfigError
from bpnet.models.build import Sizes
from bpnet.settings import from_dict
from bpnet.supervision_config import SupervisionConfig
from bpnet.types import Batch
from bpnet.weak.activation import ActivationHead
from bpnet.weak.hints import ActivationHint
from bpnet.weak.mil import MilConfig, Pairs, mil_losses
from bpnet.weak.pairs import QueryDataset, VideoClips
from bpnet.weak.query_contexts import QueryContexts, pool_config
from bpnet.weak.sentences import Tokens
from bpnet.weak.standard import Standardised


def mil_config(config: SupervisionConfig) -> MilConfig:
    """The settings ``supervision.mil``, checked."""
    return from_dict(MilConfig, config.mil, "supervision.mil")


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
        self.losses_config = mil_config(config)
        self.contexts = QueryContexts(
            vocabulary, vectors, queries, pool_config(config), sizes.feature_dim
        )
        self.tokens = Tokens(sizes, vectors)
        self.standard = Standardised(sizes.feature_dim)
        self.head = ActivationHead(
            sizes.feature_dim, self.tokens.dim, config.evidence.dim, self.contexts.pool
        )

    def begin(self, pairs: QueryDataset) -> None:
        """Take the mean and the deviation of the clip features, and fit the pool.

        Args:
            pairs: The training sentences with their videos.
        """
        self.standard.fit(VideoClips(pairs))
        self.contexts.fit(pairs)

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
        content = self.contexts.of_tokens(batch) >= 0
        counted = torch.where(content.any(dim=1, keepdim=True), content, batch.query_mask)
        weights = counted / counted.sum(dim=1, keepdim=True)
        queries = (weights[:, None] @ self.tokens(batch)).squeeze(1)
        return queries, self.contexts.of_queries(batch)
