"""Where keys and values lie: their layout, and the contiguous stores that hold runs of tokens."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from bpnet.errors import AttentionError

# A store that has to grow takes a quarter more than it needs, so that a stream of n tokens is
# copied O(n) times in all and not O(n^2).
GROWTH = 1.25


@dataclasses.dataclass(frozen=True)
class KVLayout:
    """What one token's keys and values are.

    Attributes:
        num_layers: Layers, >= 1.
        num_kv_heads: Heads of keys and values, >= 1; queries may have a multiple of it.
        head_dim: Width of a head, >= 1.
        dtype: A floating-point type.
        device: Where the stores are.
    """

    num_layers: int
    num_kv_heads: int
    head_dim: int
    dtype: torch.dtype = torch.float32
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        for name in ("num_layers", "num_kv_heads", "head_dim"):
            if getattr(self, name) < 1:
                raise AttentionError(
                    f"KVLayout.{name}={getattr(self, name)!r}: expected an integer >= 1"
                )
        if not self.dtype.is_floating_point:
            raise AttentionError(f"KVLayout.dtype={self.dtype}: expected a floating-point type")
        # Given as "cuda" or torch.device("cuda"); tensors say "cuda:0".
        device = torch.device(self.device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        object.__setattr__(self, "device", device)

    @property
    def token_bytes(self) -> int:
        """Bytes of one token in all layers: num_layers · 2 · num_kv_heads · head_dim · itemsize."""
        return self.num_layers * 2 * self.num_kv_heads * self.head_dim * self.dtype.itemsize

    def describe(self) -> bytes:
        """The layout as bytes, for keys; the device is not part of it."""
        sizes = f"{self.num_layers}x{self.num_kv_heads}x{self.head_dim}"
        return f"{sizes} {self.dtype}".encode()

    def check(self, keys: Tensor, values: Tensor) -> int:
        """Make sure that keys and values can be stored.

        Args:
            keys: Expected (num_layers, num_kv_heads, N, head_dim), N >= 1.
            values: As ``keys``.

        Returns:
            Their number of tokens N.

        Raises:
            AttentionError: They have another shape, type or device, or require a gradient.
        """
        sizes = (self.num_layers, self.num_kv_heads, self.head_dim)
        for name, tensor in (("keys", keys), ("values", values)):
            shape = tuple(tensor.shape)
            if len(shape) != 4 or (*shape[:2], shape[3]) != sizes or shape[2] < 1:
                raise AttentionError(
                    f"{name} have shape {shape}: expected (layers {sizes[0]}, heads {sizes[1]}, "
                    f"tokens >= 1, width {sizes[2]}), as the tree's layout says"
                )
            if tensor.dtype != self.dtype or tensor.device != self.device:
                raise AttentionError(
                    f"{name} are {tensor.dtype} on {tensor.device}: expected {self.dtype} on "
                    f"{self.device}, as the tree's layout says; convert them, or make another tree"
                )
            if tensor.requires_grad and torch.is_grad_enabled():
                raise AttentionError(
                    f"{name} require a gradient, and the tree keeps none: compute them under "
                    "torch.no_grad(), or detach them"
                )
        if keys.shape[2] != values.shape[2]:
            raise AttentionError(
                f"{keys.shape[2]} keys and {values.shape[2]} values: expected as many of both"
            )
        return keys.shape[2]


class Store:
    """A contiguous block (num_layers, 2, num_kv_heads, capacity, head_dim), filled from its start.

    Args:
        layout: What a token is.
        capacity: Tokens that it has room for, >= 1.
    """

    def __init__(self, layout: KVLayout, capacity: int) -> None:
        self.layout = layout
        self.used = 0
        self.num_views = 0
        self.data = self._allocate(capacity)

    def _allocate(self, capacity: int) -> Tensor:
        layout = self.layout
        shape = (layout.num_layers, 2, layout.num_kv_heads, capacity, layout.head_dim)
        # A block made in inference mode could not be written to outside of it.
        with torch.inference_mode(False):
            return torch.empty(shape, dtype=layout.dtype, device=layout.device)

    @property
    def capacity(self) -> int:
        """Tokens that it has room for."""
        return self.data.shape[3]

    @property
    def num_bytes(self) -> int:
        """Bytes that it takes, used or not."""
        return self.capacity * self.layout.token_bytes

    def write(self, keys: Tensor, values: Tensor) -> None:
        """Put tokens behind those that are there; there must be room.

        Args:
            keys: (num_layers, num_kv_heads, N, head_dim).
            values: As ``keys``.
        """
        end = self.used + keys.shape[2]
        assert end <= self.capacity
        with torch.no_grad():
            self.data[:, 0, :, self.used : end] = keys
            self.data[:, 1, :, self.used : end] = values
        self.used = end

    def resize(self, capacity: int) -> None:
        """Move what is used to a block with another capacity; old views stay as they were."""
        assert capacity >= self.used
        old = self.data
        self.data = self._allocate(capacity)
        with torch.no_grad():
            self.data[:, :, :, : self.used] = old[:, :, :, : self.used]


def whole_chunks(num_tokens: int, chunk: int) -> int:
    """The smallest multiple of ``chunk`` that holds ``num_tokens``."""
    return math.ceil(num_tokens / chunk) * chunk


def grown(needed: int, capacity: int, chunk: int) -> int:
    """Capacity of a store that must hold ``needed`` tokens: a quarter more, in whole chunks."""
    return capacity if needed <= capacity else whole_chunks(int(needed * GROWTH), chunk)
