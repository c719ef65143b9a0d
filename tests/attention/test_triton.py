"""Triton's kernels against the torch backend: compiled on CUDA, interpreted elsewhere."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest
import torch
from forests import Case, cases, plant
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bpnet.attention import KVLayout, PrefixTree, attend
from bpnet.attention.inputs import AttnInputs
from bpnet.attention.triton_call import triton_attention
from bpnet.attention.triton_tables import choose_blocks, make_tables
from bpnet.errors import AttentionError

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed: `pip install triton`", allow_module_level=True)
if not torch.cuda.is_available():
    if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
        # Triton decides when it is imported whether its functions are interpreted.
        pytest.skip("set TRITON_INTERPRET=1 before the start", allow_module_level=True)
    os.environ["TRITON_INTERPRET"] = "1"

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
"""Of half precision only the output is rounded, and the weights of one block of keys."""


# Shrinking takes minutes in the interpreter.
@settings(max_examples=12, phases=(Phase.explicit, Phase.generate))
@given(
    case=cases(max_tokens=90, max_sequences=4),
    dtype=st.sampled_from(list(TOLERANCE)),
    processors=st.sampled_from([1, 100]),
)
def test_equal_to_torch(case: Case, dtype: torch.dtype, processors: int) -> None:
    forest = plant(case, dtype, device=DEVICE)
    own = None if forest.own_k is None or forest.own_v is None else (forest.own_k, forest.own_v)
    inputs = AttnInputs(forest.q, forest.plan, 1, own, 0.3, case.causal)
    places = forest.plan.caller_rows()
    if places is not None:
        inputs = inputs.reordered(places)
    got, got_lse = triton_attention(inputs, processors)
    if places is not None:
        got, got_lse = (torch.empty_like(x).index_copy_(0, places, x) for x in (got, got_lse))
    out, lse = attend(
        forest.q, forest.plan, 1, *forest.own, "reference", 0.3, case.causal, return_lse=True
    )
    assert got.dtype == dtype
    assert got_lse.dtype == torch.float32
    limit = TOLERANCE[dtype] * max(1.0, float(out.abs().max()))
    assert float((got.double() - out.double()).abs().max()) <= limit
    assert float((got_lse - lse).abs().max()) <= TOLERANCE[dtype] * max(1.0, float(lse.abs().max()))


@pytest.mark.parametrize(("group", "width"), [(1, 80), (3, 16), (1, 160)])
def test_long_segments_are_split(group: int, width: int) -> None:
    """Shared and private ones; a width that is no power of two, and one that needs small tiles."""
    layout = KVLayout(1, 1, width, device=torch.device(DEVICE))
    tree = PrefixTree(layout)
    generator = torch.Generator().manual_seed(0)

    def block(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, width, generator=generator).to(DEVICE)

    shared = tree.insert(None, [b"shared"], block(1, 1, 600), block(1, 1, 600))
    alone = tree.insert(shared, [b"alone"], block(1, 1, 1100), block(1, 1, 1100))
    plan = tree.plan([shared, alone, shared], [1, 30, 2])
    q, k, v = block(33, group), block(33, 1), block(33, 1)
    expected = attend(q, plan, 0, k, v, "reference")
    places = plan.caller_rows()
    assert places is not None
    # Parts are whole blocks of at least 128 keys, so their number depends on the width.
    for processors, least, most in ((1, 2, 2), (100, 8, 4 + 9)):
        inputs = AttnInputs(q, plan, 0, (k, v), width**-0.5).reordered(places)
        got, _ = triton_attention(inputs, processors)
        torch.testing.assert_close(got, expected[places], atol=1e-5, rtol=1e-5)
        tables = make_tables(plan, group, choose_blocks(plan, group), processors)
        assert least <= len(set(tables.entries.flatten().tolist())) <= most


def test_attend_calls_it() -> None:
    tree = PrefixTree(KVLayout(2, 1, 8, device=torch.device(DEVICE)))
    node = tree.insert(None, [b"a"], *torch.randn(2, 2, 1, 5, 8, device=DEVICE))
    plan = tree.plan([node, None, node], [2, 1, 1])
    q = torch.randn(4, 2, 8, device=DEVICE)
    k, v = torch.randn(2, 4, 1, 8, device=DEVICE)
    for layer in (0, 1):
        expected = attend(q, plan, layer, k, v, "torch")
        torch.testing.assert_close(attend(q, plan, layer, k, v, "triton"), expected)
    if DEVICE == "cuda":
        attend(q, plan, 0, k, v)
        assert tree.stats().choices == {"triton": 1}


def test_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = PrefixTree(KVLayout(1, 1, 8, torch.float64))
    q = torch.randn(1, 1, 8, dtype=torch.float64)
    with pytest.raises(AttentionError, match=r"with torch\.float64: expected float16, bfloat16"):
        attend(q, tree.plan([None]), 0, q, q, "triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(AttentionError, match="on cpu: it needs a CUDA device"):
        attend(q, tree.plan([None]), 0, q, q, "triton")
