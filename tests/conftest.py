"""What many tests need: a small feature store, annotations, a tiny run, the development data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from bpnet.types import Annotation
from bpnet_features import FeatureSpec, FeatureStore, FeatureWriter

if TYPE_CHECKING:
    from bpnet import Localizer

# A busy machine must not fail a test for the time that it takes.
settings.register_profile("bpnet", deadline=None)
settings.load_profile("bpnet")

TINY_SPEC = FeatureSpec(backbone="tiny", feature_dim=8, seconds_per_clip=0.5, normalisation="none")


@pytest.fixture
def tiny_store(tmp_path: Path) -> Path:
    """A store of 4 videos "v0" to "v3": 16 clips of 0.5 s, 8 wide, 8 s long."""
    path = tmp_path / "tiny.h5"
    with FeatureWriter(path, TINY_SPEC) as writer:
        for number in range(4):
            rng = np.random.default_rng(number)
            clips = rng.normal(size=(16, 8)).astype(np.float32)
            writer.add(f"v{number}", clips, duration_seconds=8.0)
    return path


@pytest.fixture
def tiny_annotations() -> list[Annotation]:
    """Two sentences about each video of `tiny_store`."""
    sentences = ("person opens the door", "a red circle moves to the left")
    return [
        Annotation(
            qid=f"v{number}_{index}",
            video_id=f"v{number}",
            query=query,
            start_seconds=0.5 * number + index,
            end_seconds=3.0 + 0.5 * number + 1.5 * index,
            duration_seconds=8.0,
            split="train",
        )
        for number in range(4)
        for index, query in enumerate(sentences)
    ]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The development data beside the checkout."""
    path = Path(__file__).resolve().parents[1].parent / "shared"
    if not path.is_dir():
        pytest.skip(f"no development data in {path}")
    return path


@pytest.fixture(scope="session")
def run_dir() -> Path:
    """Folder of a run on the tiny dataset; nothing may write into it."""
    import tiny_run  # takes the whole of training with it, which few tests need

    return tiny_run.trained()[1]


@pytest.fixture(scope="session")
def store() -> FeatureStore:
    """Its features."""
    import tiny_run

    return FeatureStore(tiny_run.trained()[0] / "features.h5")


@pytest.fixture(scope="session")
def localizer(run_dir: Path) -> Localizer:
    """Its model."""
    from bpnet import Localizer

    return Localizer.from_pretrained(run_dir, device="cpu")
