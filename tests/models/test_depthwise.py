"""Depthwise convolution: the same numbers as torch's, forwards and backwards."""

from __future__ import annotations

import pytest
import torch

from bpnet.models.depthwise import DepthwiseConv


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("dilation", [1, 4])
@pytest.mark.parametrize("length", [1, 2, 11])
def test_equals_conv1d(kernel_size: int, dilation: int, length: int) -> None:
    torch.manual_seed(0)
    ours = DepthwiseConv(6, kernel_size, dilation).double()
    theirs = torch.nn.Conv1d(
        6,
        6,
        kernel_size,
        padding=kernel_size // 2 * dilation,
        dilation=dilation,
        groups=6,
        bias=False,
    ).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, length, 6, dtype=torch.float64, requires_grad=True)
    y, z = ours(x), theirs(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(y, z)
    weights = torch.randn_like(y)
    of_ours = torch.autograd.grad((y * weights).sum(), [x, ours.weight])
    of_theirs = torch.autograd.grad((z * weights).sum(), [x, theirs.weight])
    torch.testing.assert_close(of_ours, of_theirs)


def test_trains_under_autocast() -> None:
    torch.manual_seed(0)
    layer, x = DepthwiseConv(4, 3), torch.randn(2, 5, 4, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x).float().sum().backward()
    assert x.grad is not None and x.grad.dtype == torch.bfloat16 and layer.weight.grad is not None
