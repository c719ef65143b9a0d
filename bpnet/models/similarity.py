"""How alike a clip and a query are, before any layer has mixed them with their neighbours.

Stage one has to learn which words mean which features, from few thousand sentences. A short way
from the word vectors to the clip features has few weights to learn it by: the query is summed up in
a few weighted means of its words, and each is compared with every clip.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bpnet.models.layers import masked_softmax

SCALE = 5.0  # of the cosines where they join the frames, which are of that size


class Similarity(nn.Module):
    """Projections of both sides to one space.

    Args:
        video_dim: Width C of the clip features.
        query_dim: Width of the word vectors, or of the token features.
        key_dim: Width M of the space.
        num_heads: Weighted means of the words of a query.
    """

    def __init__(self, video_dim: int, query_dim: int, key_dim: int, num_heads: int) -> None:
        super().__init__()
        self.video = nn.Linear(video_dim, key_dim)
        self.weights = nn.Linear(query_dim, num_heads)
        self.query = nn.Linear(query_dim, key_dim)

    def clip_keys(self, video: Tensor) -> Tensor:
        """Clip features (B, T, C) to keys of length 1 (B, T, M)."""
        return F.normalize(self.video(video), dim=-1)

    def query_keys(self, embedded: Tensor, query_mask: Tensor) -> Tensor:
        """Word vectors (B, L, E) with mask (B, L) to keys of length 1 (B, heads, M)."""
        weights = masked_softmax(self.weights(embedded), query_mask[..., None], dim=1)
        return F.normalize(self.query(weights.transpose(1, 2) @ embedded), dim=-1)


def similarities(clip_keys: Tensor, query_keys: Tensor) -> Tensor:
    """Scaled cosines of clips (B, T, M) and means of words (B, H, M): (B, T, H)."""
    return SCALE * clip_keys @ query_keys.transpose(1, 2)
