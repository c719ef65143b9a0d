"""attend() against plain attention, and against itself in other orders."""

from __future__ import annotations

import pytest
import torch
from forests import Case, cases, plain, plant
from hypothesis import given, settings
from hypothesis import strategies as st

from bpnet.attention import Costs, KVLayout, PrefixTree, attend, packed
from bpnet.attention.partials import bmm_partial, flash_is_right, flash_partial
from bpnet.attention.plan import TreeState, build_plan
from bpnet.attention.shared import choose_partial
from bpnet.errors import AttentionError

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
NO_FLASH = Costs(2e-5, 7e9, 4e9, 0.0, 5e10)
BACKENDS = ("reference", "torch", "packed", "expanded", "auto")


def close(got: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Largest difference, as a share of the expected size where that is above one."""
    size = max(1.0, float(expected.abs().max()))
    assert float((got.double() - expected).abs().max()) <= tolerance * size


@settings(max_examples=60)
@given(case=cases(), layer=st.integers(0, 1))
def test_equal_to_plain_attention(case: Case, layer: int) -> None:
    forest = plant(case)
    out, lse = plain(forest, layer)
    for backend in BACKENDS:
        got, got_lse = attend(
            forest.q, forest.plan, layer, *forest.own, backend, causal=case.causal, return_lse=True
        )
        close(got, out, 1e-5)
        close(got_lse, lse, 1e-5)


@settings(max_examples=15)
@given(case=cases(), dtype=st.sampled_from(list(TOLERANCE)))
def test_number_types(case: Case, dtype: torch.dtype) -> None:
    forest = plant(case, dtype)
    out, _ = plain(forest, 0)
    for backend in BACKENDS:
        got = attend(forest.q, forest.plan, 0, *forest.own, backend, causal=case.causal)
        assert got.dtype == dtype
        close(got, out, TOLERANCE[dtype])


@settings(max_examples=25)
@given(case=cases(), chunk=st.sampled_from([1, 3, 64]), seed=st.integers(0, 99))
def test_chunks_order_and_joined_runs_do_not_matter(case: Case, chunk: int, seed: int) -> None:
    forest = plant(case, torch.float64)
    expected = attend(forest.q, forest.plan, 0, *forest.own, "torch", causal=case.causal)
    other = plant(case, torch.float64, chunk=chunk)
    got = attend(other.q, other.plan, 0, *other.own, "torch", causal=case.causal)
    close(got, expected, 1e-12)

    # The caller's order of sequences, with the rows of each.
    order = torch.randperm(len(case.rows), generator=torch.Generator().manual_seed(seed)).tolist()
    rows = torch.cat([torch.arange(sum(case.rows)).split(case.rows)[place] for place in order])
    plan = forest.tree.plan([forest.sequences[i] for i in order], [case.rows[i] for i in order])
    own = [None if one is None else one[rows] for one in forest.own]
    for backend in BACKENDS:
        got = attend(forest.q[rows], plan, 0, *own, backend, causal=case.causal)
        close(got, expected[rows], 1e-12)

    # Every node a segment of its own.
    nodes = [sequence.node for sequence in forest.sequences]
    apart = build_plan(nodes, case.rows, forest.tree.layout, TreeState(), merge=False)
    got = attend(forest.q, apart, 0, *forest.own, "torch", causal=case.causal)
    close(got, expected, 1e-12)


def test_runs_that_lie_together_are_joined() -> None:
    tree = PrefixTree(KVLayout(1, 1, 2), chunk=2)
    k = torch.randn(1, 1, 6, 2)
    node = tree.insert(None, [b"a", b"b", b"c"], k, k)
    tree.insert(None, [b"a", b"x"], k[:, :, :4], k[:, :, :4])  # splits it behind the first chunk
    assert node.num_tokens == 4
    assert [one.num_tokens for one in tree.plan([node, node]).segments] == [6]
    apart = build_plan([node, node], [1, 1], tree.layout, TreeState(), merge=False)
    assert [one.num_tokens for one in apart.segments] == [2, 4]
    upper = node.parent
    assert [one.num_tokens for one in tree.plan([node, upper]).segments] == [2, 4]


@settings(max_examples=25)
@given(case=cases())
def test_many_at_once_equal_one_by_one(case: Case) -> None:
    forest = plant(case, torch.float64)
    before = {id(s.data): s.data.clone() for s in forest.plan.segments}
    together = attend(forest.q, forest.plan, 1, *forest.own, causal=case.causal)
    for backend in BACKENDS:
        attend(forest.q, forest.plan, 1, *forest.own, backend, causal=case.causal)
    # No query has written into what is stored.
    for segment in forest.plan.segments:
        assert torch.equal(segment.data, before[id(segment.data)])
    at = 0
    for sequence, num_rows in zip(forest.sequences, case.rows, strict=True):
        rows = slice(at, at + num_rows)
        at += num_rows
        own = [None if one is None else one[rows] for one in forest.own]
        plan = forest.tree.plan([sequence], num_rows)
        alone = attend(forest.q[rows], plan, 1, *own, causal=case.causal)
        close(together[rows], alone, 1e-12)


@settings(max_examples=25)
@given(case=cases())
def test_a_plan_used_again_remembers_nothing(case: Case) -> None:
    """Space that is kept with a plan is written anew: other tokens, layers and types of call."""
    forest = plant(case, torch.float64)
    first = attend(forest.q, forest.plan, 0, *forest.own, "torch", causal=case.causal)
    noise = [None if one is None else 100 * torch.randn_like(one) for one in forest.own]
    attend(forest.q, forest.plan, 0, *noise, "torch", causal=not case.causal)
    attend(forest.q, forest.plan, 1, *noise, "torch", causal=case.causal)
    below = attend(forest.q, forest.plan, 1, *forest.own, "torch", causal=case.causal)
    close(below, plain(forest, 1)[0], 1e-12)
    again = attend(forest.q, forest.plan, 0, *forest.own, "torch", causal=case.causal)
    assert torch.equal(first, again)


@settings(max_examples=15)
@given(case=cases(), size=st.sampled_from([100.0, 1e4]))
def test_large_logits(case: Case, size: float) -> None:
    forest = plant(case)
    forest.q.mul_(size)
    for backend in BACKENDS:
        got = attend(forest.q, forest.plan, 0, *forest.own, backend, causal=case.causal)
        assert bool(got.isfinite().all())
        # Rounding moves logits of this size by up to size · 1e-6: means of values stay means.
        assert float(got.abs().max()) <= 10
    wide = plant(case, torch.float64)
    wide.q.mul_(size)
    for backend in BACKENDS:
        got = attend(wide.q, wide.plan, 0, *wide.own, backend, causal=case.causal)
        close(got, plain(wide, 0)[0], 1e-9)


@settings(max_examples=25)
@given(case=cases())
def test_without_the_tiled_kernel(case: Case) -> None:
    """As on machines, or with versions of PyTorch, that do not have it."""
    forest = plant(case)
    out, lse = plain(forest, 0)
    for backend in ("torch", "packed", "expanded"):
        got, got_lse = attend(
            forest.q,
            forest.plan,
            0,
            *forest.own,
            backend,
            causal=case.causal,
            return_lse=True,
            costs=NO_FLASH,
        )
        close(got, out, 1e-5)
        close(got_lse, lse, 1e-5)
    assert choose_partial(forest.q, NO_FLASH) is bmm_partial


@settings(max_examples=25)
@given(case=cases())
def test_few_logits_and_many(case: Case) -> None:
    """Of a plan that keeps everything packed, few go through two products and a softmax."""
    forest = plant(case)
    out, _ = plain(forest, 0)
    nodes = [sequence.node for sequence in forest.sequences]
    with pytest.MonkeyPatch.context() as patch:
        for most in (0, 2**30):
            patch.setattr(packed, "FEW_LOGITS", most)
            plan = build_plan(nodes, case.rows, forest.tree.layout, TreeState())
            got = attend(forest.q, plan, 0, *forest.own, "packed", causal=case.causal)
            close(got, out, 1e-5)


def test_the_tiled_kernel_is_used() -> None:
    """If a PyTorch release changes it, this says so; `bmm_partial` takes its place."""
    assert flash_is_right()
    assert choose_partial(torch.zeros(1)) is flash_partial


def test_strided_queries() -> None:
    """As they come out of one projection to queries, keys and values."""
    tree = PrefixTree(KVLayout(1, 2, 4))
    node = tree.insert(None, [b"a"], *torch.randn(2, 1, 2, 9, 4))
    qkv = torch.randn(6, 3, 2, 4)
    plan = tree.plan([node] * 3, 2)
    q, k, v = (x.contiguous() for x in qkv.unbind(1))
    expected = attend(q, plan, 0, k, v)
    for backend in BACKENDS:
        got = attend(qkv[:, 0], plan, 0, qkv[:, 1], qkv[:, 2], backend)
        close(got, expected.double(), 1e-5)


def test_auto_is_counted_and_can_be_told_the_costs() -> None:
    tree = PrefixTree(KVLayout(1, 1, 4))
    node = tree.insert(None, [b"a"], *torch.randn(2, 1, 1, 300, 4))
    plan = tree.plan([node] * 5)
    q = torch.randn(5, 1, 4)
    attend(q, plan, 0)
    attend(q, plan, 0, backend="packed")
    # Launches that cost a second: one call over everything.
    attend(q, plan, 0, q, q, costs=Costs(1.0, 1e12, 1e12, 1e12, 1e12))
    choices = tree.stats().choices
    assert sum(choices.values()) == 2
    assert choices["torch"] == 1


def test_errors() -> None:
    tree = PrefixTree(KVLayout(2, 2, 4))
    node = tree.insert(None, [b"a"], *torch.randn(2, 2, 2, 3, 4))
    plan = tree.plan([node, node], [1, 2])
    q, k = torch.randn(3, 4, 4), torch.randn(3, 2, 4)
    for shape in [(2, 4, 4), (3, 3, 4), (3, 4, 5), (3, 4, 4, 1), (3, 0, 4)]:
        with pytest.raises(AttentionError, match=r"expected \(3 rows, a multiple of 2 heads"):
            attend(torch.zeros(shape), plan, 0)
    with pytest.raises(AttentionError, match="layer=2: expected 0 to 1"):
        attend(q, plan, 2)
    with pytest.raises(AttentionError, match=r"own_v has shape \(3, 4, 4\): expected \(3, 2, 4\)"):
        attend(q, plan, 0, k, q)
    with pytest.raises(AttentionError, match="own_k or own_v is missing"):
        attend(q, plan, 0, k)
    with pytest.raises(AttentionError, match=r"q is torch\.float64 on cpu: expected"):
        attend(q.double(), plan, 0)
    with pytest.raises(AttentionError, match="own_k requires a gradient"):
        attend(q, plan, 0, k.clone().requires_grad_(), k)
    with pytest.raises(AttentionError, match="backend='cuda': expected one of auto, torch"):
        attend(q, plan, 0, backend="cuda")
    with pytest.raises(AttentionError, match="its rows see nothing: give own_k and own_v"):
        attend(q, tree.plan([node, None], [1, 2]), 0)
    with torch.no_grad():
        attend(q.clone().requires_grad_(), plan, 0)
