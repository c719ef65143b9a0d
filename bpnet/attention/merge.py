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
    # Of two empty sides the difference is no number; either is as good.
    gap = torch.where(other_lse == -torch.inf, -torch.inf, other_lse - lse)
    wide = torch.promote_types(torch.promote_types(out.dtype, other_out.dtype), lse.dtype)
    weight = torch.sigmoid(gap).to(wide)[..., None]
    return torch.lerp(out.to(wide), other_out.to(wide), weight), torch.logaddexp(lse, other_lse)
