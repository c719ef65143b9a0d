"""Means over spans by running sums, and clip positions as seconds."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from bpnet.data.collate import clip_seconds
from bpnet.models.fusion import span_weights
from bpnet.models.proposal_tokens import ProposalTokens, seconds_at
from bpnet.models.span_means import Summed
from bpnet.types import Proposals
from bpnet_features import ClipGrid

POSITIONS = st.floats(0, 9, allow_nan=False, width=32)


@given(st.lists(st.tuples(POSITIONS, POSITIONS), min_size=1, max_size=5))
def test_span_means_are_weighted_means(pairs: list[tuple[float, float]]) -> None:
    torch.manual_seed(0)
    clips = torch.randn(1, 9, 3, dtype=torch.float64)
    spans = torch.tensor([[sorted(pair) for pair in pairs]], dtype=torch.float64)
    spans[..., 1] = torch.maximum(spans[..., 1], spans[..., 0] + 0.01).clamp(max=9)
    spans[..., 0] = torch.minimum(spans[..., 0], spans[..., 1] - 0.01)
    found = Summed.of(clips).means(spans)
    torch.testing.assert_close(found, span_weights(spans, 9) @ clips, atol=1e-9, rtol=0)


@given(st.lists(POSITIONS, min_size=1, max_size=5))
def test_positions_in_seconds_are_those_of_the_grid(positions: list[float]) -> None:
    edges = np.array([2.0, 2.5, 4.0, 4.5, 6.0, 7.0, 7.5, 9.0, 9.5, 12.0])
    grid = ClipGrid(edges, 12.0)
    seconds = torch.from_numpy(clip_seconds(grid))[None]
    found = seconds_at(seconds, torch.tensor([positions]))
    np.testing.assert_allclose(found[0], grid.to_seconds(positions) - 2.0, atol=1e-5)


def test_tokens_lie_evenly_from_start_to_end() -> None:
    """Span [2, 6) of clips of half a second: 1 to 3 s."""
    grid = ClipGrid.uniform(8, 4.0)
    seconds, mask = torch.from_numpy(clip_seconds(grid))[None], torch.ones(1, 8).bool()
    spans = torch.tensor([[[2.0, 6.0]]])
    proposals = Proposals(spans, torch.zeros(1, 1), torch.ones(1, 1).bool())
    stem = torch.randn(1, 8, 4)
    for count, expected in ((1, [2.0]), (2, [1.0, 3.0]), (4, [1.0, 5 / 3, 7 / 3, 3.0])):
        tokens, times = ProposalTokens(4, count)(Summed.of(stem), seconds, mask, proposals)
        assert tokens.shape == (1, count, 4)
        torch.testing.assert_close(times, torch.tensor([expected]))
