"""Dropout with cheap masks: the share, the scale, the gradient, and that a seed decides it."""

from __future__ import annotations

import pytest
import torch

from bpnet.models.dropout import Dropout, dropout


@pytest.mark.parametrize("share", [0.1, 0.15, 0.5, 0.9])
def test_share_and_scale(share: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(1001, 103)
    y = dropout(x, share)
    zeros = (y == 0).float().mean().item()
    assert zeros == pytest.approx(share, abs=0.005)  # the standard error is below 0.0016
    assert y[y != 0].unique().numel() == 1
    assert y.mean().item() == pytest.approx(1.0, abs=0.03)


def test_every_place_is_dropped_as_often() -> None:
    torch.manual_seed(0)
    kept = sum((dropout(torch.ones(9), 0.3) > 0).float() for _ in range(4000)) / 4000
    torch.testing.assert_close(kept, torch.full((9,), 0.7), atol=0.03, rtol=0)


def test_gradient_is_the_mask() -> None:
    torch.manual_seed(0)
    x = torch.randn(7, 5, requires_grad=True)
    y = dropout(x, 0.4)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x.detach(), y.detach())


def test_a_seed_decides() -> None:
    layer = Dropout(0.5)
    torch.manual_seed(3)
    first = layer(torch.ones(50))
    second = layer(torch.ones(50))
    torch.manual_seed(3)
    assert torch.equal(layer(torch.ones(50)), first) and not torch.equal(first, second)


@pytest.mark.parametrize("layer", [Dropout(0.5).eval(), Dropout(0.0)])
def test_nothing_is_dropped(layer: Dropout) -> None:
    x = torch.randn(4, 3)
    assert layer(x) is x


def test_a_share_of_nearly_all() -> None:
    torch.manual_seed(0)
    y = dropout(torch.ones(100), 1 - 1e-9)
    assert torch.isfinite(y).all() and (y == 0).float().mean() > 0.9


def test_types_and_odd_shapes() -> None:
    for shape in ((), (0, 3), (5,), (2, 1, 3)):
        x = torch.ones(shape, dtype=torch.bfloat16)
        assert dropout(x, 0.5).shape == shape and dropout(x, 0.5).dtype == x.dtype
