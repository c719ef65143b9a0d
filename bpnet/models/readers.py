"""How queries and proposals read their videos: in padded tensors here, for training.

`bpnet.models.tree_reader` is the other way: videos that are kept, without gradients.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from bpnet.models.trunk import KeysValues, Trunk, dense_attention


class Reader(Protocol):
    """Sends the tokens of pairs through the trunk, each pair's reading its own video."""

    def queries(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens of queries (B, L, D), real where ``mask`` (B, L) says so: what they became."""
        ...

    def proposals(self, tokens: Tensor, seconds: Tensor, mask: Tensor) -> Tensor:
        """Tokens of proposals (B, K n, D), K of them real by ``mask`` (B, K): what they became."""
        ...


class DenseReader:
    """Reads videos that come as padded tensors, with gradients.

    Args:
        trunk: The trunk.
        past: Keys and values of each pair's clips (B, T, H, d) in each layer.
        video_mask: (B, T).
        detach: Whether proposals send no gradient to what they read.
    """

    def __init__(
        self, trunk: Trunk, past: list[KeysValues], video_mask: Tensor, detach: bool
    ) -> None:
        self._trunk = trunk
        self._past = past
        self._visible = video_mask
        self._detach = detach

    def queries(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """See `Reader`."""
        self._visible = torch.cat([self._visible, mask], dim=1)
        attention = dense_attention(self._visible[:, None], self._past)
        read, kept = self._trunk(tokens, tokens.new_zeros(mask.shape), attention)
        self._past = [
            (torch.cat([keys, new_keys], dim=1), torch.cat([values, new_values], dim=1))
            for (keys, values), (new_keys, new_values) in zip(self._past, kept, strict=True)
        ]
        out: Tensor = read * mask[..., None]
        return out

    def proposals(self, tokens: Tensor, seconds: Tensor, mask: Tensor) -> Tensor:
        """See `Reader`."""
        past = self._past
        if self._detach:
            past = [(keys.detach(), values.detach()) for keys, values in past]
        size, count = tokens.shape[:2]
        own = torch.arange(count, device=tokens.device) * mask.shape[1] // count
        above = self._visible[:, None].expand(-1, count, -1)
        beside = (own[:, None] == own).expand(size, -1, -1)
        attention = dense_attention(torch.cat([above, beside], dim=2), past)
        read: Tensor = self._trunk(tokens, seconds, attention)[0]
        return read
