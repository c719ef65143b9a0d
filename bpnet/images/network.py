"""The network: a backbone and a head."""

from __future__ import annotations

from torch import Tensor, nn

from bpnet.images.cnn import SmallCNN
from bpnet.images.heads import AdjustedHead, CamHead, CausalHead, MapOutput
from bpnet.images.settings import ImageConfig


class ImageNetwork(nn.Module):
    """Backbone and head.

    Args:
        backbone: Pictures (N, 3, S, S) in [0, 1] -> features (N, H, W, C).
        head: Features -> maps and scores.
    """

    def __init__(self, backbone: nn.Module, head: CamHead | AdjustedHead | CausalHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    @property
    def num_contexts(self) -> int:
        """Contexts that the head is adjusted for."""
        return len(self.head.prior) if isinstance(self.head, AdjustedHead) else 0

    def forward(self, pictures: Tensor, contexts: Tensor | None = None) -> MapOutput:
        """Compute maps and scores.

        Args:
            pictures: (N, 3, S, S) in [0, 1].
            contexts: That of each picture (N,) int64, to train an `AdjustedHead`; else None.

        Returns:
            Both.
        """
        features = self.backbone(pictures)
        output: MapOutput
        if isinstance(self.head, AdjustedHead):
            output = self.head(features, contexts)
        else:
            output = self.head(features)
        return output


def build_network(config: ImageConfig, num_classes: int, num_contexts: int = 0) -> ImageNetwork:
    """The network of a config, with weights drawn from torch's generator.

    Args:
        config: The config.
        num_classes: Classes K.
        num_contexts: Contexts that ``backdoor`` adjusts for.

    Returns:
        The network.
    """
    backbone = SmallCNN(config.width)
    width = backbone.feature_dim
    head: CamHead | AdjustedHead | CausalHead
    match config.intervention:
        case "backdoor":
            head = AdjustedHead(width, num_classes, num_contexts)
        case "cicam":
            side = -(-config.size // backbone.stride)
            head = CausalHead(width, num_classes, (side, side), config.cicam_rate)
        case _:
            head = CamHead(width, num_classes)
    return ImageNetwork(backbone, head)
