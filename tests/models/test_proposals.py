"""Choosing proposals: suppression and expected IoU against loops, whatever else is in the batch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bpnet.models.proposals import (
    NUM_BLOCKS,
    _kept_block_overlaps,
    choose,
    expected_iou,
    expected_spans,
    suppress,
    without_repeats,
)
from bpnet.models.span_proposer import top_spans
from bpnet.spans import nms, paired_tiou, tiou
from bpnet.types import Proposals


def candidates(spans: list[list[int]], probabilities: list[float]) -> Proposals:
    """One pair; a probability of 0 means that there is no such candidate."""
    values = torch.tensor([probabilities], dtype=torch.float32)
    return Proposals(
        torch.tensor([spans], dtype=torch.float32), values.log().clamp(min=-1e30), values > 0
    )


def pair_logits(lengths: list[int], num_clips: int, seed: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities of all spans of videos of these lengths, and the videos' mask."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(num_clips) < torch.tensor(lengths)[:, None]
    scores = torch.stack(
        [
            torch.nn.functional.pad(
                3 * torch.randn(length, length, generator=generator),
                (0, num_clips - length, 0, num_clips - length),
            )
            for length in lengths
        ]
    )
    real = (mask[:, :, None] & mask[:, None]).triu()
    scores = scores.masked_fill(~real, -torch.inf)
    return scores.flatten(1).log_softmax(dim=1).view_as(scores), mask


def test_choice_by_hand() -> None:
    found = candidates([[0, 4], [0, 3], [5, 8], [6, 8], [1, 2]], [0.1, 0.4, 0.3, 0.2, 0.0])
    plain = choose(found, 3, None)
    assert plain.spans.tolist() == [[[0, 3], [5, 8], [6, 8]]]
    # (6, 8) overlaps (5, 8) by 2/3, and (0, 4) overlaps (0, 3) by 3/4.
    apart = choose(found, 4, 0.7)
    assert apart.spans.tolist() == [[[0, 3], [5, 8], [6, 8], [0, 3]]]
    assert apart.mask.tolist() == [[True, True, True, False]]
    torch.testing.assert_close(apart.logits[0, :3].exp(), torch.tensor([0.4, 0.3, 0.2]))
    assert apart.logits[0, 3] == -1e30
    # No more than there are; and an overlap of just the limit is not above it.
    assert choose(found, 9, None).spans.shape == (1, 5, 2)
    halves = candidates([[0, 2], [0, 4]], [0.6, 0.4])
    assert choose(halves, 2, 0.5).mask.all() and not choose(halves, 2, 0.49).mask.all()


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 0.99), st.integers(0, 10**6))
def test_suppression_of_a_batch_is_that_of_each(
    num_spans: int, count: int, threshold: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    spans = torch.rand(3, num_spans, 2, generator=generator).sort(dim=2).values
    spans[..., 1] += 0.1
    scores = torch.rand(3, num_spans, generator=generator)
    values, indices = suppress(spans, scores, threshold, count)
    for row in range(3):
        expected = nms(spans[row], scores[row], threshold)[:count].tolist()
        assert indices[row, : len(expected)].tolist() == expected
        assert (values[row, len(expected) :] == -torch.inf).all()


def test_moved_spans_that_meet() -> None:
    spans = torch.tensor([[[0.0, 4.0], [10.0, 12.0], [0.0, 3.9], [0.0, 2.0], [0.0, 4.0]]])
    scores = torch.tensor([[0.5, 0.2, 0.9, 0.4, -1.0]])
    found = without_repeats(spans, scores, 0.7)
    # The third is the best and takes the first with it; the last was nothing before.
    assert found.tolist() == [
        [-1.0, pytest.approx(0.2), pytest.approx(0.9), pytest.approx(0.4), -1]
    ]
    assert without_repeats(spans, scores, 0.99).equal(scores)  # 3.9 s of 4 are not so much


def test_expected_iou_by_hand() -> None:
    # Half the probability on each of (0, 2) and (0, 4): their IoU is 1/2, so each expects 3/4. The
    # one in between, which is itself improbable, overlaps them by 2/3 and 3/4.
    found = candidates([[0, 2], [0, 4], [0, 3], [7, 9]], [0.5, 0.5, 1e-12, 0.0])
    expected = expected_iou(found)[0, :3]
    torch.testing.assert_close(expected, torch.tensor([3 / 4, 3 / 4, (2 / 3 + 3 / 4) / 2]))


@pytest.mark.parametrize("num_clips", [1, 5, NUM_BLOCKS])
def test_expected_spans_against_all_spans(num_clips: int) -> None:
    pairs, mask = pair_logits([num_clips], num_clips, 0)
    found = expected_spans(pairs, pairs.exp(), mask)
    first, last = torch.triu_indices(num_clips, num_clips)
    spans = torch.stack([first, last + 1], dim=-1).float()
    expected = tiou(spans, spans) @ pairs[0, first, last].exp()
    real = found.mask[0]
    assert int(real.sum()) == len(spans)
    listed = {tuple(span): value for span, value in zip(spans.tolist(), expected, strict=True)}
    for span, logit in zip(found.spans[0, real].tolist(), found.logits[0, real], strict=True):
        torch.testing.assert_close(logit.exp(), listed[tuple(span)], rtol=1e-4, atol=1e-6)


@given(st.integers(NUM_BLOCKS + 1, 3 * NUM_BLOCKS), st.integers(0, 10**6))
def test_expected_spans_of_a_long_video(num_clips: int, seed: int) -> None:
    pairs, mask = pair_logits([num_clips], num_clips, seed)
    found = expected_spans(pairs, pairs.exp(), mask)
    block = math.ceil(num_clips / NUM_BLOCKS)
    real = found.mask[0]
    spans, values = found.spans[0, real], found.logits[0, real].exp()
    # Every candidate is the most probable span from its block to the other one's.
    for span in spans[:: max(1, len(spans) // 20)].long().tolist():
        s, e = span[0] // block * block, (span[1] - 1) // block * block
        there = pairs[0, s : s + block, e : e + block]
        assert pairs[0, span[0], span[1] - 1] == there.max()
    # Blocks are a clip or two off, so the sums are near those over all spans.
    first, last = torch.triu_indices(num_clips, num_clips)
    every = torch.stack([first, last + 1], dim=-1).float()
    some = spans[:: max(1, len(spans) // 20)]
    exact = paired_tiou(some[:, None], every[None]) @ pairs[0, first, last].exp()
    near = values[:: max(1, len(spans) // 20)]
    assert (near - exact).abs().median() < 0.05


def test_other_videos_of_the_batch_change_nothing() -> None:
    lengths = [2 * NUM_BLOCKS + 3, 7, NUM_BLOCKS]
    pairs, mask = pair_logits(lengths, max(lengths), 1)
    together = expected_spans(pairs, pairs.exp(), mask)
    for row, length in enumerate(lengths):
        own = pairs[row : row + 1, :length, :length]
        alone = expected_spans(own, own.exp(), mask[row : row + 1, :length])
        real = alone.mask[0]
        count = len(real)  # a longer video beside it brings more candidates, none of them real
        assert (
            torch.equal(together.mask[row, :count], real) and not together.mask[row, count:].any()
        )
        assert torch.equal(together.spans[row, :count], alone.spans[0])
        assert (together.logits[row][~together.mask[row]] == -1e30).all()
        torch.testing.assert_close(together.logits[row, :count][real], alone.logits[0, real])


class Chosen(torch.nn.Module):
    """Nine proposals: both ways from the probabilities of all spans, and of single clips."""

    def forward(self, pairs: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        likely = choose(top_spans(pairs, mask, 9), 9, None)
        near = choose(expected_spans(pairs, pairs.exp(), mask), 9, 0.5)
        places = torch.arange(mask.shape[1]).expand_as(mask).float()
        clips = Proposals(
            torch.stack([places, places + 1], dim=-1), pairs.diagonal(dim1=1, dim2=2), mask
        )
        single = choose(clips, 9, None)
        return tuple(value for one in (likely, near, single) for value in vars(one).values())


def test_traced_with_an_open_number_of_clips() -> None:
    """Of few clips, of as many as there are blocks, and of more: all from one graph."""
    _kept_block_overlaps.cache_clear()  # what a tracer makes must not stay there
    clips = torch.export.Dim("clips", min=1, max=2 * NUM_BLOCKS)
    axes = {1: clips, 2: clips}, {1: clips}
    traced = torch.export.export(
        Chosen(), pair_logits([20, 7], 20, 0), dynamic_shapes=axes, strict=False
    ).module()
    for lengths in ([1, 1], [5, 3], [NUM_BLOCKS, 2], [9, NUM_BLOCKS + 1]):
        given_ = pair_logits(lengths, max(lengths), 1)
        for found, expected in zip(traced(*given_), Chosen()(*given_), strict=True):
            count = expected.shape[1]  # a graph fills up to nine
            assert torch.equal(found[:, :count], expected)


def test_neither_a_factor_nor_half_precision_moves_the_expectation() -> None:
    for num_clips in (9, 2 * NUM_BLOCKS):
        pairs, mask = pair_logits([num_clips], num_clips, 3)
        plain = expected_spans(pairs, pairs.exp(), mask)
        with torch.autocast("cpu", torch.bfloat16):
            half = expected_spans(pairs, pairs.exp(), mask)
        assert torch.equal(half.logits, plain.logits)
        scaled = expected_spans(pairs, pairs.exp() / 8, mask)
        torch.testing.assert_close(scaled.logits, plain.logits)


def test_the_choice_sends_no_gradient() -> None:
    pairs, mask = pair_logits([6], 6, 2)
    found = choose(expected_spans(pairs.requires_grad_(), pairs.exp(), mask), 4, 0.5)
    assert not found.logits.requires_grad and not found.spans.requires_grad
