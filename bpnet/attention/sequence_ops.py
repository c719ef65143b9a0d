"""Each sequence over keys of its own, all in one padded call: phase two."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence as Items

import torch
from torch import Tensor

from bpnet.attention.partials import Partial
from bpnet.attention.plan import AttnPlan, Segment


@dataclasses.dataclass(frozen=True)
class _Places:
    """Where rows and keys lie in the padded call.

    Attributes:
        num_sequences: Sequences b.
        max_rows: Places for rows of each sequence.
        num_keys: Places for keys of each: ``max_rows`` for the new tokens, if any, then the stored.
        slots: Place of each row among b · max_rows (rows) int64; None where all are taken in order.
        mask: Added to the logits (b or 1, 1, max_rows · group or 1, num_keys); None where all is
            visible.
        empty: Sequences without any key (n) int64; None: there is none.
    """

    num_sequences: int
    max_rows: int
    num_keys: int
    slots: Tensor | None
    mask: Tensor | None
    empty: Tensor | None


@dataclasses.dataclass(frozen=True)
class _Block:
    """Keys and values of all sequences in one layer, padded.

    Attributes:
        keys: (b, num_kv_heads, keys, d), a view of one block.
        values: As ``keys``.
        own_k: The places of the new tokens in it (b, max_rows, num_kv_heads, d).
        own_v: As ``own_k``.
    """

    keys: Tensor
    values: Tensor
    own_k: Tensor
    own_v: Tensor


def _places(
    plan: AttnPlan, stored: Items[int], has_own: bool, causal: bool, group: int, dtype: torch.dtype
) -> _Places:
    device = plan.layout.device
    max_rows, num_sequences = max(plan.rows), plan.num_sequences
    num_own = max_rows if has_own else 0
    num_keys = num_own + max(stored)
    equal_rows = min(plan.rows) == max_rows
    if equal_rows and min(stored) == max(stored) and not (causal and max_rows > 1):
        return _Places(num_sequences, max_rows, num_keys, None, None, None)
    slots = None
    if not equal_rows:
        first = torch.arange(num_sequences) * max_rows
        slots = torch.cat([first[i] + torch.arange(n) for i, n in enumerate(plan.rows)]).to(device)
    visible = torch.zeros(num_sequences, 1, max_rows if causal else 1, num_keys, dtype=torch.bool)
    for i, (num_rows, tokens) in enumerate(zip(plan.rows, stored, strict=True)):
        if has_own:
            visible[i, ..., :num_rows] = True
        visible[i, ..., num_own : num_own + tokens] = True
    if causal:
        # Row i of a sequence is its token i. A padded row sees the first token: never nothing.
        before = torch.ones(max_rows, max_rows, dtype=torch.bool).tril()
        visible[..., :num_own] &= before
    nothing = ~visible.flatten(1).any(dim=1)
    empty = nothing.nonzero()[:, 0].to(device) if bool(nothing.any()) else None
    visible[nothing] = True  # of zeros; what comes of it is replaced
    mask = None
    if not bool(visible.all()):
        if bool((visible == visible[:1]).all()):
            visible = visible[:1]
        mask = torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, -math.inf).to(device)
        if causal:
            mask = mask.repeat_interleave(group, dim=2)
    return _Places(num_sequences, max_rows, num_keys, slots, mask, empty)


def _fill(plan: AttnPlan, pieces: Items[Items[Segment]], layer: int, places: _Places) -> _Block:
    """Copy stored tokens behind the places of the new ones."""
    layout = plan.layout
    size = (plan.num_sequences, 2, layout.num_kv_heads, places.num_keys, layout.head_dim)
    num_stored = max(sum(one.num_tokens for one in several) for several in pieces)
    num_own = places.num_keys - num_stored
    block = torch.empty(size, dtype=layout.dtype, device=layout.device)
    if all(len(several) == 1 and several[0].num_tokens == num_stored for several in pieces):
        # One call, where all have as many, as in a step of decoding.
        torch.stack([several[0].data[layer] for several in pieces], out=block[:, :, :, num_own:])
    else:
        block.zero_()
        for place, several in enumerate(pieces):
            at = num_own
            for one in several:
                block[place, :, :, at : at + one.num_tokens] = one.data[layer]
                at += one.num_tokens
    keys, values = block.unbind(1)
    own_k, own_v = (x[:, :, :num_own].transpose(1, 2) for x in (keys, values))
    return _Block(keys, values, own_k, own_v)


def sequence_attention(
    q: Tensor,
    plan: AttnPlan,
    layer: int,
    pieces: Items[Items[Segment]],
    own_k: Tensor | None,
    own_v: Tensor | None,
    scale: float,
    causal: bool,
    partial: Partial,
) -> tuple[Tensor, Tensor]:
    """Attention of each sequence over its new tokens and over segments that are given for it.

    Stored tokens are copied into one padded block, which is kept with the plan: a plan must always
    be given the same ``pieces``.

    Args:
        q: Queries (rows, H, d) in the plan's order.
        plan: The plan.
        layer: Layer of the stored keys.
        pieces: Segments for each sequence, none or more.
        own_k: Keys of the new tokens (rows, num_kv_heads, d), or None.
        own_v: Their values, or None.
        scale: Factor of the logits.
        causal: Whether a new token sees only those of its sequence up to itself.
        partial: Attention over one block of keys.

    Returns:
        Outputs (rows, H, d) and log-sum-exp (rows, H), -inf where a row sees nothing.
    """
    num_kv_heads = plan.layout.num_kv_heads
    group = q.shape[1] // num_kv_heads
    has_own = own_k is not None
    causal = causal and has_own
    stored = plan.keep(
        "short tokens", lambda: [sum(one.num_tokens for one in several) for several in pieces]
    )
    places = plan.keep(
        ("places", has_own, causal, group),
        lambda: _places(plan, stored, has_own, causal, group, q.dtype),
    )
    size = (plan.num_sequences, places.max_rows)
    any_stored = places.num_keys > places.max_rows * has_own

    if own_k is not None and own_v is not None and not any_stored and places.slots is None:
        k, v = (torch.unflatten(x, 0, size).transpose(1, 2) for x in (own_k, own_v))
    else:
        # Without stored tokens one block of places for the new ones serves all layers.
        block = plan.keep(
            ("block", layer if any_stored else None, has_own),
            lambda: _fill(plan, pieces, layer, places),
        )
        if own_k is not None and own_v is not None:
            for target, own in ((block.own_k, own_k), (block.own_v, own_v)):
                target.copy_(torch.unflatten(_padded(own, places), 0, size))
        k, v = block.keys, block.values

    batched = torch.unflatten(_padded(q, places), 0, size)  # (b, rows, H, d)
    if group > 1:
        batched = torch.unflatten(batched, 2, (num_kv_heads, group)).transpose(1, 2).flatten(2, 3)
    else:
        batched = batched.transpose(1, 2)
    out, lse = partial(batched, k, v, scale, places.mask)  # (b, num_kv_heads, rows · group, d)
    if places.empty is not None:
        out[places.empty] = 0.0
        lse[places.empty] = -math.inf
    out, lse = out.transpose(1, 2).flatten(0, 1), lse.transpose(1, 2).flatten(0, 1)
    if group > 1:  # (b · rows · group, num_kv_heads, d) to (b · rows, H, d)
        out, lse = (
            torch.unflatten(x, 0, (-1, group)).transpose(1, 2).flatten(1, 2) for x in (out, lse)
        )
    return (out, lse) if places.slots is None else (out[places.slots], lse[places.slots])


def _padded(rows: Tensor, places: _Places) -> Tensor:
    """Rows (rows, ...) at their places among as many for each sequence."""
    if places.slots is None:
        return rows
    num = places.max_rows * places.num_sequences
    return rows.new_zeros(num, *rows.shape[1:]).index_copy_(0, places.slots, rows)
