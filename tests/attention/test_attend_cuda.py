"""Attention on a CUDA device: compiled kernels, every type, width and grouping; CUDA graphs.

    pytest -m gpu tests/attention/test_cuda.py

Compiling takes most of the time, a second or two a kernel.
"""

from __future__ import annotations

import importlib.util

import pytest
import torch
from forests import Case, plain, plant

from bpnet.attention import KVLayout, PrefixTree, attend

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
# Unequal rows, tails of no, one and many chunks, sequences that end at every depth and at none.
RAGGED = Case(
    parents=[-1, 0, 0, 1],
    tokens=[700, 65, 3, 40],
    ends=[3, 1, 1, 2, 0, -1],
    tails=[0, 5, 130, 1200, 1, 17],
    rows=[1, 3, 2, 1, 4, 1],
    heads=(2, 1, 64),
    has_own=True,
    causal=False,
)


def check(case: Case, dtype: torch.dtype, backend: str) -> None:
    forest = plant(case, dtype, device="cuda")
    for layer in (0, 1):
        out, lse = plain(forest, layer)
        got, got_lse = attend(
            forest.q, forest.plan, layer, *forest.own, backend, causal=case.causal, return_lse=True
        )
        assert got.dtype == dtype
        limit = TOLERANCE[dtype]
        assert float((got.double() - out).abs().max()) <= limit * max(1.0, float(out.abs().max()))
        assert float((got_lse - lse).abs().max()) <= limit * max(1.0, float(lse.abs().max()))


def changed(**values: object) -> Case:
    return Case(**{**vars(RAGGED), **values})  # type: ignore[arg-type]


@needs_triton
@pytest.mark.parametrize(
    ("dtype", "heads"),
    [
        (torch.float16, (8, 1, 64)),
        (torch.float16, (4, 1, 128)),
        (torch.float16, (1, 2, 256)),
        (torch.bfloat16, (2, 4, 32)),
        (torch.bfloat16, (1, 3, 80)),
        (torch.bfloat16, (4, 1, 128)),
        (torch.float32, (2, 3, 64)),
        (torch.float32, (2, 1, 128)),
        (torch.float32, (1, 1, 256)),
        (torch.float32, (1, 2, 5)),
    ],
)
def test_ragged_batches(dtype: torch.dtype, heads: tuple[int, int, int]) -> None:
    check(changed(heads=heads), dtype, "triton")


@needs_triton
@pytest.mark.parametrize(
    ("dtype", "heads"),
    [(torch.float16, (4, 1, 64)), (torch.bfloat16, (4, 1, 128)), (torch.float32, (4, 1, 32))],
)
def test_many_rows(dtype: torch.dtype, heads: tuple[int, int, int]) -> None:
    """Full tiles: questions of 17 tokens about one video, each token seeing those before it."""
    many = changed(
        parents=[-1],
        tokens=[1000],
        ends=[0] * 24,
        tails=[0] * 24,
        rows=[17] * 24,
        heads=heads,
        causal=True,
    )
    check(many, dtype, "triton")


@needs_triton
def test_stored_tokens_only() -> None:
    check(changed(has_own=False), torch.float16, "triton")


@pytest.mark.parametrize("backend", ["torch", "packed", "expanded", "reference", "auto"])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_other_backends(backend: str, dtype: torch.dtype) -> None:
    check(RAGGED, dtype, backend)


def decode(dtype: torch.dtype = torch.float16) -> tuple[PrefixTree, list[torch.Tensor], object]:
    generator = torch.Generator("cuda").manual_seed(0)

    def block(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, 64, generator=generator, device="cuda", dtype=dtype)

    tree = PrefixTree(KVLayout(2, 4, 64, dtype, torch.device("cuda")))
    node = tree.insert(None, [b"prompt"], block(2, 4, 900), block(2, 4, 900))
    chats = [tree.join(node) for _ in range(12)]
    for chat in chats:
        tree.append(chat, block(2, 4, 9), block(2, 4, 9))
    plan = tree.plan(chats)
    return tree, [block(12, 4), block(12, 4), block(12, 4)], plan


@needs_triton
def test_in_a_cuda_graph() -> None:
    """All layers are captured once and replayed with other numbers in the same places."""
    _, (q, k, v), plan = decode()
    auto = [attend(q, plan, layer, k, v) for layer in (0, 1)]  # compiles, and makes the tables
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = [attend(q, plan, layer, k, v) for layer in (0, 1)]
    graph.replay()
    for got, expected in zip(captured, auto, strict=True):
        assert torch.equal(got, expected)
    for tensor in (q, k, v):
        tensor.normal_()
    graph.replay()
    for layer, got in enumerate(captured):
        expected = attend(q, plan, layer, k, v, "reference")
        assert float((got - expected).abs().max()) <= 2e-3


@needs_triton
def test_nothing_waits_for_the_device() -> None:
    _, (q, k, v), plan = decode()
    attend(q, plan, 0, k, v)
    torch.cuda.set_sync_debug_mode("error")
    try:
        attend(q, plan, 1, k, v)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_triton
def test_what_auto_takes() -> None:
    tree, (q, k, v), plan = decode()
    attend(q, plan, 0, k, v)
    node = tree.insert(None, [b"alone"], *torch.randn(2, 2, 4, 40, 64, device="cuda").half())
    attend(q[:3], tree.plan([node] * 3), 0)
    assert tree.stats().choices == {"triton": 2}


@needs_triton
def test_stores_of_more_than_two_billion_numbers() -> None:
    """Places in the second layer do not fit into 32 bits."""
    num_tokens = 2**31 // (2 * 8 * 128) + 1000
    if torch.cuda.get_device_properties(0).total_memory < 40 * 2**30:
        pytest.skip("needs a device with 40 GiB")
    layout = KVLayout(2, 8, 128, torch.float16, torch.device("cuda"))
    tree = PrefixTree(layout, budget_bytes=1 << 40)
    k = torch.randn(2, 8, num_tokens, 128, dtype=torch.float16, device="cuda")
    q = torch.randn(2, 8, 128, dtype=torch.float16, device="cuda")
    k[1, :, -1] = 4 * q[0]  # the last key of the second layer has nearly all the weight
    node = tree.insert(None, [b"long"], k, k)
    del k
    plan = tree.plan([node, node])
    got = attend(q, plan, 1, backend="triton")
    assert float((got[0] - 4 * q[0]).abs().max()) <= 0.05
    assert float((got - attend(q, plan, 1, backend="reference")).abs().max()) <= 0.02
