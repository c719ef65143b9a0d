"""Backend "torch" (and "expanded"): segments for all their rows, each sequence's own keys, merge.

ChunkAttention's two phases (arXiv 2402.15220, section 3.2) as a few large calls: a segment is read
once for all rows below it, and partial results are merged by their log-sum-exp. Phase one is here,
phase two in `torch_sequences.py`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bpnet.attention.inputs import AttnInputs
from bpnet.attention.merge import merge_pair
from bpnet.attention.partials import Partial, fold_heads, unfold_heads
from bpnet.attention.plan import AttnPlan, Segment
from bpnet.attention.torch_sequences import sequence_attention

# A private segment of so many bytes of keys and values a layer, or tokens, gets a call of its own,
# which reads it where it lies. Shorter ones are copied into one padded block, once a plan; while
# every step is a new plan, copying more than this takes longer than the call that it saves.
LONG_BYTES = 512 * 1024
LONG_TOKENS = 128

# A segment's rows, its keys and its values (1, num_kv_heads, N, d) in one layer, and the segment.
Part = tuple[slice, Tensor, Tensor, Segment]


def torch_attention(
    inputs: AttnInputs, partial: Partial, expand: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Attention in two phases.

    Args:
        inputs: The call.
        partial: Attention over one block of keys.
        expand: Read a segment again for each sequence, as ordinary batched attention does
            (backend "expanded"); the keys are not copied for it.

    Returns:
        Outputs (rows, H, d) and log-sum-exp (rows, H), or None.
    """
    plan, layer, needs_lse = inputs.plan, inputs.layer, inputs.needs_lse
    levels, short = plan.keep("phases", lambda: split_phases(plan))
    parts = plan.keep(("parts", layer), lambda: [_parts(plan, level, layer) for level in levels])
    state: tuple[Tensor, Tensor] | None = None
    if inputs.has_own or any(short):
        state = sequence_attention(inputs, short, partial)
    if parts:
        folded = fold_heads(inputs.q, inputs.group)
    for number, level in enumerate(parts):
        more = _level_attention(folded, inputs, level, partial, expand)
        if state is None:
            state = more
            continue
        # With new tokens every row sees at least one key already.
        last = number == len(parts) - 1 and not needs_lse
        state = merge_pair(*state, *more, finite=inputs.has_own, only_out=last)
    assert state is not None  # attend() has seen that each row sees something
    return state[0].to(inputs.q.dtype), state[1] if needs_lse else None


def _parts(plan: AttnPlan, level: list[Segment], layer: int) -> list[Part]:
    return [(plan.row_range(one), *one.data[layer].unsqueeze(1), one) for one in level]


def _level_attention(
    folded: Tensor, inputs: AttnInputs, level: list[Part], partial: Partial, expand: bool
) -> tuple[Tensor, Tensor]:
    """Segments that are side by side: each for its rows; rows without one see nothing here."""
    plan, group = inputs.plan, inputs.group
    out: Tensor | None = None
    for rows, k, v, segment in level:
        whole = segment.num_sequences == plan.num_sequences
        q = folded if whole else folded[:, rows.start * group : rows.stop * group]
        if expand:
            some, some_lse = _one_by_one(q, inputs, segment, k, v, partial)
        else:
            some, some_lse = partial(q.unsqueeze(0), k, v, inputs.scale, None)
            some, some_lse = some.squeeze(0), some_lse.squeeze(0)
        some, some_lse = unfold_heads(some, group), unfold_heads(some_lse, group)
        if whole:
            return some, some_lse
        if out is None:
            # At the precision of the sums: partial results are not rounded a second time.
            size = (plan.num_rows, *some.shape[1:])
            out = torch.zeros(size, dtype=some_lse.dtype, device=folded.device)
            lse = torch.full(size[:2], -math.inf, dtype=some_lse.dtype, device=folded.device)
        out[rows] = some
        lse[rows] = some_lse
    assert out is not None
    return out, lse


def _one_by_one(
    q: Tensor, inputs: AttnInputs, segment: Segment, k: Tensor, v: Tensor, partial: Partial
) -> tuple[Tensor, Tensor]:
    """A segment for each of its sequences, or for each row where they have unequal numbers."""
    counts = set(inputs.plan.rows[segment.first : segment.last])
    num = segment.num_sequences if len(counts) == 1 else q.shape[1]
    batched = torch.unflatten(q, 1, (num, -1)).transpose(0, 1)  # (b, heads, rows, d)
    k, v = k.expand(num, -1, -1, -1), v.expand(num, -1, -1, -1)
    out, lse = partial(batched, k, v, inputs.scale, None)
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
