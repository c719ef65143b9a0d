"""Masked building blocks. What is padded stays zero, and changes nothing that is real.

Masks are bool, True where a place is real. Only with ``mask_pads=False`` does padding reach real
places, at the two points where it does so in VSLNet's PyTorch code: for weights trained there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bpnet.models.dropout import Dropout

NEGATIVE = -1e30  # VSLNet's mask value; finite, so that a masked softmax has no NaN gradient


def negative(dtype: torch.dtype) -> float:
    """The mask value of a type: float16 cannot hold `NEGATIVE`, and takes its own least number."""
    return max(NEGATIVE, torch.finfo(dtype).min)


def masked_softmax(logits: Tensor, mask: Tensor, dim: int = -1) -> Tensor:
    """Softmax over real places.

    Args:
        logits: Any shape.
        mask: Bool that broadcasts with it; at least one real place along ``dim``.
        dim: Where the weights sum to 1.

    Returns:
        Weights of the same shape, 0 at padded places.
    """
    return torch.softmax(logits.masked_fill(~mask, negative(logits.dtype)), dim=dim)


def init_table(table: Tensor, scheme: str) -> None:
    """Fill an embedding table (rows, D) in place: ``"glorot"`` (TensorFlow) or ``"normal"``."""
    if scheme == "glorot":
        nn.init.xavier_uniform_(table)
    else:
        nn.init.normal_(table)


class PartedLinear(nn.Linear):
    """A linear layer of several inputs side by side, without joining them.

    Each is multiplied with its part of the weights, so that what many rows have in common, as all
    clips have their sentence, is projected once.

    Args:
        dims: Widths of the inputs.
        out_dim: Width of the output.
    """

    def __init__(self, dims: Sequence[int], out_dim: int) -> None:
        super().__init__(sum(dims), out_dim)
        self.dims = list(dims)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Inputs (..., dims[i]) whose shapes broadcast, as many as there are widths: (..., D)."""
        out = self.part(0, inputs[0])
        for place, x in enumerate(inputs[1:], start=1):
            out = out + self.part(place, x)
        return out

    def part(self, place: int, x: Tensor) -> Tensor:
        """What one input (..., dims[place]) adds to (..., D); the first brings the bias."""
        weight = torch.split(self.weight, self.dims, dim=1)[place]
        return F.linear(x, weight, None if place else self.bias)


