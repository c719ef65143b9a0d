"""A folder laid out as QVHighlights' users have it: two streams, CLIP text, several moments."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bpnet_features import open_features

NUM_CLIPS = 20  # of two seconds
WORDS = ("dog", "boat", "meal", "street")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of 40 s; a sentence names a thing, which is seen twice."""
    root = tmp_path_factory.mktemp("qvhighlights")
    for name in ("slowfast_features", "clip_features", "clip_text_features"):
        (root / name).mkdir()
    lines: dict[str, list[str]] = {"train": [], "val": []}
    for number in range(24):
        rng = np.random.default_rng(number)
        vid = f"{'abcdefghijk'[number % 11]}{'x' * 10}_{number}.0_{number + 40}.0"
        slowfast = rng.normal(scale=0.01, size=(NUM_CLIPS + number % 2, 2304))  # differ by one
        clip = rng.normal(scale=0.01, size=(NUM_CLIPS, 512))
        word = number % len(WORDS)
        first, second = int(rng.integers(0, 5)), int(rng.integers(11, 15))
        shown = [*range(first, first + 5), *range(second, second + 4)]
        clip[shown, word] += 3.0
        np.savez(root / "slowfast_features" / f"{vid}.npz", features=slowfast.astype(np.float32))
        np.savez(root / "clip_features" / f"{vid}.npz", features=clip.astype(np.float16))
        text = np.full((3, 512), 0.01, np.float16)
        text[1, word] = 2.0
        np.savez(
            root / "clip_text_features" / f"qid{number}.npz",
            last_hidden_state=text,
            pooler_output=text.mean(axis=0),
        )
        row = {
            "qid": number,
            "query": f"a {WORDS[word]} is seen",
            "duration": 40,
            "vid": vid,
            "relevant_clip_ids": shown,
            "saliency_scores": [[3, 4, 2]] * len(shown),
            "relevant_windows": [[2 * first, 2 * first + 10], [2 * second, 2 * second + 8]],
        }
        lines["train" if number < 18 else "val"].append(json.dumps(row))
    for part, rows in lines.items():
        (root / f"highlight_{part}_release.jsonl").write_text("\n".join(rows) + "\n")
    return root


def test_train_and_evaluate(bpnet, folder: Path, tmp_path: Path) -> None:
    features = [
        f"data.features={folder}",
        "data.features.streams=[slowfast_features,clip_features]",
        "data.features.normalise=l2",
        f"data.query_features={folder}/clip_text_features",
        f"data.annotations={folder}",
    ]
    small = ["model.hidden_dim=16", "model.num_heads=2", "model.num_conv_layers=1"]
    run = ["data=qvhighlights", *features, *small, "optim.lr=0.005", "trainer.max_epochs=25"]
    status, _, error = bpnet("train", *run, "trainer.device=cpu", f"run_dir={tmp_path / 'run'}")
    assert status == 0, error
    log = (tmp_path / "run" / "train.log").read_text()
    assert "36 training and 6 validation queries" in log  # each moment trains a pair of its own
    line = [f"checkpoint={tmp_path / 'run'}", "split=val", "device=cpu"]
    line += ["protocol=moment-detr", f"out={tmp_path / 'out'}"]
    status, printed, error = bpnet("evaluate", *line)
    assert status == 0, error
    results = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert results["num_queries"] == 6
    assert results["feature_spec"]["streams"] == ["slowfast", "clip"]
    assert results["feature_spec"]["feature_dim"] == 2816
    assert results["average_precision"]["mAP"] > 20
    assert results["saliency"]["HIT@1,Good"] > 50
    assert results["metrics"]["mIoU"] > results["blind_best"]["mIoU"]
    assert "average precision: mAP " in printed and "saliency: " in printed
    assert "times rounded to multiples of 2 s" in printed

    # Anyone's submission of the same answers scores the same, without a model.
    submission = tmp_path / "submission.jsonl"
    with (tmp_path / "out" / "predictions.jsonl").open() as answers, submission.open("w") as file:
        for text in answers:
            row = json.loads(text)
            windows = [[m["start_seconds"], m["end_seconds"], m["score"]] for m in row["moments"]]
            made = {"qid": int(row["qid"]), "query": row["query"], "vid": row["video_id"]}
            made |= {"pred_relevant_windows": windows}
            made |= {"pred_saliency_scores": row["saliency_scores"]}
            file.write(json.dumps(made) + "\n")
    about = ["data.dataset=qvhighlights", f"data.annotations={folder}", "split=val"]
    out = tmp_path / "scored"
    for path in (submission, tmp_path / "out" / "predictions.jsonl"):
        line = [f"predictions={path}", "protocol=moment-detr", *about, f"out={out}"]
        status, _, error = bpnet("evaluate", *line)
        assert status == 0, error
        again = json.loads((out / "metrics.json").read_text())
        assert again["blind"] == results["blind"]
        for name in ("metrics", "discounted", "average_precision", "saliency", "whole_video"):
            assert again[name] == pytest.approx(results[name]), (path, name)


def test_streams_are_joined_and_converted_alike(bpnet, folder: Path, tmp_path: Path) -> None:
    streams = ["slowfast_features", "clip_features"]
    source = open_features(folder, streams=streams, normalise="l2")
    line = ["--streams", ",".join(streams), "--normalise", "l2", "--jobs", "1"]
    status, _, error = bpnet("features", "convert", folder, tmp_path / "out.h5", *line)
    assert status == 0, error
    store = open_features(tmp_path / "out.h5")
    assert store.spec.differences(source.spec) == []
    assert store.spec.seconds_per_clip == 2.0
    for video_id in source.video_ids():
        clips, grid = store.read(video_id, 40.0)
        expected, expected_grid = source.read(video_id, 40.0)
        np.testing.assert_array_equal(clips, expected)
        np.testing.assert_array_equal(grid.edges_seconds, expected_grid.edges_seconds)
        assert len(clips) == NUM_CLIPS
        # Each stream of each clip has norm 1, but for the 1e-5 under the fraction.
        np.testing.assert_allclose(np.linalg.norm(clips[:, :2304], axis=1), 1, atol=1e-4)
        np.testing.assert_allclose(np.linalg.norm(clips[:, 2304:], axis=1), 1, atol=1e-4)
