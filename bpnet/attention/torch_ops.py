"""Backend "torch": shared segments for all their rows at once, then each sequence's own keys.

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

# A private segment from this length on is worth a call of its own, which reads it where it lies;
# shorter ones are copied into one padded block, once a plan. It also bounds the padding.
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

    Returns:
        Outputs (rows, H, d) and log-sum-exp (rows, H).
    """
    folded = fold_heads(q, plan.layout.num_kv_heads)
    group = q.shape[1] // plan.layout.num_kv_heads
    alone, short = plan.keep("phases", lambda: split_phases(plan))
    out: Tensor | None = None
    lse: Tensor | None = None
    if own_k is not None or any(short):
        out, lse = sequence_attention(
            folded, plan, layer, short, own_k, own_v, scale, causal, partial, keep="short"
        )
    for segment in alone:
        rows = plan.row_range(segment)
        part = slice(rows.start * group, rows.stop * group)
        k, v = segment.data[layer, 0], segment.data[layer, 1]
        more, more_lse = partial(folded[None, :, part], k[None], v[None], scale, None)
        more, more_lse = more[0], more_lse[0]
        if segment.num_sequences == plan.num_sequences:
            if out is None or lse is None:
                out, lse = more, more_lse
            else:
                out, lse = merge_states(out, lse, more, more_lse)
            continue
        if out is None or lse is None:
            out = torch.zeros(folded.shape, dtype=more_lse.dtype, device=q.device)
            lse = out.new_full(folded.shape[:2], -math.inf)
        elif out.dtype != lse.dtype:
            out = out.to(lse.dtype)  # partial results are never rounded to half precision
        out[:, part], lse[:, part] = merge_states(out[:, part], lse[:, part], more, more_lse)
    assert out is not None and lse is not None  # attend() has seen that each row sees something
    return unfold_heads(out.to(q.dtype), lse, q.shape[1])


def split_phases(plan: AttnPlan) -> tuple[list[Segment], list[list[Segment]]]:
    """Segments that get a call of their own, and for each sequence the short ones that do not."""
    alone = [one for one in plan.segments if one.num_sequences > 1 or one.num_tokens >= LONG_TOKENS]
    short = [[one for one in several if one.num_tokens < LONG_TOKENS] for several in plan.private]
    return alone, short
