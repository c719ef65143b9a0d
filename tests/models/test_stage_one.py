"""Proposer: the joint choice of spans against brute force, masks, gradients, both predictors."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bpnet.models.bpnet import BPNet
from bpnet.models.proposer import Proposer, StageOne, top_spans

PREDICTORS = ["rnn", "transformer"]
MakeModel = Callable[..., tuple[BPNet, object]]


def pair(lengths: tuple[int, ...], seed: int, extra: int = 0) -> tuple[Tensor, Tensor]:
    """Encoded sequences with zeros behind them, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), max(lengths), 8, generator=generator)
    x = torch.nn.functional.pad(x, (0, 0, 0, extra))
    mask = torch.arange(x.shape[1]) < torch.tensor(lengths)[:, None]
    return x * mask[..., None], mask


def propose(proposer: Proposer, *, extra: int = 0) -> tuple[StageOne, Tensor]:
    video, video_mask = pair((6, 3, 1), 0, extra)
    query, query_mask = pair((1, 4, 2), 1, extra)
    with torch.no_grad():
        return proposer(video, query, video_mask, query_mask), video_mask


def brute_force(start: Tensor, end: Tensor) -> list[tuple[float, int, int]]:
    """All spans of one unpadded video, with log P_start P_end, most probable first."""
    length = len(start)
    first, last = start.double().softmax(0), end.double().softmax(0)
    spans = [
        (math.log(first[s] * last[e]), s, e + 1) for s in range(length) for e in range(s, length)
    ]
    return sorted(spans, reverse=True)


@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=4),
    st.integers(1, 40),
    st.integers(0, 3),
    st.integers(0, 10**6),
)
def test_top_spans_against_brute_force(
    lengths: list[int], num_proposals: int, extra: int, seed: int
) -> None:
    num_clips = max(lengths) + extra
    generator = torch.Generator().manual_seed(seed)
    start, end = torch.randn(2, len(lengths), num_clips, generator=generator).unbind()
    mask = torch.arange(num_clips) < torch.tensor(lengths)[:, None]
    start, end = start.masked_fill(~mask, -1e30), end.masked_fill(~mask, -1e30)
    found = top_spans(start, end, mask, num_proposals)
    count = min(num_proposals, num_clips * (num_clips + 1) // 2)
    assert found.spans.shape == (len(lengths), count, 2)
    for row, length in enumerate(lengths):
        expected = brute_force(start[row, :length], end[row, :length])[:count]
        real = len(expected)
        assert found.mask[row].tolist() == [True] * real + [False] * (count - real)
        # Values are compared place by place. Spans of nearly equal value may change places, so
        # these are compared as a set, of those that are clear of the last one.
        values = torch.tensor([value for value, _, _ in expected])
        torch.testing.assert_close(found.logits[row, :real], values, rtol=0, atol=1e-5)
        clear = {(s, e) for value, s, e in expected if value > expected[-1][0] + 1e-4}
        spans = {(int(s), int(e)) for s, e in found.spans[row, :real]}
        assert clear <= spans and len(spans) == real
        assert found.spans[row, real:].tolist() == [[0, length]] * (count - real)


def test_top_spans_by_hand() -> None:
    # P_start = 1/8, 5/8, 2/8 and P_end = 4/8, 1/8, 3/8. In 64ths: (1, 2) 5 * 3 = 15,
    # (2, 2) 2 * 3 = 6, (1, 1) 5, (0, 0) 4, (0, 2) 3, (0, 1) 1. The pair of the two maxima, (1, 0)
    # with 20, ends before it starts. The last clip is inside, so its span ends one further.
    start = torch.tensor([[1.0, 5.0, 2.0]]).log()
    end = torch.tensor([[4.0, 1.0, 3.0]]).log()
    found = top_spans(start, end, torch.ones(1, 3, dtype=torch.bool), 4)
    assert found.spans[0].tolist() == [[1, 3], [2, 3], [1, 2], [0, 1]]
    torch.testing.assert_close(found.logits[0].exp() * 64, torch.tensor([15.0, 6.0, 5.0, 4.0]))


def test_one_clip() -> None:
    found = top_spans(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool), 16)
    assert found.spans.tolist() == [[[0, 1]]]
    assert found.logits.tolist() == [[0.0]]  # log (1 * 1)
    assert found.mask.tolist() == [[True]]


