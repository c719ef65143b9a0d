"""Stage one: masks and padding with every proposer, and the choice of spans against brute force."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bpnet.models.bpnet import BPNet
from bpnet.models.encoder import Encoded
from bpnet.models.span_proposer import BoundaryLogits, PairScores, top_spans
from bpnet.models.stage_one import StageOne

PREDICTORS = ["rnn", "transformer"]
KINDS: dict[str, dict[str, object]] = {
    "rnn": {"predictor": "rnn"},
    "transformer": {"predictor": "transformer"},
    "context": {"predictor": "linear", "num_context_layers": 3},
    "pairs": {"predictor": "linear", "num_context_layers": 2, "pair_dim": 4},
    "expected": {"pair_dim": 4, "proposal_order": "expected_iou", "proposal_nms": 0.5},
    "dense": {"proposer": "dense"},
    "consensus": {"proposer": "dense", "proposal_order": "expected_iou", "proposal_nms": 0.7},
    "set": {"proposer": "set"},
    "windows": {"proposer": "windows"},
}
MakeModel = Callable[..., tuple[BPNet, object]]


def pair(lengths: tuple[int, ...], seed: int, extra: int = 0) -> tuple[Tensor, Tensor]:
    """Encoded sequences with zeros behind them, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), max(lengths), 8, generator=generator)
    x = torch.nn.functional.pad(x, (0, 0, 0, extra))
    mask = torch.arange(x.shape[1]) < torch.tensor(lengths)[:, None]
    return x * mask[..., None], mask


def propose(model: BPNet, *, extra: int = 0) -> tuple[StageOne, Tensor]:
    video, video_mask = pair((6, 3, 1), 0, extra)
    query, query_mask = pair((1, 4, 2), 1, extra)
    with torch.no_grad():
        return run(model, video, query, video_mask, query_mask), video_mask


def run(model: BPNet, video: Tensor, query: Tensor, *masks: Tensor) -> StageOne:
    return model.propose(Encoded(video, None), Encoded(query, None), *masks)


def joint(start: Tensor, end: Tensor, mask: Tensor) -> Tensor:
    """log P_start P_end of every span, -inf where there is none."""
    pairs = start.log_softmax(dim=1)[:, :, None] + end.log_softmax(dim=1)[:, None]
    real = (mask[:, :, None] & mask[:, None]).triu()
    return pairs.masked_fill(~real, -torch.inf)


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
    found = top_spans(joint(start, end, mask), mask, num_proposals)
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
        assert (found.logits[row, real:] == -1e30).all()


def test_top_spans_by_hand() -> None:
    # P_start = 1/8, 5/8, 2/8 and P_end = 4/8, 1/8, 3/8. In 64ths: (1, 2) 5 * 3 = 15,
    # (2, 2) 2 * 3 = 6, (1, 1) 5, (0, 0) 4, (0, 2) 3, (0, 1) 1. The pair of the two maxima, (1, 0)
    # with 20, ends before it starts. The last clip is inside, so its span ends one further.
    start = torch.tensor([[1.0, 5.0, 2.0]]).log()
    end = torch.tensor([[4.0, 1.0, 3.0]]).log()
    mask = torch.ones(1, 3, dtype=torch.bool)
    found = top_spans(joint(start, end, mask), mask, 4)
    assert found.spans[0].tolist() == [[1, 3], [2, 3], [1, 2], [0, 1]]
    torch.testing.assert_close(found.logits[0].exp() * 64, torch.tensor([15.0, 6.0, 5.0, 4.0]))


def test_one_clip() -> None:
    found = top_spans(torch.zeros(1, 1, 1), torch.ones(1, 1, dtype=torch.bool), 16)
    assert found.spans.tolist() == [[[0, 1]]]
    assert found.logits.tolist() == [[0.0]]  # log (1 * 1)
    assert found.mask.tolist() == [[True]]


def test_choice_sends_no_gradient() -> None:
    start = torch.randn(2, 5, requires_grad=True)
    mask = torch.ones(2, 5, dtype=torch.bool)
    found = top_spans(joint(start, start.flip(1), mask), mask, 3)
    assert not found.logits.requires_grad and not found.spans.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_shape_and_masks(make_model: MakeModel, kind: str) -> None:
    out, mask = propose(make_model(**KINDS[kind])[0])
    assert out.frames.shape == (3, 6, 8)
    assert (out.frames[~mask] == 0).all()
    assert out.highlight_logits.shape == (3, 6)
    assert (out.highlight_logits[~mask] == -1e30).all()
    assert (out.highlight_logits[mask].abs() < 1e3).all()
    proposals, lengths = out.proposals, torch.tensor([6, 3, 1])
    assert proposals.spans.shape == (3, proposals.mask.shape[1], 2)
    assert (proposals.spans[..., 0] < proposals.spans[..., 1])[proposals.mask].all()
    assert (proposals.spans >= 0).all() and (proposals.spans[..., 1] <= lengths[:, None]).all()
    confidence = proposals.logits[proposals.mask]
    assert (confidence <= 1e-6).all() and (confidence > -1e3).all()
    best_first = proposals.logits.diff(dim=1)[proposals.mask[:, 1:]]
    assert (best_first <= 0).all()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", ["context", "pairs"])
