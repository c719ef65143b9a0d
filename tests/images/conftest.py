"""A model that was trained on squares of two colours."""

from __future__ import annotations

import pytest
from square_pictures import COLOURS, config, tensors

from bpnet.images.model import ImageModel
from bpnet.images.train import train_images


@pytest.fixture(scope="session")
def model() -> ImageModel:
    return train_images(*tensors(64, 0), list(COLOURS), config())
