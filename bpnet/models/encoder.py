"""Both sides to the shared width; neither looks at the other here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bpnet.errors import AnnotationError
from bpnet.models.dropout import Dropout
from bpnet.models.feature_encoder import FeatureEncoder
from bpnet.models.layers import CharacterEmbedding, WordEmbedding
from bpnet.models.similarity import Similarity


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """One side, encoded.

    Attributes:
        states: Of clips (B, T, D), or of tokens (B, L, D); padded places are zero, unless padding
            is not masked (compat mode).
        keys: What tells how alike both sides are, see `bpnet.models.similarity`: of clips
            (B, T, M), or of a query (B, heads, M); None: nothing does.
        seconds: Where clips begin and end (B, T, 2), for a model that reads it; else None.
    """

    states: Tensor
    keys: Tensor | None
    seconds: Tensor | None = None

    def pick(self, index: Tensor) -> Encoded:
        """The rows (B,) int64 of it."""
        return self._each(lambda part: part[index])

    def padded(self, num_places: int) -> Encoded:
        """Clips with padding behind them, up to so many places."""
        spare = num_places - self.states.shape[1]
        return self._each(lambda part: F.pad(part, (0, 0, 0, spare)))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Encoded:
        parts = (self.states, self.keys, self.seconds)
        states, *others = (None if part is None else change(part) for part in parts)
        assert states is not None
        return Encoded(states, *others)


def joined(parts: Sequence[Encoded]) -> Encoded:
    """Several of them below one another; all of one length."""

    def together(name: str) -> Tensor | None:
        found = [one for part in parts if (one := getattr(part, name)) is not None]
        return torch.cat(found) if found else None

    states = torch.cat([part.states for part in parts])
    return Encoded(states, together("keys"), together("seconds"))


class Unmixed(nn.Module):
    """Tokens brought to one scale, each by itself: for a trunk, which does the reading.

    Args:
        dim: Width D.
    """

    positions: None = None  # a trunk tells places itself

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) with mask (B, N) to the same shape; padded places are zero."""
        out: Tensor = self.norm(x) * mask[..., None]
        return out


class Encoder(nn.Module):
    """Embeds words, projects clip features, and encodes each side with the same encoder.

    Args:
        feature_dim: Width C of the clip features.
        words: Word embedding, or None: the queries come as token features.
        query_dim: Width of the word embedding, or of the token features.
        characters: Character embedding, or None.
        encoder: The encoder that both sides share, or what leaves each token by itself.
        hidden_dim: Width D.
        dropout: Share of the clip features and the word vectors that is dropped.
        similarity: What compares both sides before they are encoded, or None.
    """

    def __init__(
        self,
        feature_dim: int,
        words: WordEmbedding | None,
        query_dim: int,
        characters: CharacterEmbedding | None,
        encoder: FeatureEncoder | Unmixed,
        hidden_dim: int,
        dropout: float,
        similarity: Similarity | None = None,
    ) -> None:
        super().__init__()
        self.words = words
        self.characters = characters
        query_dim += CharacterEmbedding.OUT_DIM if characters is not None else 0
        self.query_projection = nn.Linear(query_dim, hidden_dim)
        self.video_projection = nn.Linear(feature_dim, hidden_dim)
        self.encoder = encoder
        self.similarity = similarity
        self.dropout = Dropout(dropout)

    def encode_video(self, video: Tensor, video_mask: Tensor) -> Encoded:
        """Encode clips; does not depend on a query, so it is kept for an opened video.

        Args:
            video: Clip features (B, T, C).
            video_mask: (B, T).

        Returns:
            The clips.
        """
        states = self.encoder(self.video_projection(self.dropout(video)), video_mask)
        keys = None if self.similarity is None else self.similarity.clip_keys(video)
        return Encoded(states, keys)

    def encode_query(
        self,
        query_ids: Tensor,
        char_ids: Tensor,
        query_mask: Tensor,
        query_features: Tensor | None = None,
    ) -> Encoded:
        """Encode the tokens of queries.

        Args:
            query_ids: (B, L) int64.
            char_ids: (B, L, W) int64.
            query_mask: (B, L).
            query_features: (B, L, C') where the model reads such instead of words.

        Returns:
            The tokens.

        Raises:
            AnnotationError: A query is longer than the position table.
        """
        table = self.encoder.positions
        if table is not None and query_ids.shape[1] > len(table):
            raise AnnotationError(
                f"a query of {query_ids.shape[1]} tokens: expected at most {len(table)}; cut it as "
                "Vocabulary.encode does"
            )
        if self.words is None:
            assert query_features is not None
            embedded = self.dropout(query_features)
        else:
            embedded = self.dropout(self.words(query_ids))
        keys = None
        if self.similarity is not None:
            keys = self.similarity.query_keys(embedded, query_mask)
        if self.characters is not None:
            embedded = torch.cat([embedded, self.characters(char_ids)], dim=-1)
        return Encoded(self.encoder(self.query_projection(embedded), query_mask), keys)
