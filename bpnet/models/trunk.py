"""Trunk: a transformer in which what comes first never reads what comes after it.

Video, queries and proposals are tokens of one sequence, and who sees whom is a mask. Because a
clip sees clips only, and a query no other query, the keys and values of a video are the same
whatever is asked about it: they are computed once and kept. Places are told by rotary angles (Su et
al., arXiv 2104.09864) of seconds, so that they do not depend on what comes later either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bpnet.models.dropout import Dropout

CHUNK = 64  # clips that see each other where the video is causal
SHORTEST_SECONDS, LONGEST_SECONDS = 2.0, 2.0**14  # wavelengths of the rotary angles

# Keys and values of the tokens of a layer, (..., N, H, d) each.
KeysValues: TypeAlias = tuple[Tensor, Tensor]

# (layer, queries, keys, values of the new tokens (..., N, H, d)) -> what they read (..., N, H, d).
Attention: TypeAlias = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class TrunkBlock(nn.Module):
    """Layer norm before attention and before an MLP four times as wide, each with its residual.

    Args:
        dim: Width D.
        num_heads: Heads H.
        dropout: Share of what attention and MLP add that is dropped; keys and values never are.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.mlp_norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, 4 * dim)
        self.narrow = nn.Linear(4 * dim, dim)
        self.dropout = Dropout(dropout)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (..., N, H, d) of tokens (..., N, D)."""
        joined = self.project(self.attention_norm(x))
        query, key, value = joined.unflatten(-1, (3, self.num_heads, -1)).unbind(dim=-3)
        return query, key, value

    def add(self, x: Tensor, read: Tensor) -> Tensor:
        """Tokens (..., N, D) with what they have read (..., N, H, d), through the MLP."""
        x = x + self.dropout(self.out(read.flatten(-2)))
        added = self.narrow(F.gelu(self.widen(self.mlp_norm(x))))
        out: Tensor = x + self.dropout(added)
        return out


class Trunk(nn.Module):
    """Layers that all tokens go through.

    Args:
        dim: Width D, a multiple of 4 H.
        num_heads: Heads H.
        num_layers: Layers.
        dropout: See `TrunkBlock`.
    """

    def __init__(self, dim: int, num_heads: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.dim, self.num_heads = dim, num_heads
        self.head_dim = dim // num_heads
        blocks = [TrunkBlock(dim, num_heads, dropout) for _ in range(num_layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, tokens: Tensor, seconds: Tensor, attention: Attention
    ) -> tuple[Tensor, list[KeysValues]]:
        """Send new tokens through all layers.

        Args:
            tokens: (..., N, D).
            seconds: Where they lie in time (..., N).
            attention: What they see: `dense_attention`, or a tree of stored keys and values.

        Returns:
            The tokens (..., N, D), and their keys, already turned, and values in each layer.
        """
        turn = rotations(seconds.to(tokens.dtype), self.head_dim)
        kept: list[KeysValues] = []
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, TrunkBlock)
            query, key, value = block.heads(tokens)
            query, key = turned(query, *turn), turned(key, *turn)
            tokens = block.add(tokens, attention(layer, query, key, value))
            kept.append((key, value))
        return self.norm(tokens), kept


def dense_attention(visible: Tensor, past: Sequence[KeysValues] = ()) -> Attention:
    """Softmax attention under a mask, with gradients.

    Args:
        visible: What each new token sees: the tokens before them, then the new ones
            (B, N or 1, P + N) bool; each sees something.
        past: Keys and values (B, P, H, d) of the tokens before them in each layer; empty: none.

    Returns:
        The attention of a `Trunk`.
    """
    mask = visible[:, None]

    def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if past:
            key = torch.cat([past[layer][0].to(key.dtype), key], dim=1)
            value = torch.cat([past[layer][1].to(value.dtype), value], dim=1)
        q, k, v = (x.transpose(1, 2) for x in (query, key, value))  # (B, H, N, d)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)

    return attend


def video_visible(video_mask: Tensor, causal: bool) -> Tensor:
    """Which clips a clip sees.

    Args:
        video_mask: (B, T).
        causal: Whether it sees its own chunk and those before it only; else the whole video.

    Returns:
        (B, T or 1, T) bool.
    """
    if not causal:
        return video_mask[:, None]
    chunk = torch.arange(video_mask.shape[1], device=video_mask.device) // CHUNK
    return video_mask[:, None] & (chunk[:, None] >= chunk)


def rotations(seconds: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (..., N, 1, d / 4) of the angles at some times (..., N)."""
    count = head_dim // 4
    steps = torch.arange(count, device=seconds.device, dtype=torch.float64) / max(1, count - 1)
    lengths = SHORTEST_SECONDS * (LONGEST_SECONDS / SHORTEST_SECONDS) ** steps
    # In double: an hour in wavelengths of two seconds has an angle of 11,000.
    angles = seconds.double()[..., None, None] * (2 * math.pi / lengths)
    wide = torch.promote_types(seconds.dtype, torch.float32)
    return angles.cos().to(wide), angles.sin().to(wide)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Heads (..., N, H, d) with their first half turned; the other half compares content alone."""
    count = cos.shape[-1]
    one, other, rest = x[..., :count], x[..., count : 2 * count], x[..., 2 * count :]
    first, second = one * cos - other * sin, one * sin + other * cos
    return torch.cat([first.to(x.dtype), second.to(x.dtype), rest], dim=-1)
