"""Scorer: shape, and a score by hand."""

from __future__ import annotations

import torch

from bpnet.models.scorer import Scorer


def test_shape_and_independence() -> None:
    torch.manual_seed(0)
    scorer = Scorer(8)
    fused = torch.randn(3, 4, 8)
    logits = scorer(fused)
    assert logits.shape == (3, 4) and logits.dtype == torch.float32
    assert scorer.hidden.out_features == 128
    # Each proposal is rated on its own.
    torch.testing.assert_close(scorer(fused[1:2, 2:3])[0, 0], logits[1, 2])


def test_by_hand() -> None:
    scorer = Scorer(2, hidden_dim=2)
    with torch.no_grad():
        scorer.hidden.weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 2.0]]))
        scorer.hidden.bias.copy_(torch.tensor([0.0, 1.0]))
        scorer.out.weight.copy_(torch.tensor([[3.0, -1.0]]))
        scorer.out.bias.fill_(0.5)
    # (3, 1): hidden 3 - 1 = 2 and 2 + 1 = 3; 3 * 2 - 3 + 0.5 = 3.5.
    # (1, 3): hidden 1 - 3 < 0 -> 0 and 6 + 1 = 7; -7 + 0.5 = -6.5.
    logits = scorer(torch.tensor([[[3.0, 1.0], [1.0, 3.0]]]))
    assert logits.tolist() == [[3.5, -6.5]]


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    scorer = Scorer(8)
    scorer(torch.randn(3, 4, 8)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in scorer.parameters())
