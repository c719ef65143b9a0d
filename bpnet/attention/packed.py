"""Backend "packed": one call over all stored keys side by side, under a block mask."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bpnet.attention.inputs import AttnInputs
from bpnet.attention.partials import Partial, fold_heads, unfold_heads
from bpnet.attention.plan import AttnPlan
from bpnet.attention.reference import dense_keys, dense_mask

# A plan whose keys and values in all layers take no more keeps a copy of them side by side. Larger
# copies are slower to read than what they are copies of: both do not fit into a core's cache.
KEPT_BYTES = 2 * 2**20
# Of so few logits two products and a softmax are faster than a tiled kernel, by up to a fourth;
# of many, which are no longer in a core's cache, twice as slow.
FEW_LOGITS = 2**16


def packed_attention(inputs: AttnInputs, partial: Partial) -> tuple[Tensor, Tensor | None]:
    """Attention in one call.

    Args:
        inputs: The call.
        partial: Attention over one block of keys.

    Returns:
        Outputs (rows, H, d) and log-sum-exp (rows, H), or None.
    """
    own, group = inputs.own, inputs.group
    block, mask = inputs.plan.keep(
        ("packed", inputs.layer, own is None, inputs.causal, group), lambda: _prepare(inputs)
    )
    q = fold_heads(inputs.q, group)
    if block is None:
        keys, values = (side.unsqueeze(0) for side in dense_keys(inputs))
    else:
        keys, values = block.keys, block.values
        if own is not None:
            block.own_k.copy_(own[0])
            block.own_v.copy_(own[1])
        if block.few is not None and not inputs.needs_lse:
            return unfold_heads(_attend_few(q, *block.few, inputs.scale), group), None
    out, lse = partial(q.unsqueeze(0), keys, values, inputs.scale, mask)
    out = unfold_heads(out.squeeze(0), group)
    return out, unfold_heads(lse.squeeze(0), group) if inputs.needs_lse else None


def _attend_few(q: Tensor, mask: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    logits = torch.baddbmm(mask, q, keys, alpha=scale)
    return torch.bmm(torch.softmax(logits, dim=-1), values)


class _Block(NamedTuple):
    """All keys and values of one layer side by side, kept with a plan.

    Attributes:
        keys: (1, num_kv_heads, N, d), a view of one block.
        values: As ``keys``.
        own_k: The places of the new tokens in it (rows, num_kv_heads, d), or none.
        own_v: As ``own_k``.
        few: Where there are few logits, what `_attend_few` takes: what is added to them
            (1, rows · group, N) or zero, keys (num_kv_heads, d, N), values (num_kv_heads, N, d).
    """

    keys: Tensor
    values: Tensor
    own_k: Tensor
    own_v: Tensor
    few: tuple[Tensor, Tensor, Tensor] | None


def keeps_packed(plan: AttnPlan) -> bool:
    """Whether a plan keeps a copy of all that it sees, so that only the first call copies it."""
    num_tokens = sum(one.num_tokens for one in plan.segments) + plan.num_rows
    return num_tokens * plan.layout.token_bytes <= KEPT_BYTES


def _prepare(inputs: AttnInputs) -> tuple[_Block | None, Tensor | None]:
    """The block, where it is kept, and what is added to logits (1, 1, rows · group, N), if any."""
    plan, layout, has_own = inputs.plan, inputs.plan.layout, inputs.has_own

    def make_mask() -> Tensor | None:
        visible = dense_mask(inputs)
        if bool(visible.all()):
            return None
        hidden = torch.zeros(visible.shape, dtype=layout.dtype, device=layout.device)
        hidden.masked_fill_(~visible, -math.inf)
        return hidden.repeat_interleave(inputs.group, dim=0)[None, None]

    mask = plan.keep(("packed mask", has_own, inputs.causal, inputs.group), make_mask)
    if not keeps_packed(plan):
        return None, mask
    parts = [one.data[inputs.layer] for one in plan.segments]
    if has_own:
        size = (2, layout.num_kv_heads, plan.num_rows, layout.head_dim)
        parts.append(torch.zeros(size, dtype=layout.dtype, device=layout.device))
    block = torch.cat(parts, dim=2)
    num_tokens = block.shape[2]
    num_own = plan.num_rows if has_own else 0
    own_k, own_v = block[:, :, num_tokens - num_own :].transpose(1, 2)
    few = None
    num_logits = plan.num_rows * inputs.q.shape[1] * num_tokens
    if num_logits <= FEW_LOGITS and layout.dtype.itemsize >= 4:  # half precision would round them
        added = block.new_zeros(1, 1, 1) if mask is None else mask[0]
        few = added, block[0].transpose(1, 2), block[1]
    keys, values = block.unsqueeze(1)
    return _Block(keys, values, own_k, own_v, few), mask
