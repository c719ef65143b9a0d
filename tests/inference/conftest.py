"""A trained tiny model and its features."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_run

from bpnet import Localizer
from bpnet_features import FeatureStore


@pytest.fixture(scope="session")
def run_dir() -> Path:
    """Folder of a run on the tiny dataset; nothing may write into it."""
    return tiny_run.trained()[1]


@pytest.fixture(scope="session")
def store() -> FeatureStore:
    """Its features."""
    return FeatureStore(tiny_run.trained()[0] / "features.h5")


@pytest.fixture(scope="session")
def localizer(run_dir: Path) -> Localizer:
    """Its model."""
    return Localizer.from_pretrained(run_dir, device="cpu")
