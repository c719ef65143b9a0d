"""AttnInputs: what one call of `attend` is about; it is what every backend takes."""

from __future__ import annotations

from typing import NamedTuple, NoReturn

import torch
from torch import Tensor

from bpnet.attention.plan import AttnPlan
from bpnet.errors import AttentionError


class AttnInputs(NamedTuple):
    """New rows, what they see, and how; checked, for a backend, and in the plan's order.

    One is made in every layer of every step, and a frozen dataclass takes three times as long.

    Attributes:
        q: Queries (rows, H, d).
        plan: Which rows see which stored tokens.
        layer: Layer of the stored keys, from 0.
        own: Keys and values of the new tokens (rows, num_kv_heads, d) each, or None.
        scale: Factor of the logits.
        causal: Whether a new token sees only those of its sequence up to itself.
        needs_lse: Whether the log-sum-exp is asked for; a backend may give None if not.
    """

    q: Tensor
    plan: AttnPlan
    layer: int
    own: tuple[Tensor, Tensor] | None
    scale: float
    causal: bool = False
    needs_lse: bool = True

    @property
    def has_own(self) -> bool:
        """Whether the new tokens are among the keys."""
        return self.own is not None

    @property
    def group(self) -> int:
        """Query heads that share one head of keys and values."""
        return self.q.shape[1] // self.plan.layout.num_kv_heads

    def reordered(self, places: Tensor) -> AttnInputs:
        """The same with rows taken from these places (rows) int64; see `AttnPlan.caller_rows`."""
        own = self.own
        if own is not None:
            own = own[0].index_select(0, places), own[1].index_select(0, places)
        return self._replace(q=self.q.index_select(0, places), own=own)

    def fit(self) -> bool:
        """Whether a call is right; quick, for it is asked in every layer. `refuse` says why not."""
        q, plan, layer, own = self[:4]
        layout = plan.layout
        dtype, device, grad = layout.dtype, layout.device, torch.is_grad_enabled()
        num_heads = q.shape[1] if q.ndim == 3 else 0
        if (
            plan.version != plan.state.version
            or not 0 <= layer < layout.num_layers
            or num_heads < 1
            or num_heads % layout.num_kv_heads
            or q.shape != (plan.num_rows, num_heads, layout.head_dim)
            or q.dtype != dtype
            or q.device != device
            or (grad and q.requires_grad)
        ):
            return False
        if own is None:
            return plan.sees_tokens
        own_k, own_v = own
        size = (plan.num_rows, layout.num_kv_heads, layout.head_dim)
        return (
            own_k.shape == size
            and own_v.shape == size
            and own_k.dtype == own_v.dtype == dtype
            and own_k.device == own_v.device == device
            and not (grad and (own_k.requires_grad or own_v.requires_grad))
        )

    def refuse(self) -> NoReturn:
        """Raise `AttentionError` that says what does not fit."""
        q, plan, layout = self.q, self.plan, self.plan.layout
        if not plan.is_current:
            raise AttentionError(
                f"the plan is stale: made for version {plan.version} of the tree, which is at "
                f"{plan.state.version}; call tree.plan() again after storing, growing or dropping"
            )
        if not 0 <= self.layer < layout.num_layers:
            raise AttentionError(f"layer={self.layer!r}: expected 0 to {layout.num_layers - 1}")
        num_heads = q.shape[1] if q.ndim == 3 else 0
        expected = (plan.num_rows, num_heads, layout.head_dim)
        if num_heads < 1 or num_heads % layout.num_kv_heads or q.shape != expected:
            raise AttentionError(
                f"q has shape {tuple(q.shape)}: expected ({plan.num_rows} rows, a multiple of "
                f"{layout.num_kv_heads} heads, width {layout.head_dim}), as the plan says"
            )
        size = (plan.num_rows, layout.num_kv_heads, layout.head_dim)
        for name, tensor in zip(("q", "own_k", "own_v"), (q, *(self.own or ())), strict=False):
            if name != "q" and tensor.shape != size:
                raise AttentionError(f"{name} has shape {tuple(tensor.shape)}: expected {size}")
            if tensor.dtype != layout.dtype or tensor.device != layout.device:
                raise AttentionError(
                    f"{name} is {tensor.dtype} on {tensor.device}: expected {layout.dtype} on "
                    f"{layout.device}, as the tree's layout says"
                )
            if tensor.requires_grad and torch.is_grad_enabled():
                raise AttentionError(
                    f"{name} requires a gradient, and attend() has none: call it under "
                    "torch.no_grad(), or train with plain masked attention, which gives the same"
                )
        assert self.own is None
        raise AttentionError(
            "a sequence has no stored tokens, so its rows see nothing: give own_k and own_v"
        )
