"""A checkpoint of `supervision=weak` goes wherever one of `supervision=full` goes."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from service_process import serve_process

from bpnet import Localizer
from bpnet.checkpoint import BEST, LAST

pytestmark = pytest.mark.slow

QUERY = "a red circle slides to the left"
# The labelled validation part is one video: there is no other to calibrate scores by.
SHORT = ["trainer.max_steps=2", "trainer.calibrate=false", "trainer.device=cpu"]
SHORT += ["model.hidden_dim=32", "data.max_clips=24"]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a rendered sample; nothing may write into it."""
    pytest.importorskip("av")
    from bpnet_features.extract_many import extract_videos
    from bpnet_features.sample import render_sample

    root = tmp_path_factory.mktemp("sample")
    videos = render_sample(root, 12, progress=False)
    extract_videos(videos, root / "features.h5", progress=False)
    return root


@pytest.fixture(scope="module")
def runs(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run folder of each kind of supervision."""
    from bpnet.cli.hydra_app import compose
    from bpnet.config import TrainConfig, conf_path
    from bpnet.settings import from_dict
    from bpnet.training.run import train
    from bpnet.weak.rounds import train_weakly

    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("full", "weak")}
    for kind, folder in folders.items():
        line = ["experiment=weak_sample", f"supervision={kind}", f"data.root={sample}", *SHORT]
        if kind == "weak":
            line += ["supervision.teacher_epochs=1"]
        config = from_dict(TrainConfig, compose(conf_path(), "train", line))
        (train_weakly if kind == "weak" else train)(config, folder)
    return folders


@pytest.fixture(scope="module")
def weak(runs: dict[str, Path]) -> Path:
    """Folder of the run without timestamps."""
    return runs["weak"]


def header(path: Path) -> dict[str, Any]:
    """The JSON at the beginning of a safetensors file, read without the library."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    found: dict[str, Any] = json.loads(data[8 : 8 + size])
    return found


@pytest.mark.parametrize("name", [BEST, LAST])
def test_the_file_is_the_same_but_for_its_numbers(runs: dict[str, Path], name: str) -> None:
    full, weak = (header(runs[kind] / name) for kind in ("full", "weak"))
    told = full.pop("__metadata__"), weak.pop("__metadata__")
    assert list(weak.items()) == list(full.items())  # names, dtypes, shapes, places in the file
    training = [json.loads(one.pop("training")) for one in told]
    assert told[0] == told[1]
    assert training[0].keys() == training[1].keys()


def test_evaluate_localize_and_export(bpnet, sample: Path, weak: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    assert bpnet("evaluate", f"checkpoint={weak}", "split=test", "out=scores")[0] == 0
    assert json.loads(Path("scores/metrics.json").read_text())["metrics"].keys() >= {"mIoU"}

    asked = [QUERY, "--checkpoint", weak, "--json"]
    stored = bpnet("localize", "sample_0001", *asked, "--features", sample / "features.h5")
    file = bpnet("localize", sample / "videos" / "sample_0001.mp4", *asked)
    assert (stored[0], file[0]) == (0, 0), stored[2] + file[2]
    rows = [[list(row.values()) for row in json.loads(out)[0]] for _, out, _ in (stored, file)]
    np.testing.assert_allclose(*rows, atol=1e-3)
    status, out, err = bpnet("localize", *asked, "--library", sample / "features.h5")
    assert status == 0 and "sample_" in out, err

    status, out, err = bpnet("export", weak, "--out", "m.onnx", "--split", "test")
    assert status == 0, err
    table = {line.split()[0]: line.split()[1:] for line in out.splitlines()[-2:]}
    assert table["m.onnx"] == table["checkpoint"]
    session = onnxruntime.InferenceSession("m.onnx")
    assert "spans" in {output.name for output in session.get_outputs()}


def test_serve(sample: Path, weak: Path) -> None:
    pytest.importorskip("fastapi")
    features = sample / "features.h5"
    with serve_process(weak, "--features", features) as service:
        asked = {"video_id": "sample_0001", "queries": [QUERY]}
        response = httpx.post(f"{service.url}/localize", json=asked, timeout=60)
    assert response.status_code == 200, response.text
    (answer,) = response.json()["answers"]
    video = Localizer.from_pretrained(weak, "cpu").open_video(features, "sample_0001")
    rows = [list(moment.to_dict().values()) for moment in video.localize(QUERY)]
    found = [list(moment.values()) for moment in answer["moments"]]
    np.testing.assert_allclose(found, rows, atol=1e-4)


def test_app(sample: Path, weak: Path, tmp_path: Path) -> None:
    from bpnet.app.desk import Desk
    from bpnet.app.limits import Limits
    from bpnet.app.visit import Visits

    video = sample / "videos" / "sample_0001.mp4"
    limits = Limits()
    visits = Visits(tmp_path / "visits", limits.visits)
    desk = Desk(Localizer.from_pretrained(weak, "cpu"), visits, limits, {"one.mp4": video})
    desk.open_chosen("session", "one.mp4", lambda part, what: None)
    visit = desk.ask("session", QUERY, 3, 0.0, lambda part, what: None)
    assert visit.answers is not None
    assert [len(moments) for moments in visit.answers.moments()] == [3]
