"""The words of sentences as vectors for the teachers: given, learned, or token features."""

from __future__ import annotations

from torch import Tensor, nn

from bpnet.models.build import Sizes
from bpnet.models.layers import WordEmbedding
from bpnet.types import Batch


class Tokens(nn.Module):
    """Tokens of queries as vectors.

    Args:
        sizes: Sizes that follow from the data.
        vectors: Vectors of the vocabulary's words (words, E), or None: they are learned.

    Attributes:
        dim: Width E.
    """

    def __init__(self, sizes: Sizes, vectors: Tensor | None) -> None:
        super().__init__()
        self.dim = sizes.query_dim or sizes.word_dim
        self.words = None
        if not sizes.query_dim:
            self.words = WordEmbedding(sizes.num_words, sizes.word_dim, sizes.frozen_words)
            if vectors is not None:
                self.words.words.copy_(vectors[2:])
            else:  # of the size that given vectors have; a model's own table begins smaller
                nn.init.normal_(self.words.words)

    def forward(self, batch: Batch) -> Tensor:
        """The tokens (B, L, E) of a batch's queries; padded places are zero."""
        if self.words is None:
            assert batch.query_features is not None
            return batch.query_features * batch.query_mask[..., None]
        tokens: Tensor = self.words(batch.query_ids)
        return tokens * batch.query_mask[..., None]
