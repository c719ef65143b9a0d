"""Videos without a limit of length: local attention, waves for places, and cells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bpnet.data.collate import collate
from bpnet.models.bpnet import BPNet
from bpnet.models.cells import nearest_cells, pool_cells
from bpnet.models.feature_encoder import SelfAttention
from bpnet.models.losses import bpnet_losses
from bpnet.models.places import place_waves
from bpnet.spans import tiou
from bpnet.types import Batch, Sample

MakeModel = Callable[..., tuple[BPNet, object]]
LONG = {"positions": "waves", "attention_window": 4, "max_cells": 6}


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 10**6))
def test_local_attention_against_a_band_mask(length: int, window: int, seed: int) -> None:
    torch.manual_seed(seed)
    local = SelfAttention(8, 2, 0.0, window).eval()
    x = torch.randn(3, length, 8)
    lengths = torch.tensor([length, max(1, length // 2), 1])
    mask = torch.arange(length) < lengths[:, None]
    found = local(x, mask)
    places = torch.arange(length)
    near = (places - places[:, None]).abs() <= window
    query, key, value = (
        layer(x).unflatten(-1, (2, -1)).transpose(1, 2)
        for layer in (local.query, local.key, local.value)
    )
    scores = (query @ key.transpose(2, 3) / 2.0).masked_fill(~(near & mask[:, None, None]), -1e30)
    expected = (scores.softmax(dim=3) @ value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(found[mask], expected[mask], rtol=1e-4, atol=1e-5)


def test_a_window_as_long_as_the_video_is_no_window() -> None:
    torch.manual_seed(0)
    local, full = SelfAttention(8, 2, 0.0, 9), SelfAttention(8, 2, 0.0)
    full.load_state_dict(local.state_dict())
    x, mask = torch.randn(2, 10, 8), torch.ones(2, 10, dtype=torch.bool)
    torch.testing.assert_close(local(x, mask), full(x, mask))


def test_waves_tell_places_apart_and_do_not_see_padding() -> None:
    mask = torch.arange(3000) < torch.tensor([[3000], [7]])
    found = place_waves(mask)
    assert found.shape[2] == 32 and found.abs().max() <= 1
    assert torch.unique(found[0], dim=0).shape[0] == 3000
    torch.testing.assert_close(found[1:, :7], place_waves(mask[1:, :7]))


def test_cells_by_hand() -> None:
    frames = torch.arange(5.0)[None, :, None].expand(2, 5, 1)
    mask = torch.arange(5) < torch.tensor([[5], [2]])
    cells, real, widths = pool_cells(frames, mask, 2)
    # Five clips in two cells of 2.5: (0 + 1 + 2/2)/2.5 and (2/2 + 3 + 4)/2.5. Two clips stay.
    torch.testing.assert_close(cells[..., 0], torch.tensor([[0.8, 3.2], [0.0, 1.0]]))
    assert real.all() and widths.tolist() == [2.5, 1.0]


@given(st.lists(st.floats(0, 12, width=32), min_size=2, max_size=2, unique=True))
def test_nearest_cells_against_all(ends: list[float]) -> None:
    start, end = sorted(ends)
    if end - start < 1e-3:
        return
    span = torch.tensor([[start, end]])
    first, last = torch.triu_indices(12, 12)
    every = torch.stack([first, last + 1], dim=-1).float()
    best = tiou(span, every).max()
    found = nearest_cells(span)
    assert 0 <= found[0, 0] < found[0, 1] <= 12
    torch.testing.assert_close(tiou(span, found.float())[0, 0], best, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pair_dim", [0, 4])
def test_padding_changes_nothing(
    make_model: MakeModel,
    make_batch: Callable[..., Batch],
    pad: Callable[..., Batch],
    pair_dim: int,
) -> None:
    model, _ = make_model(**LONG, pair_dim=pair_dim, proposal_order="expected_iou")
    batch = make_batch()
    with torch.no_grad():
        narrow, wide = model(batch), model(pad(batch, clips=6, tokens=2))
    real = narrow.stage_one.proposals.mask
    for name in ("spans", "scores"):
        found, expected = getattr(wide, name)[:, : real.shape[1]], getattr(narrow, name)
        torch.testing.assert_close(found[real], expected[real], rtol=0, atol=1e-5)


def test_thousands_of_clips(
    make_model: MakeModel, make_samples: Callable[..., list[Sample]]
) -> None:
    """More clips than any table has rows; what is proposed is in clips, and trains."""
    model, config = make_model(
        **{**LONG, "attention_window": 32, "max_cells": 64},
        pair_dim=4,
        span_feature="aligned",
        refinement_weight=1.0,
        overlap_weight=1.0,
        proposal_order="expected_iou",
        proposal_nms=0.7,
    )
    samples = make_samples([(3000, 3, 5), (40, 2, 4)])
    batch = collate(samples)
    assert batch.target_spans is None or batch.target_spans.shape == (2, 2)
    spans = torch.tensor([[100.0, 2900.5], [3.0, 9.0]])
    cells = torch.tensor([[[100, 2900]], [[3, 9]]])
    batch = Batch(**{**vars(batch), "target_spans": spans, "target_cells": cells})
    model.train()
    out = model(batch)
    losses = bpnet_losses(out, batch, config)
    losses["total"].backward()
    model.eval()
    assert np.isfinite(losses["total"].item())
    assert out.stage_one.frames.shape[1] == 3000
    assert out.stage_one.evidence.pairs.shape[1:] == (64, 64)
    proposals = out.stage_one.proposals
    assert proposals.spans[0].max() > 64  # clips, not cells
    assert (proposals.spans[1] <= 40).all() and (proposals.spans[0] <= 3000).all()
    # The short video keeps its clips: whole spans, off no grid.
    assert torch.equal(proposals.spans[1], proposals.spans[1].round())
