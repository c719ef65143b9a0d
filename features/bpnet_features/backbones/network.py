"""A network as a backbone: the spec of what it makes, and how its numbers are computed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bpnet_features.backbones.backbone import Array, Extraction
from bpnet_features.backbones.torch_weights import digest
from bpnet_features.backbones.windows import WindowBackbone
from bpnet_features.picture import Picture
from bpnet_features.spec import FeatureSpec


def network_backbone(
    network: nn.Module,
    embed: Callable[[Tensor], Tensor],
    extraction: Extraction,
    device: torch.device,
    picture: Picture,
    *,
    backbone: str,
    feature_dim: int,
    layer: str,
    fps: float,
    clip_length_frames: int = 1,
    batch_size: int,
) -> WindowBackbone:
    """Make a backbone; what the extraction does not say is as is usual for the network.

    Args:
        network: The part of it that makes the features, with its weights; it is brought to the
            device.
        embed: What is done with it: windows (B, F, H, W, 3) uint8, on the device -> features
            (B, C). It is called without gradients and without TF32, so that devices agree.
        extraction: How it is to be used.
        device: Where it is computed.
        picture: How each frame is scaled and cut.
        backbone: Its name.
        feature_dim: Width C of the features.
        layer: Where in the network they are taken.
        fps: Its usual frames a second.
        clip_length_frames: Its usual frames a clip. Clips follow one another, usually.
        batch_size: Clips that are usually computed at once.

    Returns:
        The backbone.
    """
    length = extraction.clip_length_frames or clip_length_frames
    spec = FeatureSpec(
        backbone=backbone,
        feature_dim=feature_dim,
        layer=layer,
        fps=extraction.fps or fps,
        clip_length_frames=length,
        clip_stride_frames=extraction.clip_stride_frames or length,
        normalisation=extraction.normalisation or "none",
        picture=str(picture),
        weights=digest(network),
    )
    network.to(device)

    @torch.inference_mode()
    def run(windows: npt.NDArray[np.uint8]) -> Array:
        with torch.backends.cudnn.flags(allow_tf32=False):
            features: Array = embed(torch.from_numpy(windows).to(device)).cpu().numpy()
        return features

    return WindowBackbone(spec, picture, run, extraction.batch_size or batch_size)
