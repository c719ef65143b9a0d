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
    out, lse = partial(q.unsqueeze(0), keys, values, inputs.scale, mask)
    out = unfold_heads(out.squeeze(0), group)
    return out, unfold_heads(lse.squeeze(0), group) if inputs.needs_lse else None


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
    num_own = plan.num_rows if has_own else 0
    own_k, own_v = block[:, :, block.shape[2] - num_own :].transpose(1, 2)
    keys, values = block.unsqueeze(1)
    return _Block(keys, values, own_k, own_v), mask
