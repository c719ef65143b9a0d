"""Fusion: means over spans, both ends, word by frame against loops, masks and gradients."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from bpnet.models.fusion import Fusion, WordFrame, span_weights
from bpnet.types import Proposals

CHOICES = list(itertools.product(["query_concat", "word_frame", "none"], ["mean", "ends"]))
CLIPS, TOKENS = (5, 3, 1), (1, 4, 2)
# As the proposer gives them: a video of one clip has one span, then the whole video.
SPANS = [[[1, 4], [0, 5], [4, 5]], [[0, 2], [1, 3], [2, 3]], [[0, 1], [0, 1], [0, 1]]]
REAL = [[True] * 3, [True] * 3, [True, False, False]]


def fusion(kind: str, span_feature: str) -> Fusion:
    torch.manual_seed(0)
    module = Fusion(kind, span_feature, 8)
    for name, parameter in module.named_parameters():
        if "bias" in name:
            nn.init.normal_(parameter)
    return module.eval()


def proposals(spans: list[list[list[float]]], mask: list[list[bool]] | None = None) -> Proposals:
    values = torch.tensor(spans, dtype=torch.float32)
    real = torch.ones(values.shape[:2], dtype=torch.bool) if mask is None else torch.tensor(mask)
    return Proposals(values, torch.zeros(values.shape[:2]), real)


def ragged(lengths: tuple[int, ...], seed: int, extra: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), max(lengths), 8, generator=generator)
    x = nn.functional.pad(x, (0, 0, 0, extra))
    mask = torch.arange(x.shape[1]) < torch.tensor(lengths)[:, None]
    return x * mask[..., None], mask


def fuse(module: Fusion, extra: int = 0, garbage: float = 0.0) -> Tensor:
    frames, video_mask = ragged(CLIPS, 0, extra)
    query, query_mask = ragged(TOKENS, 1, extra)
    return module(
        torch.where(video_mask[..., None], frames, garbage),
        torch.where(query_mask[..., None], query, garbage),
        video_mask,
        query_mask,
        proposals(SPANS, REAL),
    )


def identity(module: nn.Linear) -> None:
    with torch.no_grad():
        module.weight.copy_(torch.eye(*module.weight.shape))
        module.bias.zero_()


def test_span_weights_by_hand() -> None:
    weights = span_weights(torch.tensor([[[1.0, 3.0], [0.5, 2.25], [0.0, 4.0]]]), 4)[0]
    # (1, 3): two whole clips. (0.5, 2.25): a half, a whole and a quarter of 1.75 clips.
    expected = [[0, 1 / 2, 1 / 2, 0], [2 / 7, 4 / 7, 1 / 7, 0], [1 / 4, 1 / 4, 1 / 4, 1 / 4]]
    torch.testing.assert_close(weights, torch.tensor(expected))


@pytest.mark.parametrize(("kind", "span_feature"), CHOICES)
def test_shape_padding_and_what_lies_under_it(kind: str, span_feature: str) -> None:
    module = fusion(kind, span_feature)
    with torch.no_grad():
        fused = fuse(module)
        assert fused.shape == (3, 3, 8)
        torch.testing.assert_close(fuse(module, extra=4), fused, rtol=0, atol=1e-5)
        torch.testing.assert_close(fuse(module, garbage=9.0), fused, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "span_feature"), CHOICES)
def test_batched_equals_single(kind: str, span_feature: str) -> None:
    module = fusion(kind, span_feature)
    (frames, video_mask), (query, query_mask) = ragged(CLIPS, 0), ragged(TOKENS, 1)
    with torch.no_grad():
        fused = fuse(module)
        for row, (clips, tokens) in enumerate(zip(CLIPS, TOKENS, strict=True)):
            here = slice(row, row + 1)
            one = module(
                frames[here, :clips],
                query[here, :tokens],
                video_mask[here, :clips],
                query_mask[here, :tokens],
                proposals(SPANS[here]),
            )
            torch.testing.assert_close(one[0], fused[row], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "span_feature"), CHOICES)
def test_every_parameter_gets_a_gradient(kind: str, span_feature: str) -> None:
    module = fusion(kind, span_feature)
    weights = torch.randn(3, 3, 8, generator=torch.Generator().manual_seed(5))
    (fuse(module) * weights).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_mean_by_hand() -> None:
    module = Fusion("none", "mean", 2)
    identity(module.project)
    with torch.no_grad():
        module.project.bias.copy_(torch.tensor([10.0, 0.0]))
    frames = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 9.0], [0.0, 0.0]]])
    mask = torch.tensor([[True, True, True, False]])
    query = torch.zeros(1, 1, 2)
    fused = module(frames, query, mask, mask[:, :1], proposals([[[0, 2], [1, 3], [0, 3]]]))
    # Means of clips 0 and 1, 1 and 2, 0 to 2; the bias counts in real clips only, so it adds 10
    # whatever the padding.
    torch.testing.assert_close(fused[0], torch.tensor([[12.0, 3.0], [14.0, 6.5], [13.0, 5.0]]))


def test_ends_by_hand() -> None:
    module = Fusion("none", "ends", 1)
    identity(module.project)
    assert module.ends is not None
    identity(module.ends)
    frames = torch.tensor([[[1.0], [2.0], [4.0], [8.0], [0.0]]])
    mask = torch.tensor([[True, True, True, True, False]])
    spans = proposals([[[1, 3], [0, 4], [2, 3], [0.5, 2.5]]])
    found = []
    for column in range(5):
        with torch.no_grad():
            module.ends.weight.zero_()
            module.ends.weight[0, column] = 1.0
        found.append(module(frames, torch.zeros(1, 1, 1), mask, mask[:, :1], spans)[0, :, 0])
    # Mean, the clip before the start, at it, at the last clip, after it; nothing lies outside.
    # (0.5, 2.5) takes half of clip 0, clip 1 and half of clip 2: (0.5 + 2 + 2) / 2 = 2.25.
    expected = [[3, 1, 2, 4, 8], [3.75, 0, 1, 8, 0], [4, 2, 4, 4, 8], [2.25, 0, 1, 4, 8]]
    torch.testing.assert_close(torch.stack(found, dim=1), torch.tensor(expected))


def test_query_concat_by_hand() -> None:
    module = Fusion("query_concat", "mean", 1)
    identity(module.project)
    assert module.query_pool is not None and module.query_concat is not None
    with torch.no_grad():
        module.query_pool.weight.fill_(math.log(3))
        module.query_concat.weight.copy_(torch.tensor([[1.0, 100.0]]))
        module.query_concat.bias.zero_()
    mask = torch.ones(1, 2, dtype=torch.bool)
    frames, query = torch.tensor([[[2.0], [4.0]]]), torch.tensor([[[1.0], [0.0]]])
    fused = module(frames, query, mask, mask, proposals([[[0, 1], [0, 2]]]))
    # Query: weights e^ln 3 : e^0 = 3/4 : 1/4 of the words 1 and 0 give 3/4; spans: 2 and 3.
    torch.testing.assert_close(fused, torch.tensor([[[77.0], [78.0]]]))


def test_word_frame_against_loops() -> None:
    torch.manual_seed(0)
    module = WordFrame(8, wide_dim=6).eval()
    nn.init.normal_(module.attention.in_proj_bias)
    (frames, video_mask), (query, query_mask) = ragged(CLIPS, 0), ragged(TOKENS, 1)
    with torch.no_grad():
        found = module(frames, query, video_mask, query_mask)
        weights = module.attention.in_proj_weight.chunk(3)
        biases = module.attention.in_proj_bias.chunk(3)
        for row, (clips, tokens) in enumerate(zip(CLIPS, TOKENS, strict=True)):
            per_word = []
            for word in query[row, :tokens]:
                x = module.widen(frames[row, :clips] * word)
                q, k, v = (x @ w.T + b for w, b in zip(weights, biases, strict=True))
                attended = torch.softmax(q @ k.T / math.sqrt(6), dim=-1) @ v
                per_word.append(module.attention.out_proj(attended))
            expected = module.narrow(torch.stack(per_word).amax(dim=0))
            torch.testing.assert_close(found[row, :clips], expected, rtol=0, atol=1e-5)
