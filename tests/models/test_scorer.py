"""Scorer: shape, and a score by hand."""

from __future__ import annotations

import torch

from bpnet.models.scorer import Refiner, Scorer
from bpnet.types import Proposals


def proposals(size: int, count: int) -> Proposals:
    spans = torch.tensor([2.0, 6.0]).expand(size, count, 2)
    confidence = torch.full((size, count), 0.25)
    return Proposals(spans, confidence.log(), torch.ones(size, count, dtype=torch.bool))


def test_shape_and_independence() -> None:
    torch.manual_seed(0)
    scorer = Scorer(8)
    fused = torch.randn(3, 4, 8)
    logits = scorer(fused, proposals(3, 4))
    assert logits.shape == (3, 4) and logits.dtype == torch.float32
    assert scorer.hidden.out_features == 128
    # Each proposal is rated on its own.
    torch.testing.assert_close(scorer(fused[1:2, 2:3], proposals(1, 1))[0, 0], logits[1, 2])


def test_by_hand() -> None:
    scorer = Scorer(2, hidden_dim=2)
    with torch.no_grad():
        scorer.hidden.weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 2.0]]))
        scorer.hidden.bias.copy_(torch.tensor([0.0, 1.0]))
        scorer.out.weight.copy_(torch.tensor([[3.0, -1.0]]))
        scorer.out.bias.fill_(0.5)
    # (3, 1): hidden 3 - 1 = 2 and 2 + 1 = 3; 3 * 2 - 3 + 0.5 = 3.5.
    # (1, 3): hidden 1 - 3 < 0 -> 0 and 6 + 1 = 7; -7 + 0.5 = -6.5.
    logits = scorer(torch.tensor([[[3.0, 1.0], [1.0, 3.0]]]), proposals(1, 2))
    assert logits.tolist() == [[3.5, -6.5]]


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    scorer = Scorer(8)
    scorer(torch.randn(3, 4, 8), proposals(3, 4)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in scorer.parameters())


def test_a_residual_score_begins_as_the_confidence() -> None:
    scorer = Scorer(8, residual=True)
    logits = scorer(torch.randn(3, 4, 8), proposals(3, 4))
    torch.testing.assert_close(logits.sigmoid(), torch.full((3, 4), 0.25))
    logits.sum().backward()
    assert scorer.out.weight.grad is not None and scorer.out.weight.grad.abs().sum() > 0


def test_boundaries_begin_where_they_are_and_stay_in_the_video() -> None:
    refiner, found = Refiner(8), proposals(1, 2)
    mask = torch.ones(1, 7, dtype=torch.bool)
    fused = torch.randn(1, 2, 8)
    assert torch.equal(refiner(fused, found, mask), found.spans)
    with torch.no_grad():
        refiner.out.bias.copy_(torch.tensor([-100.0, 100.0]))
    # By 0.45 of 4 clips: 2 - 1.8 and 6 + 1.8, which is behind the last of 7 clips.
    torch.testing.assert_close(refiner(fused, found, mask), torch.tensor([[[0.2, 7.0]] * 2]))
    with torch.no_grad():
        refiner.out.bias.copy_(torch.tensor([100.0, -100.0]))
    torch.testing.assert_close(refiner(fused, found, mask), torch.tensor([[[3.8, 4.2]] * 2]))
