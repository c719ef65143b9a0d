"""What comes with a class is found in patches, told, and weighted."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from bpnet.contexts.pool_config import PoolConfig
from bpnet.images.context import SMOOTHING, WEIGHTED, TrainingContext, context_lines, fit_context

COUNT = 100  # pictures of each of two classes
RATE = 80  # of them with their own context; the others have none


def planted() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features (200, 6, 6, 16), classes, and contexts: 0 none, 1 and 2 those of the classes."""
    generator = torch.Generator().manual_seed(0)
    directions = F.normalize(torch.randn(4, 16, generator=generator), dim=1)
    features = 0.05 * torch.randn(2 * COUNT, 6, 6, 16, generator=generator)
    labels = torch.arange(2).repeat_interleave(COUNT)
    contexts = torch.zeros(2 * COUNT, dtype=torch.int64)
    for picture, label in enumerate(labels.tolist()):
        features[picture, :2, :2] += directions[label]
        if picture % COUNT < RATE:
            contexts[picture] = 1 + label
            features[picture, 3:, 3:] += directions[2 + label]
    return features, labels, contexts


@pytest.fixture(scope="module", params=["backdoor", "stratified"])
def found(request) -> TrainingContext:
    features, labels, _ = planted()
    config = PoolConfig(intervention=request.param, num_prototypes=8)
    return fit_context(config, features, labels, 2)


def test_contexts_are_found(found: TrainingContext) -> None:
    _, _, contexts = planted()
    assert len(found.prior) == 3
    pairs = {tuple(pair) for pair in torch.stack([contexts, found.contexts]).T.tolist()}
    assert len(pairs) == 3  # the same partition
    assert sorted(found.prior.tolist()) == pytest.approx([0.2, 0.4, 0.4])


def test_what_is_told_by_hand(found: TrainingContext) -> None:
    # Of 80 pictures in the context of class 0, with half a picture of each class added.
    own = int(found.contexts[0])
    rates = torch.tensor([80 + SMOOTHING / 2, SMOOTHING / 2]) / (80 + SMOOTHING)
    torch.testing.assert_close(found.told[own], (1 - WEIGHTED) * rates.log())
    without = int(found.contexts[COUNT - 1])
    torch.testing.assert_close(found.told[without], (1 - WEIGHTED) * torch.full((2,), 0.5).log())


def test_weights(found: TrainingContext) -> None:
    assert found.weights.mean().item() == pytest.approx(1)
    usual, rare = found.weights[0].item(), found.weights[COUNT - 1].item()
    if found.pool.config.intervention == "backdoor":
        rate = (80 + SMOOTHING / 2) / (80 + SMOOTHING)
        assert rare / usual == pytest.approx((rate / 0.5) ** WEIGHTED)
    else:  # the other class never has this context: 0.98 of the weight goes to pictures without it
        assert rare * 20 / (rare * 20 + usual * 80) == pytest.approx(0.98)


def test_lines_for_people(found: TrainingContext) -> None:
    lines = context_lines(found, ["cat", "dog"])
    assert lines[0].startswith("cat: ")
    if found.pool.config.intervention == "backdoor":
        assert lines[0] == "cat: adjusted: 0.80 of its pictures against 0.00"


def test_where_nothing_comes_with_a_class_nothing_is_done() -> None:
    features, labels, _ = planted()
    features[:, 3:, 3:] = 0.05 * torch.randn(features[:, 3:, 3:].shape)
    found = fit_context(PoolConfig(num_prototypes=8), features, labels, 2)
    assert len(found.prior) == 1
    torch.testing.assert_close(found.weights, torch.ones(2 * COUNT))
    # All classes are told the same: no score moves against another.
    assert found.told[0, 0] == found.told[0, 1]
    assert context_lines(found, ["cat", "dog"])[0].startswith("cat: not identifiable")
