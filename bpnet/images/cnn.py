"""A small network from pictures to feature maps, for small pictures and few classes."""

from __future__ import annotations

from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Four convolutions, trained from scratch; a map has a quarter of the picture's side.

    Args:
        width: Channels of the first; the last has four times as many.

    Attributes:
        feature_dim: Width C of the maps.
        stride: Pixels of a picture a cell of its map, across and down.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.feature_dim = 4 * width
        self.stride = 4
        sizes = ((3, width, 2), (width, 2 * width, 2), (2 * width, 4 * width, 1))
        blocks = [block for one in sizes for block in _block(*one)]
        self.blocks = nn.Sequential(*blocks, *_block(4 * width, 4 * width, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """Compute feature maps.

        Args:
            pictures: RGB (N, 3, S, S) in [0, 1].

        Returns:
            Maps (N, H, W, C), H = W = S / 4, rounded up.
        """
        maps: Tensor = self.blocks(2 * pictures - 1)
        return maps.permute(0, 2, 3, 1)


def _block(inner: int, outer: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inner, outer, 3, stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outer), nn.ReLU()
