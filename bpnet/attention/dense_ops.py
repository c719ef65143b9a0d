"""Backends without phases: all stored keys side by side under a mask ("packed", "reference")."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bpnet.attention.partials import Partial
from bpnet.attention.plan import AttnPlan


def dense_mask(plan: AttnPlan, has_own: bool, causal: bool) -> Tensor:
    """Who sees whom.

    Args:
        plan: The plan.
        has_own: Whether the new tokens are among the keys.
        causal: Whether a new token sees only those of its sequence up to itself.

    Returns:
        (rows, N) bool, True = visible; the columns are the segments in order, then the new tokens.
    """

    def make() -> Tensor:
        device = plan.layout.device
        row = plan.row_sequences()
        columns = []
        for segment in plan.segments:
            sees = (row >= segment.first) & (row < segment.last)
            columns.append(sees[:, None].expand(-1, segment.num_tokens))
        if has_own:
            own = row[:, None] == row[None]
            if causal:
                own = own & torch.ones_like(own).tril()
            columns.append(own)
        return torch.cat(columns, dim=1).to(device)

    return plan.keep(("dense_mask", has_own, causal), make)


def dense_keys(
    plan: AttnPlan, layer: int, own_k: Tensor | None, own_v: Tensor | None
) -> tuple[Tensor, Tensor]:
    """All keys and values (num_kv_heads, N, d) in the order of `dense_mask`'s columns."""
    sides = []
    for side, own in enumerate((own_k, own_v)):
        parts = [segment.data[layer, side] for segment in plan.segments]
        if own is not None:
            parts.append(own.transpose(0, 1))
        sides.append(parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))
    return sides[0], sides[1]


def reference_attention(
    q: Tensor,
    plan: AttnPlan,
    layer: int,
    own_k: Tensor | None,
    own_v: Tensor | None,
    scale: float,
    causal: bool,
) -> tuple[Tensor, Tensor]:
    """Softmax over a dense mask, written out: what all other backends are compared with.

    Args:
        q: Queries (rows, H, d) in the plan's order.
        plan: The plan.
        layer: Layer of the stored keys.
        own_k: Keys of the new tokens (rows, num_kv_heads, d), or None.
        own_v: Their values, or None.
        scale: Factor of the logits.
        causal: See `dense_mask`.

    Returns:
        Outputs (rows, H, d) and log-sum-exp (rows, H).
    """
    keys, values = dense_keys(plan, layer, own_k, own_v)
    wide = torch.promote_types(q.dtype, torch.float32)
    group = q.shape[1] // keys.shape[0]
    keys, values = (x.to(wide).repeat_interleave(group, dim=0) for x in (keys, values))
    logits = torch.einsum("rhd,hnd->rhn", q.to(wide), keys) * scale
    mask = dense_mask(plan, own_k is not None, causal)
    logits = logits.masked_fill(~mask[:, None], -math.inf)
    lse = torch.logsumexp(logits, dim=-1)
    out = torch.einsum("rhn,hnd->rhd", torch.exp(logits - lse[..., None]), values)
    return out.to(q.dtype), lse


def packed_attention(
    q: Tensor,
    plan: AttnPlan,
    layer: int,
    own_k: Tensor | None,
    own_v: Tensor | None,
    scale: float,
    causal: bool,
    partial: Partial,
) -> tuple[Tensor, Tensor]:
    """One call over all keys with a block mask; the keys are copied side by side.

    Args:
        q: See `reference_attention`.
        plan: See `reference_attention`.
        layer: See `reference_attention`.
        own_k: See `reference_attention`.
        own_v: See `reference_attention`.
        scale: See `reference_attention`.
        causal: See `reference_attention`.
        partial: Attention over one block of keys.

    Returns:
        Outputs (rows, H, d) and log-sum-exp (rows, H).
    """
    keys, values = dense_keys(plan, layer, own_k, own_v)
    folded = fold_heads(q, keys.shape[0])
    group = q.shape[1] // keys.shape[0]

    def make() -> Tensor | None:
        mask = dense_mask(plan, own_k is not None, causal)
        if bool(mask.all()):
            return None
        hidden = torch.zeros(mask.shape, dtype=q.dtype, device=q.device)
        hidden.masked_fill_(~mask, -math.inf)
        return hidden.repeat_interleave(group, dim=0)[None, None]

    mask = plan.keep(("packed_mask", own_k is not None, causal, group, q.dtype), make)
    out, lse = partial(folded[None], keys[None], values[None], scale, mask)
    return unfold_heads(out[0], lse[0], q.shape[1])


def fold_heads(q: Tensor, num_kv_heads: int) -> Tensor:
    """Queries (rows, H, d) to (num_kv_heads, rows · group, d): heads of one group become rows."""
    if q.shape[1] == num_kv_heads:
        return q.transpose(0, 1)
    grouped = torch.unflatten(q, 1, (num_kv_heads, -1))  # (rows, heads, group, d)
    return grouped.transpose(0, 1).flatten(1, 2)


def unfold_heads(out: Tensor, lse: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
    """The way back, of outputs (num_kv_heads, rows · group, d) and their log-sum-exp."""
    num_kv_heads = out.shape[0]
    if num_heads == num_kv_heads:
        return out.transpose(0, 1), lse.transpose(0, 1)
    group = num_heads // num_kv_heads
    out = torch.unflatten(out, 1, (-1, group)).transpose(0, 1).flatten(1, 2)
    return out, torch.unflatten(lse, 1, (-1, group)).transpose(0, 1).flatten(1, 2)
