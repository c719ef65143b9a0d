"""CLIP's image side, a vector a frame in the space that it shares with sentences; transformers.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021). Any
model that `transformers` loads as CLIP will do; those of the field come from ``ViT-B/32``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bpnet_features.backbones.backbone import Extraction
from bpnet_features.backbones.network import network_backbone
from bpnet_features.backbones.torch_weights import pick_device
from bpnet_features.backbones.windows import WindowBackbone
from bpnet_features.errors import FeatureError
from bpnet_features.picture import Picture

NAME = "clip"
HUB_NAME = "openai/clip-vit-base-patch32"
# QVHighlights' features, and Moment-DETR on one's own video: a frame every two seconds.
FPS = 0.5
BATCH_SIZE = 16
_PARTS = ("vision_model.", "visual_projection.")
# CLIP's `clip.py`: what the pixels, from 0 to 1, are normalised with.
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class _ImageSide(nn.Module):
    """What of a CLIP looks at images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.vision_model = model.get_submodule("vision_model")
        self.visual_projection = model.get_submodule("visual_projection")

    def forward(self, images: Tensor) -> Tensor:
        seen = self.vision_model(pixel_values=images).pooler_output
        projected: Tensor = self.visual_projection(seen)
        return projected


def load(extraction: Extraction) -> WindowBackbone:
    """The extractor; a clip of several frames has the mean of their vectors.

    Args:
        extraction: How it is to be used; ``weights`` is a folder of `transformers`, or a name on
            the Hugging Face hub (`HUB_NAME` if none is given), which is downloaded once.

    Returns:
        The backbone.

    Raises:
        FeatureError: `transformers` is missing, there is no such model, or no such device.
    """
    try:
        from safetensors import SafetensorError
        from transformers import CLIPModel
    except ImportError as err:
        raise FeatureError(
            f"backbone {NAME!r} needs transformers, which is not installed; run: "
            "pip install 'bpnet-nlvl[clip]'"
        ) from err
    device = pick_device(extraction.device)
    name = extraction.weights or HUB_NAME
    try:
        model, found = CLIPModel.from_pretrained(name, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as err:
        raise FeatureError(
            f"weights {name!r} of backbone {NAME!r}: no CLIP model that transformers can load from "
            f"there ({str(err).splitlines()[0] if str(err) else type(err).__name__}); give a "
            "folder with config.json and model.safetensors, or a name on the Hugging Face hub"
        ) from err
    network = _ImageSide(model.float())
    # What transformers does not find, it makes up at random.
    missing = sorted(key for key in found["missing_keys"] if key.startswith(_PARTS))
    if missing:
        raise FeatureError(
            f"weights {name!r} of backbone {NAME!r}: weights of another network: {missing[0]} and "
            f"{len(missing) - 1} more are missing; give those of a CLIP model"
        )
    side = int(model.config.vision_config.image_size)
    picture = Picture(side, side, "bicubic")
    if extraction.picture:
        picture = Picture.parse(extraction.picture)
        if picture.crop != side:
            raise FeatureError(f"picture={str(picture)!r}: this CLIP needs a centre of {side}")
    network.eval().requires_grad_(False)
    mean, deviation = (torch.tensor(c, device=device) * 255 for c in (MEAN, DEVIATION))

    def embed(windows: Tensor) -> Tensor:
        pixels = (windows.flatten(0, 1).float() - mean) / deviation
        vectors = network(pixels.permute(0, 3, 1, 2))
        features: Tensor = vectors.unflatten(0, windows.shape[:2]).mean(dim=1)
        return features

    return network_backbone(
        network,
        embed,
        extraction,
        device,
        picture,
        backbone=NAME,
        feature_dim=int(model.visual_projection.out_features),
        layer="image_embeds",
        fps=FPS,
        batch_size=BATCH_SIZE,
    )
