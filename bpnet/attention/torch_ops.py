"""Backend "torch" (and "expanded"): segments for all their rows, each sequence's own keys, merge.

ChunkAttention's two phases (arXiv 2402.15220, section 3.2) as a few large calls: a segment is read
once for all rows below it, and partial results are merged by their log-sum-exp.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bpnet.attention.dense_ops import fold_heads, unfold_heads
from bpnet.attention.merge import merge_states
from bpnet.attention.partials import Partial
from bpnet.attention.plan import AttnPlan, Segment
from bpnet.attention.sequence_ops import sequence_attention

# A private segment of so many bytes of keys and values a layer, or tokens, gets a call of its own,
# which reads it where it lies. Shorter ones are copied into one padded block, once a plan; while
# every step is a new plan, copying more than this takes longer than the call that it saves.
LONG_BYTES = 512 * 1024
LONG_TOKENS = 128


def tree_attention(
    q: Tensor,
    plan: AttnPlan,
    layer: int,
    own_k: Tensor | None,
    own_v: Tensor | None,
    scale: float,
    causal: bool,
    partial: Partial,
    expand: bool = False,
) -> tuple[Tensor, Tensor]:
    """Attention in two phases.

    Args:
        q: Queries (rows, H, d) in the plan's order.
        plan: The plan.
        layer: Layer of the stored keys.
        own_k: Keys of the new tokens (rows, num_kv_heads, d), or None.
        own_v: Their values, or None.
        scale: Factor of the logits.
        causal: Whether a new token sees only those of its sequence up to itself.
        partial: Attention over one block of keys.
        expand: Read a segment again for each sequence, as ordinary batched attention does
            (backend "expanded"); the keys are not copied for it.

    Returns:
        Outputs (rows, H, d) and log-sum-exp (rows, H).
    """
    folded = fold_heads(q, plan.layout.num_kv_heads)
    levels, short = plan.keep("phases", lambda: split_phases(plan))
    state: tuple[Tensor, Tensor] | None = None
    if own_k is not None or any(short):
        state = sequence_attention(folded, plan, layer, short, own_k, own_v, scale, causal, partial)
    for level in levels:
        more = _level_attention(folded, plan, layer, level, scale, partial, expand)
        state = more if state is None else merge_states(*state, *more)
    assert state is not None  # attend() has seen that each row sees something
    return unfold_heads(state[0].to(q.dtype), state[1], q.shape[1])


def _level_attention(
    q: Tensor,
    plan: AttnPlan,
    layer: int,
    level: list[Segment],
    scale: float,
    partial: Partial,
    expand: bool,
) -> tuple[Tensor, Tensor]:
    """Segments that are side by side: each for its rows; rows without one see nothing here."""
    group = q.shape[1] // plan.num_rows
    out: Tensor | None = None
    for segment in level:
        rows = plan.row_range(segment)
        part = slice(rows.start * group, rows.stop * group)
        k, v = segment.data[layer].unbind(0)
        if expand:
            some, some_lse = _one_by_one(q[:, part], plan, segment, k, v, scale, partial)
        else:
            some, some_lse = partial(q[None, :, part], k[None], v[None], scale, None)
            some, some_lse = some[0], some_lse[0]
        if segment.num_sequences == plan.num_sequences:
            return some, some_lse
        if out is None:
            # At the precision of the sums: partial results are not rounded a second time.
            out = torch.zeros(q.shape, dtype=some_lse.dtype, device=q.device)
            lse = torch.full(q.shape[:2], -math.inf, dtype=some_lse.dtype, device=q.device)
        out[:, part] = some
        lse[:, part] = some_lse
    assert out is not None
    return out, lse


def _one_by_one(
    q: Tensor,
    plan: AttnPlan,
    segment: Segment,
    k: Tensor,
    v: Tensor,
    scale: float,
    partial: Partial,
) -> tuple[Tensor, Tensor]:
    """A segment for each of its sequences, or for each row where they have unequal numbers."""
    counts = set(plan.rows[segment.first : segment.last])
    num = segment.num_sequences if len(counts) == 1 else q.shape[1]
    batched = torch.unflatten(q, 1, (num, -1)).transpose(0, 1)  # (b, heads, rows, d)
    out, lse = partial(batched, k.expand(num, -1, -1, -1), v.expand(num, -1, -1, -1), scale, None)
    return out.transpose(0, 1).flatten(1, 2), lse.transpose(0, 1).flatten(1, 2)


def split_phases(plan: AttnPlan) -> tuple[list[list[Segment]], list[list[Segment]]]:
    """What gets calls of its own, and what does not.

    Args:
        plan: The plan.

    Returns:
        Levels of segments with calls of their own, those of a level being seen by different
        sequences, so that a level is merged at once; and for each sequence the short segments that
        it alone sees.
    """
    levels: list[list[Segment]] = []
    for one in plan.segments:
        if one.num_sequences == 1 and not _is_long(one):
            continue
        # They come depth first, so what does not overlap a level's last one overlaps none of it.
        level = next((level for level in levels if level[-1].last <= one.first), None)
        if level is None:
            levels.append([one])
        else:
            level.append(one)
    short = [[one for one in several if not _is_long(one)] for several in plan.private]
    return levels, short


def _is_long(segment: Segment) -> bool:
    layer = segment.data[0]
    num_bytes = layer.numel() * layer.element_size()
    return segment.num_tokens >= LONG_TOKENS or num_bytes >= LONG_BYTES
