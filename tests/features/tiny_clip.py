"""A CLIP that is small enough for a test, with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

SIDE = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def save_clip(folder: Path, seed: int = 0, width: int = 24) -> str:
    """Both sides of a CLIP that looks at 32 x 32 pixels, as transformers saves any."""
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPConfig(
        text_config={**SIDE, "vocab_size": 50},
        vision_config={**SIDE, "image_size": 32, "patch_size": 8},
        projection_dim=width,
    )
    torch.manual_seed(seed)
    transformers.CLIPModel(config).save_pretrained(folder)
    return str(folder)
