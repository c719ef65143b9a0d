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
        max_rows: Places for rows of each sequence.
        num_keys: Places for keys of each: ``max_rows`` for the new tokens, if any, then the stored.
        slots: Place of each row among b · max_rows (rows) int64; None where all are taken in order.
        mask: Added to the logits (b or 1, 1, max_rows or 1, num_keys); None where all is visible.
        empty: Sequences without any key (n) int64; None: there is none.
    """

    max_rows: int
    num_keys: int
    slots: Tensor | None
    mask: Tensor | None
    empty: Tensor | None


def _places(
    plan: AttnPlan, stored: Items[int], has_own: bool, causal: bool, dtype: torch.dtype
) -> _Places:
    device = plan.layout.device
    max_rows, num_sequences = max(plan.rows), plan.num_sequences
    num_own = max_rows if has_own else 0
    num_keys = num_own + max(stored)
    slots = None
    if min(plan.rows) < max_rows:
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
    return _Places(max_rows, num_keys, slots, mask, empty)


def _fill(
    block: Tensor, pieces: Items[Items[Segment]], layer: int, num_own: int, num_keys: int
) -> Tensor:
    """Copy stored tokens behind the places of the new ones: (2, b, num_kv_heads, keys, d)."""
    for place, several in enumerate(pieces):
        at = num_own
        for one in several:
            block[:, place, :, at : at + one.num_tokens] = one.data[layer]
            at += one.num_tokens
    return block


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
        q: Queries (num_kv_heads, rows · group, d), see `fold_heads`, in the plan's order.
        plan: The plan.
        layer: Layer of the stored keys.
        pieces: Segments for each sequence, none or more.
        own_k: Keys of the new tokens (rows, num_kv_heads, d), or None.
        own_v: Their values, or None.
        scale: Factor of the logits.
        causal: Whether a new token sees only those of its sequence up to itself.
        partial: Attention over one block of keys.

    Returns:
        Outputs (num_kv_heads, rows · group, d) and log-sum-exp (num_kv_heads, rows · group), -inf
        where a row sees nothing.
    """
    num_kv_heads, folded_rows, width = q.shape
    group = folded_rows // plan.num_rows
    has_own = own_k is not None
    causal = causal and has_own
    stored = tuple(sum(one.num_tokens for one in several) for several in pieces)
    places = plan.keep(
        ("places", stored, has_own, causal, q.dtype),
        lambda: _places(plan, stored, has_own, causal, q.dtype),
    )
    size = (plan.num_sequences, places.max_rows)
    num_own = places.max_rows if has_own else 0

    if own_k is not None and own_v is not None and not any(stored) and places.slots is None:
        k, v = (torch.unflatten(x, 0, size).transpose(1, 2) for x in (own_k, own_v))
    else:
        shape = (2, plan.num_sequences, num_kv_heads, places.num_keys, width)

        def make() -> Tensor:
            return _fill(q.new_zeros(shape), pieces, layer, num_own, places.num_keys)

        # Without stored tokens one block of places for the new ones serves all layers.
        block = plan.keep(("block", layer if any(stored) else None, has_own), make)
        if own_k is not None and own_v is not None:
            for side, own in enumerate((own_k, own_v)):
                if places.slots is not None:
                    padded = own.new_zeros(size[0] * size[1], *own.shape[1:])
                    own = padded.index_copy_(0, places.slots, own)
                block[side, :, :, :num_own] = torch.unflatten(own, 0, size).transpose(1, 2)
        k, v = block[0], block[1]

    slots, mask = places.slots, places.mask
    if group > 1:
        if slots is not None:
            slots = (slots[:, None] * group + torch.arange(group, device=slots.device)).flatten()
        if mask is not None and mask.shape[2] > 1:
            mask = mask.repeat_interleave(group, dim=2)
    if slots is not None:
        padded = q.new_zeros(num_kv_heads, size[0] * size[1] * group, width)
        q = padded.index_copy_(1, slots, q)
    batched = torch.unflatten(q, 1, (plan.num_sequences, -1)).transpose(0, 1)  # (b, heads, rows, d)
    out, lse = partial(batched, k, v, scale, mask)
    if places.empty is not None:
        out[places.empty] = 0.0
        lse[places.empty] = -math.inf
    out = out.transpose(0, 1).flatten(1, 2)
    lse = lse.transpose(0, 1).flatten(1, 2)
    return (out, lse) if slots is None else (out[:, slots], lse[:, slots])
