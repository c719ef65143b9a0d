"""Phase two of backend "torch": each sequence over keys of its own, all in one padded call."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence as Items

import torch
from torch import Tensor

from bpnet.attention.inputs import AttnInputs
from bpnet.attention.partials import Partial
from bpnet.attention.plan import Segment


def sequence_attention(
    inputs: AttnInputs, pieces: Items[Items[Segment]], partial: Partial
) -> tuple[Tensor, Tensor]:
    """Attention of each sequence over its new tokens and over segments that are given for it.

    Stored tokens are copied into one padded block, which is kept with the plan: a plan must always
    be given the same ``pieces``.

    Args:
        inputs: The call.
        pieces: Segments for each sequence, none or more.
        partial: Attention over one block of keys.

    Returns:
        Outputs (rows, H, d) and log-sum-exp (rows, H), -inf where a row sees nothing.
    """
    plan, own, group = inputs.plan, inputs.own, inputs.group
    places = plan.keep(
        ("places", own is None, inputs.causal, group), lambda: _places(inputs, pieces)
    )
    if own is not None and not places.num_stored and places.slots is None:
        k, v = _by_sequence(own[0], places), _by_sequence(own[1], places)
    else:
        # Without stored tokens one block of places for the new ones serves all layers.
        block = plan.keep(
            ("block", inputs.layer if places.num_stored else None, own is None),
            lambda: _fill(inputs, pieces, places),
        )
        if own is not None:
            block.own_k.copy_(_by_sequence(own[0], places))
            block.own_v.copy_(_by_sequence(own[1], places))
        k, v = block.keys, block.values
    out, lse = partial(_by_sequence(inputs.q, places, group), k, v, inputs.scale, places.mask)
    if places.empty is not None:
        out[places.empty] = 0.0
        lse[places.empty] = -math.inf
    return _by_row(out, places, group), _by_row(lse, places, group)


@dataclasses.dataclass(frozen=True)
class _Places:
    """Where rows and keys lie in the padded call.

    Attributes:
        num_sequences: Sequences b.
        max_rows: Places for rows of each sequence.
        num_own: Places for the keys of new tokens of each: ``max_rows``, or 0.
        num_stored: Places for those of stored tokens, behind them.
        slots: Place of each row among b · max_rows (rows) int64; None where all are taken in order.
        mask: Added to the logits (b or 1, 1, max_rows · group or 1, num_own + num_stored); None
            where all is visible.
        empty: Sequences without any key (n) int64; None: there is none.
    """

    num_sequences: int
    max_rows: int
    num_own: int
    num_stored: int
    slots: Tensor | None
    mask: Tensor | None
    empty: Tensor | None


@dataclasses.dataclass(frozen=True)
class _Block:
    """Keys and values of all sequences in one layer, padded.

    Attributes:
        keys: (b, num_kv_heads, num_own + num_stored, d), a view of one block.
        values: As ``keys``.
        own_k: The places of the new tokens in it (b, num_kv_heads, num_own, d).
        own_v: As ``own_k``.
    """

    keys: Tensor
    values: Tensor
    own_k: Tensor
    own_v: Tensor


def _places(inputs: AttnInputs, pieces: Items[Items[Segment]]) -> _Places:
    rows, layout, has_own = inputs.plan.rows, inputs.plan.layout, inputs.has_own
    causal = inputs.causal and has_own
    stored = [sum(one.num_tokens for one in several) for several in pieces]
    max_rows, num_sequences, num_stored = max(rows), len(rows), max(stored)
    num_own = max_rows if has_own else 0
    equal_rows = min(rows) == max_rows
    if equal_rows and min(stored) == num_stored and not (causal and max_rows > 1):
        return _Places(num_sequences, max_rows, num_own, num_stored, None, None, None)
    slots = None
    if not equal_rows:
        first = torch.arange(num_sequences) * max_rows
        slots = torch.cat([first[i] + torch.arange(n) for i, n in enumerate(rows)])
        slots = slots.to(layout.device)
    visible = torch.zeros(
        num_sequences, 1, max_rows if causal else 1, num_own + num_stored, dtype=torch.bool
    )
    for i, (num_rows, tokens) in enumerate(zip(rows, stored, strict=True)):
        if has_own:
            visible[i, ..., :num_rows] = True
        visible[i, ..., num_own : num_own + tokens] = True
    if causal:
        # Row i of a sequence is its token i. A padded row sees the first token: never nothing.
        before = torch.ones(max_rows, max_rows, dtype=torch.bool).tril()
        visible[..., :num_own] &= before
    nothing = ~visible.flatten(1).any(dim=1)
    empty = nothing.nonzero()[:, 0].to(layout.device) if bool(nothing.any()) else None
    visible[nothing] = True  # of zeros; what comes of it is replaced
    mask = None
    if not bool(visible.all()):
        if bool((visible == visible[:1]).all()):
            visible = visible[:1]
        mask = torch.zeros(visible.shape, dtype=layout.dtype).masked_fill_(~visible, -math.inf)
        mask = mask.to(layout.device)
        if causal:
            mask = mask.repeat_interleave(inputs.group, dim=2)
    return _Places(num_sequences, max_rows, num_own, num_stored, slots, mask, empty)


def _fill(inputs: AttnInputs, pieces: Items[Items[Segment]], places: _Places) -> _Block:
    """Copy stored tokens behind the places of the new ones."""
    layout, layer, num_own = inputs.plan.layout, inputs.layer, places.num_own
    num_keys = num_own + places.num_stored
    size = (places.num_sequences, 2, layout.num_kv_heads, num_keys, layout.head_dim)
    block = torch.empty(size, dtype=layout.dtype, device=layout.device)
    if all(len(some) == 1 and some[0].num_tokens == places.num_stored for some in pieces):
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
    return _Block(keys, values, keys[:, :, :num_own], values[:, :, :num_own])


def _by_sequence(rows: Tensor, places: _Places, group: int = 1) -> Tensor:
    """Rows (rows, H, d) as (b, H / group, max_rows · group, d): heads of a group become rows."""
    if places.max_rows == 1:
        return torch.unflatten(rows, 1, (-1, group))
    num = places.num_sequences
    if places.slots is not None:
        padded = rows.new_zeros(num * places.max_rows, *rows.shape[1:])
        rows = padded.index_copy_(0, places.slots, rows)
    batched = torch.unflatten(rows, 0, (num, places.max_rows))  # (b, max_rows, H, d)
    if group == 1:
        return batched.transpose(1, 2)
    return torch.unflatten(batched, 2, (-1, group)).transpose(1, 2).flatten(2, 3)


def _by_row(batched: Tensor, places: _Places, group: int) -> Tensor:
    """The way back, of (b, num_kv_heads, max_rows · group, ...), outputs or their log-sum-exp."""
    if places.max_rows == 1:
        return batched.flatten(1, 2)
    rows = batched.transpose(1, 2).flatten(0, 1)  # (b · max_rows · group, num_kv_heads, ...)
    if group > 1:
        rows = torch.unflatten(rows, 0, (-1, group)).transpose(1, 2).flatten(1, 2)
    return rows if places.slots is None else rows[places.slots]
