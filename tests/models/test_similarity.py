"""Similarity of clips and words: by hand, blind to padding, and trained by contrast."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from bpnet.models.bpnet import BPNet
from bpnet.models.contrast import contrast_loss
from bpnet.models.similarity import SCALE, Similarity, similarities
from bpnet.types import Batch

MakeModel = Callable[..., tuple[BPNet, object]]


def test_by_hand() -> None:
    module = Similarity(2, 2, 2, 1)
    with torch.no_grad():
        for layer in (module.video, module.query):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
        module.weights.weight.copy_(torch.tensor([[math.log(3), 0.0]]))
        module.weights.bias.zero_()
    # Weights 3 : 1 for (1, 0) and (0, 1): the mean (3, 1)/4, of length 1 (3, 1)/sqrt(10). The third
    # word is padding.
    words = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    keys = module.query_keys(words, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(keys, torch.tensor([[[3.0, 1.0]]]) / math.sqrt(10))
    clips = module.clip_keys(torch.tensor([[[0.0, 7.0], [3.0, 4.0]]]))
    found = similarities(clips, keys)
    expected = torch.tensor([[[1.0], [(3 * 3 + 4) / 5]]]) / math.sqrt(10) * SCALE
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("extra", [{"clips": 3}, {"tokens": 2}, {"letters": 4}])
def test_padding_changes_nothing(
    make_model: MakeModel,
    make_batch: Callable[..., Batch],
    pad: Callable[..., Batch],
    extra: dict[str, int],
) -> None:
    model, _ = make_model(num_similarities=3)
    batch = make_batch()
    with torch.no_grad():
        narrow, wide = model(batch).stage_one, model(pad(batch, **extra)).stage_one
    clips = narrow.frames.shape[1]
    torch.testing.assert_close(wide.frames[:, :clips], narrow.frames, rtol=0, atol=1e-5)
    torch.testing.assert_close(wide.query_keys, narrow.query_keys, rtol=0, atol=1e-6)


def test_contrast_by_hand() -> None:
    clips = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).expand(2, 2, 2)
    spans = torch.tensor([[0.0, 1.0], [1.0, 2.0]])
    queries = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    # Cosines 1 and 0 over 0.1: each costs ln(1 + e^-10); asked the wrong way round, 10 more.
    one_video = torch.tensor([0, 0])
    right = contrast_loss(clips, queries, spans, one_video)
    assert right.item() == pytest.approx(math.log(1 + math.exp(-10)), abs=1e-6)
    wrong = contrast_loss(clips, queries.flip(0), spans, one_video)
    assert wrong.item() == pytest.approx(10 + math.log(1 + math.exp(-10)), rel=1e-6)


def test_overlapping_moments_of_a_video_are_not_told_apart() -> None:
    clips = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]]).expand(2, 3, 2)
    spans = torch.tensor([[1.0, 3.0], [1.0, 2.0]])
    queries = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert contrast_loss(clips, queries, spans, torch.tensor([0, 0])).item() == 0
    assert contrast_loss(clips, queries, spans, torch.tensor([0, 1])).item() > 0.5