class WordEmbedding(nn.Module):
    """Word vectors: row 0 padding (zeros), row 1 the unknown word (trained), then the words.

    Args:
        num_words: Rows, with the two special ones.
        dim: Width.
        frozen: Whether the words' rows are given vectors that are not trained.
    """

    def __init__(self, num_words: int, dim: int, frozen: bool) -> None:
        super().__init__()
        self.unknown = nn.Parameter(torch.empty(1, dim))
        nn.init.xavier_uniform_(self.unknown)
        rows = torch.empty(num_words - 2, dim)
        nn.init.normal_(rows, std=0.1)
        self.words: Tensor
        if frozen:
            self.register_buffer("words", rows)
        else:
            self.words = nn.Parameter(rows)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors (..., D) of word ids (...)."""
        if not len(self.words):  # none is frequent enough to be known
            return (ids == 1)[..., None] * self.unknown[0]
        words = F.embedding((ids - 2).clamp(min=0), self.words)
        vectors = torch.where((ids == 1)[..., None], self.unknown[0], words)
        return vectors * (ids != 0)[..., None]


class CharacterEmbedding(nn.Module):
    """Letters of a word to one vector: convolutions over letters, maximum over places (VSLNet).

    Args:
        num_characters: Rows of the table, with the two special ones.
        dim: Width of a letter's embedding.
        dropout: Share that is dropped before the convolutions.
        embedding_init: See `init_table`.
        mask_pads: False: windows of nothing but padding count in the maximum, as in VSLNet.
    """

    WIDTHS = ((1, 10), (2, 20), (3, 30), (4, 40))
    OUT_DIM = sum(filters for _, filters in WIDTHS)

    def __init__(
        self,
        num_characters: int,
        dim: int,
        dropout: float,
        embedding_init: str,
        mask_pads: bool = True,
    ) -> None:
        super().__init__()
        self.mask_pads = mask_pads
        self.table = nn.Embedding(num_characters, dim, padding_idx=0)
        init_table(self.table.weight.data, embedding_init)
        self.table.weight.data[0].zero_()
        self.dropout = Dropout(dropout)
        self.convs = nn.ModuleList(
            nn.Conv1d(dim, filters, kernel_size=width) for width, filters in self.WIDTHS
        )

    def forward(self, char_ids: Tensor) -> Tensor:
        """Read words letter by letter.

        Args:
            char_ids: (B, L, W) int64, W >= 4, 0 at padding.

        Returns:
            (B, L, 100); zero for a padded word where ``mask_pads``.
        """
        words = char_ids.flatten(0, 1)
        if torch.compiler.is_compiling():  # how many differ is no size that a graph can know
            return self._read(words).view(*char_ids.shape[:2], self.OUT_DIM)
        # Words come again and again, and padding most of all: each is read once.
        ids, row = torch.unique(words, dim=0, return_inverse=True)
        return self._read(ids)[row].view(*char_ids.shape[:2], self.OUT_DIM)

    def _read(self, ids: Tensor) -> Tensor:
        """Words (N, W) as vectors (N, 100)."""
        letters = self.dropout(self.table(ids)).transpose(1, 2)  # (words, dim, W) for Conv1d
        num_letters = (ids != 0).sum(dim=1)
        parts = []
        for conv, (width, _) in zip(self.convs, self.WIDTHS, strict=True):
            found = F.relu(conv(letters))
            # A window that begins on a real letter may look into the padding, which is zero; a word
            # shorter than the filter has the one window at its beginning. So more padding adds
            # nothing to the maximum, and a padded word has no window at all.
            places = torch.arange(found.shape[-1], device=ids.device)
            last = (num_letters[:, None] - width).clamp(min=0)
            real = (places[None] <= last) & (num_letters[:, None] > 0)
            if not self.mask_pads:
                real = torch.ones_like(real)
            parts.append(found.masked_fill(~real[:, None], 0).amax(dim=-1))
        return torch.cat(parts, dim=-1)


class VideoQueryAttention(nn.Module):
    """Each clip reads the words, and through them the other clips (trilinear scores, VSLNet).

    Args:
        dim: Width D.
        dropout: Share of the inputs of the scores that is dropped.
    """

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.video_weight = nn.Parameter(torch.empty(dim, 1))
        self.query_weight = nn.Parameter(torch.empty(dim, 1))
        self.product_weight = nn.Parameter(torch.empty(1, 1, dim))
        for weight in (self.video_weight, self.query_weight, self.product_weight):
            nn.init.xavier_uniform_(weight)
        self.dropout = Dropout(dropout)
        self.linear = PartedLinear((dim, dim, 2 * dim), dim)

    def forward(
        self, video: Tensor, query: Tensor, video_mask: Tensor, query_mask: Tensor
    ) -> Tensor:
        """Join both sides.

        Args:
            video: (B, T, D).
            query: (B, L, D).
            video_mask: (B, T).
            query_mask: (B, L).

        Returns:
            (B, T, D).
        """
        v, q = self.dropout(video), self.dropout(query)
        scores = v @ self.video_weight + (q @ self.query_weight).transpose(1, 2)
        scores = scores + (v * self.product_weight) @ q.transpose(1, 2)  # (B, T, L)
        over_words = masked_softmax(scores, query_mask[:, None], dim=2)
        over_clips = masked_softmax(scores, video_mask[:, :, None], dim=1)
        words = over_words @ query
        clips = over_words @ (over_clips.transpose(1, 2) @ video)  # S (S~^T V): no T x T matrix
        products = torch.cat([video * words, video * clips], dim=-1)
        # Each word is projected once, and not in each clip that reads it.
        read = over_words @ self.linear.part(1, query)
        return self.linear.part(0, video) + read + self.linear.part(2, products)


class QueryPool(nn.Module):
    """A query as one vector: the weighted mean of its tokens.

    Args:
        dim: Width D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, 1))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, query: Tensor, query_mask: Tensor) -> Tensor:
        """(B, L, D) with mask (B, L) to (B, D)."""
        weights = masked_softmax(query @ self.weight, query_mask[..., None], dim=1)
        return (weights * query).sum(dim=1)


def make_lstm(dim: int, scheme: str) -> nn.LSTM:
    """One LSTM layer D -> D.

    Args:
        dim: Width D.
        scheme: ``"glorot_forget1"`` (Glorot kernels, forget bias 1, as TensorFlow) or ``"torch"``.

    Returns:
        The layer, batch first.
    """
    lstm = nn.LSTM(dim, dim, batch_first=True)
    if scheme == "glorot_forget1":
        # TensorFlow draws one kernel (2 D, 4 D) for input and state together.
        bound = math.sqrt(6 / (2 * dim + 4 * dim))
        weights = dict(lstm.named_parameters())
        nn.init.uniform_(weights["weight_ih_l0"], -bound, bound)
        nn.init.uniform_(weights["weight_hh_l0"], -bound, bound)
        nn.init.zeros_(weights["bias_ih_l0"])
        nn.init.zeros_(weights["bias_hh_l0"])
        with torch.no_grad():
            weights["bias_ih_l0"][dim : 2 * dim] = 1.0  # gates: input, forget, cell, output
    return lstm
