"""The encoder that video and query share: places, convolutions and attention (VSLNet)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bpnet.models.depthwise import DepthwiseConv
from bpnet.models.dropout import Dropout, dropout
from bpnet.models.layers import init_table, masked_softmax
from bpnet.models.places import NUM_WAVES, place_waves


class ConvBlock(nn.Module):
    """Layer norm, depthwise and pointwise convolution, ReLU, dropout, residual (VSLNet).

    Args:
        dim: Width D.
        kernel_size: Positions that one output sees, odd.
        dropout: Share that is dropped.
        dilation: Distance between those positions.
    """

    def __init__(self, dim: int, kernel_size: int, dropout: float, dilation: int = 1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.depthwise = DepthwiseConv(dim, kernel_size, dilation)
        self.pointwise = nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) with mask (B, N) to the same shape."""
        y = self.norm(x) * mask[..., None]
        out: Tensor = x + self.dropout(F.relu(self.pointwise(self.depthwise(y))))
        return out


class SelfAttention(nn.Module):
    """Multi-head self-attention without an output projection (VSLNet).

    Args:
        dim: Width D.
        num_heads: Heads H.
        dropout: Share of the attention weights that is dropped.
        window: Distance up to which places see each other, so that cost grows with the length and
            not with its square; None: all see all.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float, window: int | None = None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.dropout = dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) with mask (B, N) to the same shape."""
        layers = (self.query, self.key, self.value)
        weight = torch.cat([layer.weight for layer in layers])  # one product in place of three
        joined = F.linear(x, weight, torch.cat([layer.bias for layer in layers]))
        query, key, value = (
            part.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)  # (B, H, N, D / H)
            for part in joined.chunk(3, dim=-1)
        )
        seen = mask[:, None, None]
        local = self.window is not None and x.shape[1] > self.window
        if local:
            query, key, value, seen = _neighbourhoods(query, key, value, mask, self.window or 0)
        share = self.dropout if self.training else 0.0
        y: Tensor
        if share and x.device.type == "cpu":  # torch's has no fused kernel there, but slow masks
            scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
            y = dropout(masked_softmax(scores, seen), share) @ value
        else:
            y = F.scaled_dot_product_attention(query, key, value, seen, dropout_p=share)
        if local:
            y = y.flatten(2, 3)[:, :, : x.shape[1]]
        return y.transpose(1, 2).flatten(2)


def _neighbourhoods(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, window: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cut (B, H, N, d) into blocks of ``window`` places, each with the keys in and beside it.

    Gives queries (B, H, blocks, window, d), keys and values (B, H, blocks, 3 window, d), and which
    of them are near enough, and real (B, 1, blocks, window, 3 window).
    """
    spare = -query.shape[2] % window
    query = F.pad(query, (0, 0, 0, spare))
    query = query.view(*query.shape[:2], -1, window, query.shape[3])
    around = (window, window + spare)
    key, value = (
        F.pad(x, (0, 0, *around)).unfold(2, 3 * window, window).transpose(-1, -2)
        for x in (key, value)
    )
    real = F.pad(mask, around).unfold(1, 3 * window, window)  # (B, blocks, 3 window)
    places = torch.arange(3 * window, device=mask.device)
    near = (places - window - places[:window, None]).abs() <= window
    seen = real[:, None, :, None] & near
    # A padded place far from any real one sees nothing; let it see all, for it is not read.
    return query, key, value, seen | ~seen.any(dim=-1, keepdim=True)


class FeatureEncoder(nn.Module):
    """Positions, convolutions and one attention layer; one instance serves video and query.

    Args:
        dim: Width D.
        num_heads: Heads H.
        kernel_size: See `ConvBlock`.
        num_conv_layers: Number of convolution blocks.
        max_positions: Rows of the position table: the longest input; None: there is no table, and
            places are told by waves, for inputs of any length.
        dropout: Share that is dropped.
        embedding_init: See `init_table`.
        mask_pads: False: convolutions read what lies in padded places, as in VSLNet.
        window: See `SelfAttention`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        kernel_size: int,
        num_conv_layers: int,
        max_positions: int | None,
        dropout: float,
        embedding_init: str,
        mask_pads: bool = True,
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.mask_pads = mask_pads
        self.positions = self.places = None
        if max_positions is None:
            self.places = nn.Linear(4 * NUM_WAVES, dim)
        else:
            self.positions = nn.Parameter(torch.empty(max_positions, dim))
            init_table(self.positions.data, embedding_init)
        self.convs = nn.ModuleList(
            ConvBlock(dim, kernel_size, dropout) for _ in range(num_conv_layers)
        )
        self.attention_norm = nn.LayerNorm(dim, eps=1e-6)
        self.attention = SelfAttention(dim, num_heads, dropout, window)
        self.linear_norm = nn.LayerNorm(dim, eps=1e-6)
        self.linear = nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode a padded sequence.

        Args:
            x: (B, N, D), N <= max_positions where there is a position table.
            mask: (B, N).

        Returns:
            (B, N, D); padded places are zero where ``mask_pads``.
        """
        kept = mask if self.mask_pads else torch.ones_like(mask)
        if self.positions is not None:
            x = x + self.positions[: x.shape[1]]
        if self.places is not None:
            x = x + self.places(place_waves(mask).to(x.dtype))
        for conv in self.convs:
            x = conv(x, kept)
        attended = self.attention(self.dropout(self.attention_norm(x)), mask)
        x = x + self.dropout(attended)
        x = x + self.dropout(self.linear(self.dropout(self.linear_norm(x))))
        return x * kept[..., None]