def test_choice_sends_no_gradient() -> None:
    start = torch.randn(2, 5, requires_grad=True)
    found = top_spans(start, start.flip(1), torch.ones(2, 5, dtype=torch.bool), 3)
    assert not found.logits.requires_grad and not found.spans.requires_grad


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_shape_and_masks(make_model: MakeModel, predictor: str) -> None:
    proposer = make_model(predictor=predictor)[0].proposer
    out, mask = propose(proposer)
    assert out.frames.shape == (3, 6, 8)
    assert out.proposals.spans.shape == (3, 4, 2)
    assert (out.frames[~mask] == 0).all()
    for logits in (out.start_logits, out.end_logits, out.highlight_logits):
        assert logits.shape == (3, 6)
        assert (logits[~mask] == -1e30).all() and (logits[mask].abs() < 1e3).all()
    # 6, 3 and 1 clips have 21, 6 and 1 spans; four were asked for.
    assert out.proposals.mask.sum(dim=1).tolist() == [4, 4, 1]
    lengths = torch.tensor([6, 3, 1])
    assert (out.proposals.spans[..., 1] <= lengths[:, None]).all()


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_padding_and_what_lies_under_it(make_model: MakeModel, predictor: str) -> None:
    proposer = make_model(predictor=predictor)[0].proposer
    out, mask = propose(proposer)
    wide, wide_mask = propose(proposer, extra=3)
    video, video_mask = pair((6, 3, 1), 0)
    query, query_mask = pair((1, 4, 2), 1)
    with torch.no_grad():
        dirty = proposer(
            torch.where(video_mask[..., None], video, 10.0),
            torch.where(query_mask[..., None], query, -10.0),
            video_mask,
            query_mask,
        )
    for name in ("frames", "start_logits", "end_logits", "highlight_logits"):
        expected = getattr(out, name)[mask]
        for other, real in ((wide, wide_mask), (dirty, mask)):
            torch.testing.assert_close(getattr(other, name)[real], expected, rtol=0, atol=1e-5)
    assert torch.equal(dirty.proposals.spans, out.proposals.spans)
    assert torch.equal(wide.proposals.mask, out.proposals.mask)
    real = out.proposals.mask
    assert torch.equal(wide.proposals.spans[real], out.proposals.spans[real])


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_batched_equals_single(make_model: MakeModel, predictor: str) -> None:
    proposer = make_model(predictor=predictor)[0].proposer
    out, _ = propose(proposer)
    video, video_mask = pair((6, 3, 1), 0)
    query, query_mask = pair((1, 4, 2), 1)
    for row, (clips, tokens) in enumerate(((6, 1), (3, 4), (1, 2))):
        here = slice(row, row + 1)
        with torch.no_grad():
            one = proposer(
                video[here, :clips],
                query[here, :tokens],
                video_mask[here, :clips],
                query_mask[here, :tokens],
            )
        torch.testing.assert_close(
            one.start_logits[0], out.start_logits[row, :clips], rtol=0, atol=1e-5
        )
        torch.testing.assert_close(
            one.end_logits[0], out.end_logits[row, :clips], rtol=0, atol=1e-5
        )
        count = int(one.proposals.mask.sum())
        assert torch.equal(one.proposals.spans[0, :count], out.proposals.spans[row, :count])


def test_highlight_weighs_the_frames(make_model: MakeModel) -> None:
    proposer = make_model()[0].proposer
    with torch.no_grad():
        proposer.highlight.weight.zero_()
        proposer.highlight.bias.fill_(0.0)
    half, _ = propose(proposer)
    with torch.no_grad():
        proposer.highlight.bias.fill_(math.log(3))
    more, _ = propose(proposer)
    # sigmoid(0) = 1/2 and sigmoid(ln 3) = 3/4.
    torch.testing.assert_close(more.frames, 1.5 * half.frames)


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_end_reads_start(make_model: MakeModel, predictor: str) -> None:
    module = make_model(predictor=predictor)[0].proposer.predictor
    frames, mask = pair((5,), 3)
    with torch.no_grad():
        start, end = module(frames, mask)
        if predictor == "rnn":
            started = module.start_lstm(frames)[0]
            ended = module.end_lstm(started)[0]
        else:  # the end reads what the encoder gave, before the start's layer norm
            first = module.encoder(frames, mask)
            started = module.start_norm(first)
            ended = module.end_norm(module.encoder(first, mask))
        torch.testing.assert_close(
            start, module.start_head(torch.cat([started, frames], dim=2))[..., 0]
        )
        torch.testing.assert_close(end, module.end_head(torch.cat([ended, frames], dim=2))[..., 0])
