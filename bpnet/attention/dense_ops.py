"""Backends without phases: all stored keys side by side under a mask ("packed", "reference")."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bpnet.attention.partials import Partial
from bpnet.attention.plan import AttnPlan

# A plan whose keys and values in all layers take no more keeps a copy of them side by side. Larger
# copies are slower to read than what they are copies of: both do not fit into a core's cache.
KEPT_BYTES = 2 * 2**20


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


class _Block(NamedTuple):
    """All keys and values of one layer side by side, kept with a plan.

    Attributes:
        keys: (1, num_kv_heads, N, d), a view of one block.
        values: As ``keys``.
        own_k: The places of the new tokens in it (rows, num_kv_heads, d), or none.
        own_v: As ``own_k``.
    """

    keys: Tensor
    values: Tensor
    own_k: Tensor
    own_v: Tensor


def keeps_packed(plan: AttnPlan) -> bool:
    """Whether a plan keeps a copy of all that it sees, so that only the first call copies it."""
    num_tokens = sum(one.num_tokens for one in plan.segments) + plan.num_rows
    return num_tokens * plan.layout.token_bytes <= KEPT_BYTES


def _packed(
    plan: AttnPlan, layer: int, has_own: bool, causal: bool, group: int
) -> tuple[_Block | None, Tensor | None]:
    """The block, where it is kept, and what is added to logits (1, 1, rows · group, N), if any."""
    layout = plan.layout

    def make_mask() -> Tensor | None:
        visible = dense_mask(plan, has_own, causal)
        if bool(visible.all()):
            return None
        hidden = torch.zeros(visible.shape, dtype=layout.dtype, device=layout.device)
        hidden.masked_fill_(~visible, -math.inf)
        return hidden.repeat_interleave(group, dim=0)[None, None]

    mask = plan.keep(("packed mask", has_own, causal, group), make_mask)
    if not keeps_packed(plan):
        return None, mask
    parts = [one.data[layer] for one in plan.segments]
    if has_own:
        size = (2, layout.num_kv_heads, plan.num_rows, layout.head_dim)
        parts.append(torch.zeros(size, dtype=layout.dtype, device=layout.device))
    block = torch.cat(parts, dim=2)
    keys, values = block.unsqueeze(1)
    num_own = plan.num_rows if has_own else 0
    own_k, own_v = block[:, :, block.shape[2] - num_own :].transpose(1, 2)
    return _Block(keys, values, own_k, own_v), mask


def packed_attention(
    q: Tensor,
    plan: AttnPlan,
    layer: int,
    own_k: Tensor | None,
    own_v: Tensor | None,
    scale: float,
    causal: bool,
    partial: Partial,
    needs_lse: bool,
) -> tuple[Tensor, Tensor | None]:
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
        needs_lse: Whether the log-sum-exp is asked for.

    Returns:
        Outputs (rows, H, d) and log-sum-exp (rows, H), or None.
    """
    num_kv_heads = plan.layout.num_kv_heads
    group = q.shape[1] // num_kv_heads
    has_own = own_k is not None
    block, mask = plan.keep(
        ("packed", layer, has_own, causal, group),
        lambda: _packed(plan, layer, has_own, causal, group),
    )
    if block is None:
        keys, values = (x.unsqueeze(0) for x in dense_keys(plan, layer, own_k, own_v))
    else:
        keys, values = block.keys, block.values
        if own_k is not None and own_v is not None:
            block.own_k.copy_(own_k)
            block.own_v.copy_(own_v)
    out, lse = partial(fold_heads(q, num_kv_heads).unsqueeze(0), keys, values, scale, mask)
    out = unfold_heads(out.squeeze(0), group)
    return out, unfold_heads(lse.squeeze(0), group) if needs_lse else None


def fold_heads(q: Tensor, num_kv_heads: int) -> Tensor:
    """Queries (rows, H, d) to (num_kv_heads, rows · group, d): heads of one group become rows."""
    if q.shape[1] == num_kv_heads:
        return q.transpose(0, 1)
    grouped = torch.unflatten(q, 1, (num_kv_heads, -1))  # (rows, heads, group, d)
    return grouped.transpose(0, 1).flatten(1, 2)


def unfold_heads(rows: Tensor, group: int) -> Tensor:
    """The way back, of (num_kv_heads, rows · group, ...), outputs or their log-sum-exp."""
    if group == 1:
        return rows.transpose(0, 1)
    return torch.unflatten(rows, 1, (-1, group)).transpose(0, 1).flatten(1, 2)