def test_spans_are_one_distribution(make_model: MakeModel, kind: str, training: bool) -> None:
    model = make_model(**KINDS[kind], dropout=0.0)[0].train(training)
    out, mask = propose(model)
    evidence = out.evidence
    assert isinstance(evidence, BoundaryLogits)
    for logits in (evidence.start, evidence.end):
        assert (logits[~mask] == -1e30).all() and (logits[mask] > -1e3).all()
    shares = evidence.probabilities
    torch.testing.assert_close(shares.sum(dim=(1, 2)), torch.ones(3))
    assert (shares[evidence.pairs == -torch.inf] == 0).all()
    joint = evidence.pairs.exp()  # of independent boundaries, some fall the wrong way round
    torch.testing.assert_close(shares, joint / joint.sum(dim=(1, 2), keepdim=True))
    if kind == "pairs":
        torch.testing.assert_close(joint, shares)
        torch.testing.assert_close(evidence.start.exp(), shares.sum(dim=2))
        torch.testing.assert_close(evidence.end.exp(), shares.sum(dim=1))


def test_pair_scores_by_a_loop() -> None:
    """What two clips say together, and what each is worth by itself."""
    torch.manual_seed(0)
    module, frames = PairScores(8, 4), torch.randn(2, 3, 8)
    with torch.no_grad():
        found = module(frames)
        starts, ends = module.start(frames), module.end(frames)
    for row, first, last in itertools.product(range(2), range(3), range(3)):
        start, end = starts[row, first], ends[row, last]
        expected = start[1:] @ end[1:] / math.sqrt(4) + start[0] + end[0]
        torch.testing.assert_close(found[row, first, last], expected)


def test_pairs_have_the_gradients_of_training_in_evaluation(make_model: MakeModel) -> None:
    model = make_model(**KINDS["pairs"], dropout=0.0)[0]
    video, video_mask = pair((6, 3, 1), 0)
    query, query_mask = pair((1, 4, 2), 1)
    found = []
    for training in (True, False):
        clips = video.clone().requires_grad_()
        evidence = run(model.train(training), clips, query, video_mask, query_mask).evidence
        assert isinstance(evidence, BoundaryLogits)
        real = evidence.pairs > -torch.inf
        weights = torch.randn(int(real.sum()), generator=torch.Generator().manual_seed(2))
        (evidence.pairs[real] * weights).sum().backward()
        found.append(clips.grad)
    assert found[0] is not None and found[0].any()
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("training", [False, True])
def test_pairs_add_to_the_boundaries(make_model: MakeModel, training: bool) -> None:
    values = {"predictor": "linear", "pair_dim": 4, "overlap_weight": 1.0}
    module = make_model(**values)[0].proposer.train(training)
    frames, mask = pair((5,), 3)
    with torch.no_grad():
        found = module(frames, mask)
        start, end = module.predictor(frames, mask)
        scores = module.pair_scores(frames) + start[:, :, None] + end[:, None]
        overlaps = module.overlap_scores(frames) if training else None
    real = torch.ones(5, 5).triu() > 0
    torch.testing.assert_close(found.pairs[:, real], scores[:, real].log_softmax(dim=1))
    assert (found.pairs[:, ~real] == -torch.inf).all()
    assert overlaps is found.overlaps is None or torch.equal(found.overlaps, overlaps)


@pytest.mark.parametrize("kind", ["rnn", "transformer", "context"])
def test_no_more_spans_than_there_are(make_model: MakeModel, kind: str) -> None:
    out, _ = propose(make_model(**KINDS[kind])[0])
    # 6, 3 and 1 clips have 21, 6 and 1 spans; four were asked for.
    assert out.proposals.mask.sum(dim=1).tolist() == [4, 4, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_what_lies_under_it(make_model: MakeModel, kind: str) -> None:
    model = make_model(**KINDS[kind])[0]
    out, mask = propose(model)
    wide, wide_mask = propose(model, extra=3)
    video, video_mask = pair((6, 3, 1), 0)
    query, query_mask = pair((1, 4, 2), 1)
    with torch.no_grad():
        dirty = run(
            model,
            torch.where(video_mask[..., None], video, 10.0),
            torch.where(query_mask[..., None], query, -10.0),
            video_mask,
            query_mask,
        )
    for name in ("frames", "highlight_logits"):
        expected = getattr(out, name)[mask]
        for other, real in ((wide, wide_mask), (dirty, mask)):
            torch.testing.assert_close(getattr(other, name)[real], expected, rtol=0, atol=1e-5)
    for other in (wide, dirty):  # a longer video has room for more windows, which are not real
        assert torch.equal(other.proposals.mask.sum(dim=1), out.proposals.mask.sum(dim=1))
        for name in ("spans", "logits"):
            found, expected = (
                getattr(one.proposals, name)[one.proposals.mask] for one in (other, out)
            )
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_batched_equals_single(make_model: MakeModel, kind: str) -> None:
    model = make_model(**KINDS[kind])[0]
    out, _ = propose(model)
    video, video_mask = pair((6, 3, 1), 0)
    query, query_mask = pair((1, 4, 2), 1)
    for row, (clips, tokens) in enumerate(((6, 1), (3, 4), (1, 2))):
        here = slice(row, row + 1)
        with torch.no_grad():
            one = run(
                model,
                video[here, :clips],
                query[here, :tokens],
                video_mask[here, :clips],
                query_mask[here, :tokens],
            )
        torch.testing.assert_close(one.frames[0], out.frames[row, :clips], rtol=0, atol=1e-5)
        count = int(one.proposals.mask.sum())
        assert count == int(out.proposals.mask[row].sum())
        for name in ("spans", "logits"):
            found, expected = getattr(one.proposals, name), getattr(out.proposals, name)
            torch.testing.assert_close(found[0, :count], expected[row, :count], rtol=0, atol=1e-5)


def test_highlight_weighs_the_frames(make_model: MakeModel) -> None:
    model = make_model()[0]
    highlight = model.interaction.highlight
    with torch.no_grad():
        highlight.weight.zero_()
        highlight.bias.fill_(0.0)
    half, _ = propose(model)
    with torch.no_grad():
        highlight.bias.fill_(math.log(3))
    more, _ = propose(model)
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
