"""The whole network: shapes, padding, gradients of every choice, how the scores are made."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bpnet.data.collate import collate
from bpnet.model_config import ModelConfig
from bpnet.models.bpnet import BPNet
from bpnet.models.losses import bpnet_losses
from bpnet.models.span_proposer import SpanProposer
from bpnet.types import Batch, Sample

MakeModel = Callable[..., tuple[BPNet, ModelConfig]]

JOINS = [
    {"predictor": predictor, "fusion": fusion, "span_feature": span_feature}
    for predictor, fusion, span_feature in itertools.product(
        ["rnn", "transformer"], ["query_concat", "word_frame", "none"], ["mean", "ends"]
    )
]
OTHERS: list[dict[str, Any]] = [
    {"characters": False},
    {"boundary_targets": "soft"},
    {"matching_loss": "bce"},
    {"matching_loss": "scaled_iou_bce"},
    {"embedding_init": "normal", "lstm_init": "torch"},
    {"frozen_words": True},
    {"mask_pads": False},
    {"stage_two": False},
    {"stage_two": False, "mask_pads": False, "predictor": "transformer"},
]


def name(values: dict[str, Any]) -> str:
    return "-".join(str(value) for value in values.values())


@pytest.mark.parametrize("values", JOINS, ids=name)
def test_shape_padding_and_single(
    make_model: MakeModel,
    make_samples: Callable[..., list[Sample]],
    pad: Callable[..., Batch],
    values: dict[str, Any],
) -> None:
    model, _ = make_model(**values)
    samples = make_samples()
    with torch.no_grad():
        out = model(collate(samples))
        wide = model(pad(collate(samples), clips=4, tokens=2, letters=3))
        singles = [model(collate([sample])) for sample in samples]
    real = out.stage_one.proposals.mask
    assert out.scores.shape == out.score_logits.shape == (3, 4)
    assert real.sum(dim=1).tolist() == [4, 4, 1]  # one clip has one span
    assert (out.scores[~real] == -1).all()
    assert ((out.scores[real] > 0) & (out.scores[real] < 1)).all()
    for row, single in enumerate(singles):
        count = int(real[row].sum())
        for other, at in ((wide, row), (single, 0)):
            found, expected = other.stage_one.proposals, out.stage_one.proposals
            assert found.mask[at].sum() == count
            assert torch.equal(found.spans[at, :count], expected.spans[row, :count])
            torch.testing.assert_close(
                other.scores[at, :count], out.scores[row, :count], rtol=0, atol=1e-5
            )


@pytest.mark.parametrize("values", JOINS + OTHERS, ids=name)
def test_every_parameter_gets_a_gradient(
    make_model: MakeModel, make_batch: Callable[..., Batch], values: dict[str, Any]
) -> None:
    model, config = make_model(dropout=0.0, **values)
    batch = make_batch()
    batch.query_ids[0, 0] = 1  # the unknown word
    losses = bpnet_losses(model.train()(batch), batch, config)
    losses["total"].backward()
    for parameter_name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert gradient is not None and gradient.isfinite().all(), parameter_name
        # A softmax does not see what is added to all its places alike: a bias of the keys, or of
        # the boundary logits. Their gradient is zero but for rounding.
        unseen = ("attention.key.bias", "start_head.2.bias", "end_head.2.bias")
        if not parameter_name.endswith(unseen):
            assert gradient.abs().max() > 1e-9, parameter_name


def test_total_is_the_weighted_sum(make_model: MakeModel, make_batch: Callable[..., Batch]) -> None:
    model, config = make_model(boundary_weight=2.0, highlight_weight=3.0, matching_weight=7.0)
    batch = make_batch()
    with torch.no_grad():
        losses = bpnet_losses(model(batch), batch, config)
    assert set(losses) == {"boundary", "highlight", "matching", "total"}
    expected = 2 * losses["boundary"] + 3 * losses["highlight"] + 7 * losses["matching"]
    torch.testing.assert_close(losses["total"], expected)


def test_stage_one_alone(make_model: MakeModel, make_batch: Callable[..., Batch]) -> None:
    model, config = make_model(stage_two=False)
    assert model.stage_two is None
    batch = make_batch()
    with torch.no_grad():
        out = model(batch)
        losses = bpnet_losses(out, batch, config)
    proposals = out.stage_one.proposals
    assert out.score_logits is None
    real = proposals.mask
    assert torch.equal(out.scores[real], proposals.logits[real].exp())
    assert (out.scores[~real] == -1).all()
    assert (out.scores.diff(dim=1) <= 0).all()  # the order of the proposals is the answer's
    assert set(losses) == {"boundary", "highlight", "total"}
    torch.testing.assert_close(losses["total"], losses["boundary"] + 5 * losses["highlight"])


def test_unmasked_padding_reaches_real_places(
    make_model: MakeModel, make_batch: Callable[..., Batch], pad: Callable[..., Batch]
) -> None:
    batch = make_batch()
    for mask_pads in (False, True):
        model, _ = make_model(mask_pads=mask_pads)
        for extra in ({"clips": 4}, {"tokens": 4}, {"letters": 4}):
            with torch.no_grad():
                narrow = model(batch).stage_one.evidence.start
                wide = model(pad(batch, **extra)).stage_one.evidence.start
            moved = (wide[:, : narrow.shape[1]] - narrow).abs().max().item()
            assert (moved < 1e-5) == mask_pads, (mask_pads, extra, moved)


@pytest.mark.parametrize("fusion", ["query_concat", "word_frame", "none"])
@pytest.mark.parametrize("detach", [False, True])
def test_detach_stage_two(
    make_model: MakeModel, make_batch: Callable[..., Batch], detach: bool, fusion: str
) -> None:
    model, config = make_model(detach_stage_two=detach, fusion=fusion, score_fusion=0.5)
    batch = make_batch()
    bpnet_losses(model.train()(batch), batch, config)["matching"].backward()
    reached = {
        part: any(p.grad is not None and bool(p.grad.any()) for p in module.parameters())
        for part, module in model.named_children()
    }
    assert reached == {
        "encoder": not detach,
        "interaction": not detach,
        "proposer": False,
        "stage_two": True,
    }
    # Stage two never reaches the proposer: the choice of spans is hard.


@pytest.mark.parametrize("exponent", [0.0, 0.5, 2.0])
def test_score_fusion(
    make_model: MakeModel, make_batch: Callable[..., Batch], exponent: float
) -> None:
    model, _ = make_model(score_fusion=exponent)
    with torch.no_grad():
        out = model(make_batch())
    proposals = out.stage_one.proposals
    # P_start P_end of the proposals, from the logits of the boundaries.
    start = out.stage_one.evidence.start.softmax(dim=1).gather(1, proposals.spans[..., 0].long())
    end = out.stage_one.evidence.end.softmax(dim=1).gather(1, proposals.spans[..., 1].long() - 1)
    expected = out.score_logits.sigmoid() * (start * end) ** exponent
    real = proposals.mask
    torch.testing.assert_close(out.scores[real], expected[real])
    assert (out.scores[~real] == -1).all()


@pytest.mark.parametrize("proposer", ["span", "dense", "set", "windows"])
def test_some_rows_are_those_of_the_pairs_alone(
    make_model: MakeModel, make_batch: Callable[..., Batch], proposer: str
) -> None:
    model, config = make_model(proposer=proposer, refinement_weight=1.0, num_similarities=2)
    batch = make_batch()
    size = len(batch.video_index)
    twice = torch.arange(size).repeat(2)
    moved = {
        field.name: value[twice]
        for field in dataclasses.fields(batch)
        if field.name not in ("video", "clip_seconds")
        and isinstance(value := getattr(batch, field.name), torch.Tensor)
    }
    with torch.no_grad():
        alone = model(batch)
        both = model(dataclasses.replace(batch, **moved))
    for rows in (slice(size), slice(size, None)):
        found = both.rows(rows)
        torch.testing.assert_close(found.scores, alone.scores)
        losses = bpnet_losses(found, batch, config), bpnet_losses(alone, batch, config)
        torch.testing.assert_close(losses[0], losses[1])


def test_video_is_encoded_apart_from_the_query(
    make_model: MakeModel, make_batch: Callable[..., Batch]
) -> None:
    model, _ = make_model()
    batch = make_batch()
    with torch.no_grad():
        whole = model(batch)
        video = model.encode_video(batch.video, batch.video_mask)
        batch.video.fill_(float("nan"))  # not read again
        parts = model.localize(video, batch)
    assert torch.equal(whole.scores, parts.scores)


@pytest.mark.parametrize("proposer", ["span", "dense", "set", "windows"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_answers_as_full(
    make_model: MakeModel, make_batch: Callable[..., Batch], dtype: torch.dtype, proposer: str
) -> None:
    """Masked places must not overflow float16; the scores differ by its rounding only."""
    model, config = make_model(dropout=0.0, proposer=proposer)
    batch = make_batch()
    with torch.autocast("cpu", dtype):
        out = model.train()(batch)
    full = bpnet_losses(model(batch), batch, config)
    half = bpnet_losses(out, batch, config)
    assert half.keys() == full.keys()
    for name, loss in half.items():
        assert loss.item() == pytest.approx(full[name].item(), rel=0.1, abs=0.02), name


def test_half_precision_leaves_a_sure_proposal_finite(
    make_model: MakeModel, make_batch: Callable[..., Batch]
) -> None:
    """The nearest bfloat16 of 0.999 is 1, and the logit of 1 is infinite."""
    model, config = make_model(
        dropout=0.0, pair_dim=4, proposal_order="expected_iou", score_residual=True
    )
    batch = make_batch()
    assert isinstance(model.proposer, SpanProposer) and model.proposer.pair_scores is not None
    model.proposer.pair_scores.start.bias.data.fill_(0)
    model.proposer.pair_scores.start.weight.data.mul_(1e3)  # one span has all the probability
    with torch.autocast("cpu", torch.bfloat16):
        output = model.train()(batch)
    assert output.stage_one.proposals.logits.dtype == torch.float32
    assert output.stage_one.proposals.logits.exp().max() > 0.999
    assert bpnet_losses(output, batch, config)["total"].isfinite()
