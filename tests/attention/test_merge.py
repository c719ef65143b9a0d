"""merge_states: an algebra of partial attention."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bpnet.attention import merge_states

State = tuple[Tensor, Tensor]


def state(seed: int, num_keys: int, size: float) -> tuple[State, Tensor, Tensor]:
    """Attention over some keys, its logits (3, n) and its values (n, 2), in double precision."""
    generator = torch.Generator().manual_seed(seed)
    logits = size * torch.randn(3, num_keys, generator=generator, dtype=torch.float64)
    values = torch.randn(num_keys, 2, generator=generator, dtype=torch.float64)
    if not num_keys:
        return (torch.zeros(3, 2).double(), torch.full((3,), -math.inf).double()), logits, values
    return (torch.softmax(logits, 1) @ values, torch.logsumexp(logits, 1)), logits, values


def same(one: State, other: State) -> None:
    for a, b in zip(one, other, strict=True):
        assert not a.isnan().any()
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@given(
    seeds=st.tuples(*[st.integers(0, 999)] * 3),
    counts=st.tuples(*[st.integers(0, 4)] * 3),
    size=st.sampled_from([0.1, 1.0, 1e4]),
)
def test_any_order_gives_attention_over_all(
    seeds: tuple[int, ...], counts: tuple[int, ...], size: float
) -> None:
    parts = [
        state(100 * s + i, n, size) for i, (s, n) in enumerate(zip(seeds, counts, strict=True))
    ]
    (a, b, c) = (part[0] for part in parts)
    left = merge_states(*merge_states(*a, *b), *c)
    same(left, merge_states(*a, *merge_states(*b, *c)))
    same(left, merge_states(*c, *merge_states(*b, *a)))
    same(merge_states(*a, *b), merge_states(*b, *a))
    logits = torch.cat([part[1] for part in parts], dim=1)
    if logits.shape[1]:
        values = torch.cat([part[2] for part in parts])
        same(left, (torch.softmax(logits, 1) @ values, torch.logsumexp(logits, 1)))


def test_an_empty_side_changes_nothing() -> None:
    full, _, _ = state(0, 4, 1.0)
    empty, _, _ = state(0, 0, 1.0)
    for merged in (merge_states(*full, *empty), merge_states(*empty, *full)):
        assert torch.equal(merged[0], full[0])
        assert torch.equal(merged[1], full[1])
    out, lse = merge_states(*empty, *empty)
    assert torch.equal(out, empty[0])
    assert bool((lse == -math.inf).all())


def test_large_logits_in_single_precision() -> None:
    out, lse = torch.tensor([[1.0], [2.0]]), torch.tensor([1e4, -1e4])
    other, other_lse = torch.tensor([[3.0], [4.0]]), torch.tensor([-1e4, 1e4])
    merged, both = merge_states(out, lse, other, other_lse)
    assert merged.tolist() == [[1.0], [4.0]]
    assert both.tolist() == [1e4, 1e4]


def test_half_precision_is_merged_in_single() -> None:
    out = torch.ones(1, 1, dtype=torch.bfloat16)
    merged, _ = merge_states(out, torch.zeros(1), 2 * out, torch.zeros(1))
    assert merged.dtype == torch.float32
    assert float(merged) == 1.5
