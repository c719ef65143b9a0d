"""Services that run: a real server in a thread, asked over loopback."""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tiny_run

from bpnet import Localizer
from bpnet.serve.access import Access, hosts_for
from bpnet.serve.app import make_app
from bpnet.serve.limits import Limits
from bpnet.serve.server import make_server
from bpnet.serve.service import Service
from bpnet.web.listen import listen
from bpnet_features import FeatureSource, FeatureStore, FeatureWriter
from bpnet_features.backbones.grid import GRID_SPEC

Serving = Callable[..., "contextlib.AbstractContextManager[httpx.Client]"]


@pytest.fixture(scope="session")
def grid_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose model reads video files; it has learned nothing, and need not."""
    from bpnet.training.run import train

    root, run = tmp_path_factory.mktemp("grid"), tmp_path_factory.mktemp("grid-run")
    with FeatureWriter(root / "features.h5", GRID_SPEC) as writer:
        for number in range(2):
            clips = np.random.default_rng(number).normal(size=(8, GRID_SPEC.feature_dim))
            writer.add(f"v{number}", clips.astype(np.float32), duration_seconds=4.0)
    rows = [
        {"qid": "q0", "video_id": "v0", "query": "a circle slides", "start": 0, "end": 2},
        {"qid": "q1", "video_id": "v1", "query": "a square spins", "start": 1, "end": 3},
    ]
    lines = (
        json.dumps(row | {"duration": 4, "split": split}) + "\n"
        for row, split in zip(rows, ("train", "val"), strict=True)
    )
    (root / "annotations.jsonl").write_text("".join(lines), encoding="utf-8")
    train(tiny_run.config(root, trainer__max_steps=1, trainer__max_epochs=1), run)
    return run


@pytest.fixture(scope="session")
def grid_localizer(grid_run: Path) -> Localizer:
    """Its model."""
    return Localizer.from_pretrained(grid_run, device="cpu")


@pytest.fixture(scope="session")
def video_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds in which a bright square moves."""
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("video") / "holiday.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 64
        for number in range(32):
            frame = np.zeros((64, 64, 3), dtype=np.uint8)
            frame[16:32, number : number + 16] = (220, 40, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def serving(localizer: Localizer, store: FeatureStore) -> Serving:
    """Runs a service until its block ends; gives a client of it."""

    @contextlib.contextmanager
    def run(
        model: Localizer = localizer,
        features: FeatureSource | None = store,
        access: Access | None = None,
        **limits: float,
    ) -> Iterator[httpx.Client]:
        access = access or Access(None, hosts_for("127.0.0.1", []))
        with listen("127.0.0.1", 0) as listening:
            service = Service(model, features, Limits(**limits))
            server = make_server(make_app(service, access), drain_seconds=30)
            thread = threading.Thread(target=server.run, args=([listening],))
            thread.start()
            try:
                while not server.started and thread.is_alive():
                    time.sleep(0.01)
                url = f"http://127.0.0.1:{listening.getsockname()[1]}"
                with httpx.Client(base_url=url, timeout=60) as client:
                    yield client
            finally:
                server.should_exit = True
                thread.join(60)
        assert not thread.is_alive()

    return run


@pytest.fixture(scope="module")
def client(serving: Serving) -> Iterator[httpx.Client]:
    """A client of a service of the tiny model, with its features."""
    with serving() as found:
        yield found


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder
