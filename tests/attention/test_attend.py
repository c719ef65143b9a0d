"""attend() against plain attention, and against itself in other orders."""

from __future__ import annotations

import torch
from forests import Case, cases, plain, plant
from hypothesis import given, settings
from hypothesis import strategies as st

from bpnet.attention import attend

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
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
