"""C3D, trained on Sports-1M, a vector (4096,) a clip of 16 frames: fc6 after its ReLU.

Architecture: Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks" (ICCV
2015). Names of parameters are those of github.com/DavideA/c3d-pytorch, whose weight file
(``c3d.pickle``) is read; `tests/golden` holds its numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bpnet_features.backbones.backbone import Extraction
from bpnet_features.backbones.network import network_backbone
from bpnet_features.backbones.torch_weights import fill, pick_device, read_state
from bpnet_features.backbones.windows import WindowBackbone
from bpnet_features.errors import FeatureError
from bpnet_features.picture import Picture

NAME = "c3d"
WIDTH = 4096
LENGTH = 16  # the only one that it can look at
# One clip a second, none shared: the time base of MS-2D-TAN's `..._c3d_fc6_...` files.
FPS = 16.0
# Section 3.1 of the paper: 128 x 171, of which 112 x 112 are seen.
PICTURE = Picture((171, 128), 112, "bilinear")
# What github.com/jfzhang95/pytorch-video-recognition takes from these weights' input: blue, green,
# red, as OpenCV reads them. The mean cube of the authors' Caffe code is close to it.
MEAN_BGR = (90.0, 98.0, 102.0)
BATCH_SIZE = 8

_CONVOLUTIONS = {  # channels in and out; a pool after those of `_POOLS`
    "conv1": (3, 64),
    "conv2": (64, 128),
    "conv3a": (128, 256),
    "conv3b": (256, 256),
    "conv4a": (256, 512),
    "conv4b": (512, 512),
    "conv5a": (512, 512),
    "conv5b": (512, 512),
}
_POOLS = {  # kernel and stride in time, padding in space
    "conv1": (1, 0),
    "conv2": (2, 0),
    "conv3b": (2, 0),
    "conv4b": (2, 0),
    "conv5b": (2, 1),
}


class C3D(nn.Module):
    """The network up to fc6."""

    def __init__(self) -> None:
        super().__init__()
        for name, (width_in, width_out) in _CONVOLUTIONS.items():
            self.add_module(name, nn.Conv3d(width_in, width_out, 3, padding=1))
        self.fc6 = nn.Linear(512 * 4 * 4, WIDTH)

    def forward(self, video: Tensor) -> Tensor:
        """Features of stacks of frames.

        Args:
            video: Mean subtracted, (B, 3, 16, 112, 112).

        Returns:
            Features (B, 4096), >= 0.
        """
        x = video
        for name in _CONVOLUTIONS:
            x = F.relu(self.get_submodule(name)(x))
            if name in _POOLS:
                depth, pad = _POOLS[name]
                x = F.max_pool3d(x, (depth, 2, 2), padding=(0, pad, pad))
        return F.relu(self.fc6(x.flatten(1)))


def load(extraction: Extraction) -> WindowBackbone:
    """The extractor.

    Args:
        extraction: How it is to be used; ``weights`` must be given.

    Returns:
        The backbone.

    Raises:
        FeatureError: There are no weights, they are of another network, clips have not 16 frames,
            the picture is not 112 wide, or there is no such device.
    """
    picture = Picture.parse(extraction.picture) if extraction.picture else PICTURE
    if extraction.clip_length_frames not in (None, LENGTH):
        raise FeatureError(
            f"clip_length_frames={extraction.clip_length_frames}: C3D looks at {LENGTH}; choose "
            "fps and clip_stride_frames"
        )
    if picture.crop != PICTURE.crop:
        raise FeatureError(f"picture={str(picture)!r}: C3D needs a centre of {PICTURE.crop}")
    if extraction.weights is None:
        raise FeatureError(
            f"backbone {NAME!r} needs weights=FILE (c3d.pickle of github.com/DavideA/c3d-pytorch; "
            "see docs/extract.md)"
        )
    device = pick_device(extraction.device)
    network = C3D()
    where = f"weights {extraction.weights!r} of backbone {NAME!r}"
    fill(network, read_state(extraction.weights, NAME), ("fc7.", "fc8."), where)
    mean = torch.tensor(MEAN_BGR, device=device)

    def embed(windows: Tensor) -> Tensor:
        pixels = windows.float().flip(-1) - mean
        features: Tensor = network(pixels.permute(0, 4, 1, 2, 3))
        return features

    return network_backbone(
        network,
        embed,
        extraction,
        device,
        picture,
        backbone=NAME,
        feature_dim=WIDTH,
        layer="fc6",
        fps=FPS,
        clip_length_frames=LENGTH,
        batch_size=BATCH_SIZE,
    )
