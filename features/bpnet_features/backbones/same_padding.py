"""TensorFlow's "SAME" padding: as many positions as strides fit; what is odd goes to the end."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


def pad_same(x: Tensor, layer: nn.Conv2d | nn.Conv3d | nn.MaxPool3d) -> Tensor:
    """Pad the input of a layer with zeros so that it gives ceil(size / stride) positions an axis.

    Args:
        x: (N, C, ...), with as many further axes as the layer has.
        layer: A convolution or pooling that pads nothing itself.

    Returns:
        The padded input.
    """
    kernel, stride = layer.kernel_size, layer.stride
    assert isinstance(kernel, Sequence) and isinstance(stride, Sequence)
    pads: list[int] = []
    for size, length, step in zip(x.shape[2:], kernel, stride, strict=True):
        pad = max((-(-size // step) - 1) * step + length - size, 0)
        pads = [pad // 2, pad - pad // 2, *pads]  # the last axis comes first
    return F.pad(x, pads)
