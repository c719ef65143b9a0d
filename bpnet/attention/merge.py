"""merge_states: attention over two disjoint sets of keys, from the results over each."""

from __future__ import annotations

import torch
from torch import Tensor


def merge_states(
    out: Tensor, lse: Tensor, other_out: Tensor, other_lse: Tensor
) -> tuple[Tensor, Tensor]:
    """Join two partial results of softmax attention over disjoint keys.

    With lse = log Σ exp(logit) of each side, out = o1 + (o2 - o1)·σ(lse2 - lse1) and
    lse = log(exp(lse1) + exp(lse2)); the merge of online softmax (Milakov and Gimelshein, arXiv
    1805.02867), in the form of FlashInfer's cascade. Associative and commutative.

    Args:
        out: Weighted mean of the values over the first keys (..., d), finite.
        lse: Log-sum-exp of the logits over the first keys (...); -inf: there were none.
        other_out: As ``out``, over the other keys.
        other_lse: As ``lse``, over the other keys.

    Returns:
        Both over all keys, in the wider of the types.
    """
    return merge_pair(out, lse, other_out, other_lse)


def merge_pair(
    out: Tensor,
    lse: Tensor,
    other_out: Tensor,
    other_lse: Tensor,
    finite: bool = False,
    only_out: bool = False,
) -> tuple[Tensor, Tensor]:
    """`merge_states`, with what a caller knows to be needless left out.

    Args:
        out: See `merge_states`.
        lse: See `merge_states`.
        other_out: See `merge_states`.
        other_lse: See `merge_states`.
        finite: Whether no entry of ``lse`` is -inf.
        only_out: Whether the merged log-sum-exp is not needed; ``lse`` takes its place.

    Returns:
        Both over all keys, in the wider of the types.
    """
    gap = other_lse - lse
    if not finite:
        # Of two empty sides the difference is no number; either is as good.
        gap = torch.where(other_lse == -torch.inf, -torch.inf, gap)
    weight = torch.sigmoid(gap).unsqueeze(-1)
    if out.dtype == other_out.dtype == weight.dtype:
        merged = torch.lerp(out, other_out, weight)
    else:
        wide = torch.promote_types(torch.promote_types(out.dtype, other_out.dtype), weight.dtype)
        merged = torch.lerp(out.to(wide), other_out.to(wide), weight.to(wide))
    return merged, lse if only_out else torch.logaddexp(lse, other_lse)
