"""Depthwise convolution along the places of a sequence.

`torch.nn.Conv1d` wants the places last, and its gradient on a CPU takes up to ten times as long as
these few shifted products, dilated kernels above all.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class DepthwiseConv(nn.Conv1d):
    """A convolution of each channel by itself, without bias, that keeps the number of places.

    Its weights are those of a `torch.nn.Conv1d` with as many groups as channels.

    Args:
        dim: Channels D.
        kernel_size: Places that one output sees, odd.
        dilation: Distance between those places.
    """

    def __init__(self, dim: int, kernel_size: int, dilation: int = 1) -> None:
        super().__init__(dim, dim, kernel_size, dilation=dilation, groups=dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) to the same shape; what lies outside is zero."""
        if torch.compiler.is_compiling() and not self.training:  # one operation, not one a tap
            reach = self.kernel_size[0] // 2 * self.dilation[0]
            y = x.transpose(1, 2)
            y = F.conv1d(y, self.weight, None, 1, reach, self.dilation, self.groups)
            return y.transpose(1, 2)
        taps = self.weight[:, 0].t()  # (K, D)
        convolved: Tensor = _Convolve.apply(x, taps, self.dilation[0])  # type: ignore[no-untyped-call]
        return convolved


def _correlate(padded: Tensor, taps: Tensor, dilation: int) -> Tensor:
    """Sum of (B, N + (K - 1) dilation, D), shifted by each tap (K, D): (B, N, D)."""
    length = padded.shape[1] - (len(taps) - 1) * dilation
    out = padded[:, :length] * taps[0]
    for place in range(1, len(taps)):
        first = place * dilation
        out.addcmul_(padded[:, first : first + length], taps[place])
    return out


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, dilation: int) -> Tensor:
        reach = len(taps) // 2 * dilation
        padded = F.pad(x, (0, 0, reach, reach))
        ctx.save_for_backward(padded, taps)
        ctx.dilation, ctx.reach = dilation, reach
        return _correlate(padded, taps, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        padded, taps = ctx.saved_tensors
        around = F.pad(gradient, (0, 0, ctx.reach, ctx.reach))
        of_x = _correlate(around, taps.flip(0), ctx.dilation)
        length = gradient.shape[1]
        of_taps = [
            (padded[:, first : first + length] * gradient).sum(dim=(0, 1))
            for first in range(0, len(taps) * ctx.dilation, ctx.dilation)
        ]
        return of_x, torch.stack(of_taps), None
