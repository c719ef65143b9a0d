"""Backend "reference": softmax over a dense mask, written out; and that mask and those keys."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bpnet.attention.inputs import AttnInputs


def reference_attention(inputs: AttnInputs) -> tuple[Tensor, Tensor]:
    """What all other backends are compared with.

    Args:
        inputs: The call.

    Returns:
        Outputs (rows, H, d) and log-sum-exp (rows, H).
    """
    q = inputs.q
    wide = torch.promote_types(q.dtype, torch.float32)
    keys, values = (
        side.to(wide).repeat_interleave(inputs.group, dim=0) for side in dense_keys(inputs)
    )
    logits = torch.einsum("rhd,hnd->rhn", q.to(wide), keys) * inputs.scale
    logits = logits.masked_fill(~dense_mask(inputs)[:, None], -math.inf)
    lse = torch.logsumexp(logits, dim=-1)
    out = torch.einsum("rhn,hnd->rhd", torch.exp(logits - lse[..., None]), values)
    return out.to(q.dtype), lse


def dense_mask(inputs: AttnInputs) -> Tensor:
    """Who sees whom.

    Args:
        inputs: The call.

    Returns:
        (rows, N) bool, True = visible; the columns are the segments in order, then the new tokens.
    """
    plan, has_own, causal = inputs.plan, inputs.has_own, inputs.causal

    def make() -> Tensor:
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
        return torch.cat(columns, dim=1)

    return plan.keep(("dense_mask", has_own, causal), make)


def dense_keys(inputs: AttnInputs) -> tuple[Tensor, Tensor]:
    """All keys and values (num_kv_heads, N, d) in the order of `dense_mask`'s columns."""
    sides = []
    for side in range(2):
        parts = [segment.data[inputs.layer, side] for segment in inputs.plan.segments]
        if inputs.own is not None:
            parts.append(inputs.own[side].transpose(0, 1))
        sides.append(parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))
    return sides[0], sides[1]
