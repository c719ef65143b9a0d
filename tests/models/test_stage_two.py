"""Stage two: relations and refinement are blind to padding, ranked once, and all are trained."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bpnet.models.bpnet import BPNet
from bpnet.models.fusion import split_spans
from bpnet.models.losses import bpnet_losses
from bpnet.models.places import NUM_WAVES, waves
from bpnet.types import Batch

MakeModel = Callable[..., tuple[BPNet, object]]
FULL = {
    "num_similarities": 2,
    "num_context_layers": 2,
    "predictor": "linear",
    "pair_dim": 4,
    "overlap_weight": 1.0,
    "contrast_weight": 1.0,
    "proposal_order": "expected_iou",
    "proposal_nms": 0.7,
    "fusion": "query_product",
    "span_feature": "aligned",
    "num_relation_layers": 1,
    "score_residual": True,
    "refinement_weight": 1.0,
}


def awake(model: BPNet) -> BPNet:
    """Weights that begin at zero hide what they would pass on."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def test_spans_are_split_evenly() -> None:
    parts = split_spans(torch.tensor([[[0.0, 4.0], [1.0, 3.0]]]), 4)
    expected = [[0, 1], [1, 2], [2, 3], [3, 4], [1, 1.5], [1.5, 2], [2, 2.5], [2.5, 3]]
    assert parts.tolist() == [expected]


def test_waves_by_hand() -> None:
    found = waves(torch.tensor([1.0]))
    # sin and cos of pi/2, pi, 2 pi, ...
    assert found.shape == (2 * NUM_WAVES,)
    torch.testing.assert_close(found[:2], torch.tensor([1.0, 0.0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(found[NUM_WAVES:][:2], torch.tensor([0.0, -1.0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("proposer", ["span", "dense", "set", "windows"])
def test_padding_changes_nothing(
    make_model: MakeModel,
    make_batch: Callable[..., Batch],
    pad: Callable[..., Batch],
    proposer: str,
) -> None:
    model = awake(make_model(**FULL, proposer=proposer)[0])
    batch = make_batch()
    with torch.no_grad():
        narrow, wide = model(batch), model(pad(batch, clips=3, tokens=2, letters=4))
    for row in range(len(narrow.scores)):
        kept = [one.stage_one.proposals.mask[row] for one in (narrow, wide)]
        for name in ("spans", "scores"):
            found, expected = getattr(wide, name)[row, kept[1]], getattr(narrow, name)[row, kept[0]]
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("proposer", ["span", "dense", "set", "windows"])
def test_every_parameter_gets_a_gradient(
    make_model: MakeModel, make_batch: Callable[..., Batch], proposer: str
) -> None:
    model, config = make_model(**FULL, proposer=proposer)
    model, batch = awake(model).train(), make_batch()
    losses = bpnet_losses(model(batch), batch, config)
    losses["total"].backward()
    expected = {"boundary", "highlight", "contrast", "matching", "refinement", "total"}
    assert set(losses) == expected | ({"overlap"} if proposer == "span" else set())
    silent = {name for name, p in model.named_parameters() if p.grad is None}
    assert not silent
    model.eval()


def test_refined_spans_are_what_is_answered(
    make_model: MakeModel, make_batch: Callable[..., Batch]
) -> None:
    model = awake(make_model(**FULL)[0])
    batch = make_batch()
    with torch.no_grad():
        out = model(batch)
    real = out.stage_one.proposals.mask
    assert not torch.equal(out.spans[real], out.stage_one.proposals.spans[real])
    assert (out.spans[..., 0] < out.spans[..., 1])[real].all()
    lengths = batch.video_mask.sum(dim=1)[:, None]
    assert (out.spans >= 0).all() and (out.spans[..., 1] <= lengths).all()
