"""A hurriedly trained model that reads video files, a rendered video, and what opens it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_run
from app_parts import QUERIES, SESSION, silent

from bpnet import Localizer
from bpnet.app.desk import Desk
from bpnet.app.limits import Limits
from bpnet.app.visit import Visit, Visits
from bpnet_features.extract_many import extract_videos
from bpnet_features.sample import render_sample


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a sample of six videos; nothing may write into it."""
    pytest.importorskip("av")
    root = tmp_path_factory.mktemp("sample")
    videos = render_sample(root, 6, progress=False)
    extract_videos(videos, root / "features.h5", progress=False)
    return root


@pytest.fixture(scope="session")
def video(sample: Path) -> Path:
    """One video of it."""
    return sample / "videos" / "sample_0001.mp4"


@pytest.fixture(scope="session")
def run_dir(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run on it, too short to learn; nothing may write into it."""
    from bpnet.training.run import train

    folder = tmp_path_factory.mktemp("run")
    train(tiny_run.config(sample, trainer__max_epochs=1, trainer__max_steps=4), folder)
    return folder


@pytest.fixture(scope="session")
def localizer(run_dir: Path) -> Localizer:
    """The model."""
    return Localizer.from_pretrained(run_dir, "cpu")


@pytest.fixture
def make_desk(localizer: Localizer, video: Path, tmp_path: Path) -> Callable[..., Desk]:
    """Makes a desk with given limits, whose visits lie in ``tmp_path/visits``."""

    def make(**limits: float) -> Desk:
        chosen = Limits(**limits)  # type: ignore[arg-type]
        visits = Visits(tmp_path / "visits", chosen.visits)
        return Desk(localizer, visits, chosen, {"one of ours.mp4": video})

    return make


@pytest.fixture
def visit(make_desk: Callable[..., Desk]) -> Visit:
    """A visit that has asked `QUERIES`."""
    desk = make_desk()
    desk.open_chosen(SESSION, "one of ours.mp4", silent)
    return desk.ask(SESSION, "\n".join(QUERIES), 2, 0.0, silent)
