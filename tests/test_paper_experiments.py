"""The experiments of the paper's tables run as they stand, on small files of the real shapes."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import releases

from bpnet.checkpoint import BEST, LAST, Checkpoint
from bpnet.cli.hydra_app import compose
from bpnet.config import TrainConfig, conf_path
from bpnet.data.sources import SOURCES
from bpnet.evaluation.protocols import part_note, protocol
from bpnet.model_config import ModelConfig
from bpnet.settings import from_dict

CONF = Path(__file__).resolve().parents[1] / "conf"
FILES = {path.stem: path for path in sorted((CONF / "experiment" / "paper").glob("*.yaml"))}
QUERY = "person opens the {} door"
COLOURS = ("red", "green", "blue", "white")


@functools.cache
def settings(name: str) -> TrainConfig:
    return from_dict(TrainConfig, compose(conf_path(), "train", [f"experiment=paper/{name}"]))


def told(name: str) -> dict[str, str]:
    """What the comment at the head of a file says, by the first word of its paragraphs."""
    text = FILES[name].read_text(encoding="utf-8").split("\ndefaults:")[0]
    found = re.findall(r"^# ([A-Z]\w+) {2,}(.*(?:\n# {5,}.*)*)", text, re.MULTILINE)
    return {label: re.sub(r"\n# +", "\n", content) for label, content in found}


def as_dotted(config: TrainConfig) -> dict[str, Any]:
    groups = dataclasses.asdict(config)
    return {
        f"{g}.{k}": v for g in ("data", "model", "optim", "trainer") for k, v in groups[g].items()
    }


def test_every_row_of_the_tables_has_a_file() -> None:
    assert list(FILES) == [
        "activitynet_c3d",
        "activitynet_i3d",
        "charades_c3d",
        "charades_i3d",
        "charades_i3d_finetuned",
        "tacos_c3d",
        "tacos_i3d",
        "tacos_tall_c3d",
        "tacos_tall_i3d",
    ]


def test_the_readme_names_them_all() -> None:
    text = (CONF.parent / "README.md").read_text(encoding="utf-8")
    table = text.split("| `experiment=paper/...` |")[1].split("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert sorted(name for cell in cells for name in re.findall("`(.+?)`", cell)) == list(FILES)


def test_the_paper_model_states_every_setting() -> None:
    """A better default of ours must not change what was published."""
    text = (CONF / "model" / "bpnet_paper.yaml").read_text(encoding="utf-8")
    stated = re.findall(r"^(\w+):", text, re.MULTILINE)
    of_another_network = {"num_trunk_layers", "num_proposal_tokens", "video_attention"}
    read = [one.name for one in dataclasses.fields(ModelConfig)]
    assert stated == [name for name in read if name not in of_another_network]


@pytest.mark.parametrize("name", FILES)
def test_the_comment_tells_the_truth(name: str) -> None:
    config, comment = settings(name), told(name)
    assert list(comment) == [
        "Features",
        "Annotations",
        "Evaluate",
        "Published",
        "Differs",
        "Settings",
    ]
    values = as_dotted(config)
    stated = dict(
        word.split("=") for word in comment["Settings"].split() if "." in word and "=" in word
    )
    stated.pop("R@1,IoU", None)
    assert len(stated) == 6
    for key, text in stated.items():
        value = values[key]
        assert (text if isinstance(value, str) else float(text)) == value, key

    # The places are those that `bpnet data download` names, and the features those of the comment.
    data = config.data
    assert data.annotations == f"annotations/{data.dataset}"
    assert f"`bpnet data download {data.dataset}`" in comment["Annotations"]
    assert any(
        Path(data.features.path).is_relative_to(by_hand.put)
        for by_hand in SOURCES[data.dataset].features
    )
    path = Path(data.features.path)
    folder = {"charades_sta": "charades", "tacos_tall": "tacos", "tacos_2dtan": "tacos"}
    public = f"data/features/{folder.get(data.dataset, data.dataset)}/{path.name}"
    assert (path.name if path.suffix else public) in comment["Features"]

    (split, rules) = re.findall(r"split=(\w+) protocol=([\w-]+)", comment["Evaluate"])[0]
    assert (
        part_note(rules, "tacos_2dtan" if data.dataset == "tacos_tall" else data.dataset, split)
        is None
    )
    for other in re.findall(r"protocol=([\w-]+)", comment["Published"]):
        assert protocol(other, data.dataset).name == other


@pytest.mark.parametrize("name", FILES)
def test_every_number_says_who_published_it(name: str) -> None:
    _, *rows = told(name)["Published"].splitlines()
    assert rows
    for row in rows:
        numbers = re.findall(r"\d+\.\d+", row)
        assert bool(numbers) == bool(re.search(r" {2,}[PT](?:;|$)", row)), row
        assert numbers or "not verified" in row or "no such row" in row, row


# Ids as each dataset has them: those that train, those of the validation part, those of the test.
VIDEOS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "charades_sta": (["3MSZA", "AO8RW", "00607", "LEOL6"], [], ["YSKX3", "AMT7R"]),
    "tacos_2dtan": (["s13-d21", "s14-d26"], ["s34-d28"], ["s27-d50"]),
    "tacos_tall": (["s13-d21", "s14-d26"], ["s34-d28"], ["s27-d50"]),
    "activitynet": (
        ["v_QOlSCBRmfWY", "v_0dkIbKXXFzI", "v_ehGHCYKzyZ8", "v_nwznKOuZM7w"],
        [],
        ["v_uqiMw7tQ1Cc", "v_bXdq2zI1Ms0"],
    ),
}
# Typical lengths of the videos in seconds.
SECONDS = {"charades_sta": 30.0, "tacos_2dtan": 8000 / 29.4, "tacos_tall": 8000 / 29.4}
SECONDS["activitynet"] = 117.6

Writer = Callable[[Path, "dict[str, np.ndarray[Any, Any]]"], object]


def write_hdf5(path: Path, arrays: dict[str, Any]) -> None:
    releases.write_hdf5(path, arrays)


def write_2d_tan(path: Path, arrays: dict[str, Any]) -> None:
    releases.write_hdf5(path, arrays, "{}.avi", compression="gzip", compression_opts=1)


def write_official_c3d(path: Path, arrays: dict[str, Any]) -> None:
    releases.write_hdf5(path, arrays, "{}/c3d_features")


def write_vslnet(path: Path, arrays: dict[str, Any]) -> None:
    releases.write_npy(path, arrays)
    shapes = {name: len(array) for name, array in arrays.items()}
    (path / "feature_shapes.json").write_text(json.dumps(shapes), encoding="utf-8")


# How each release is laid out, its width, and its clips a video of `SECONDS`.
RELEASES: dict[str, tuple[Writer, int, int]] = {
    "activitynet_c3d": (write_official_c3d, 500, 439),  # 16 frames, stride 8, here at 30 fps
    "activitynet_i3d": (write_vslnet, 1024, 220),  # 16 frames, here at 30 fps
    "charades_c3d": (write_hdf5, 4096, 30),  # 1 s
    "charades_i3d": (write_hdf5, 1024, 47),  # 16 frames at 25 fps
    "charades_i3d_finetuned": (write_vslnet, 1024, 60),  # 0.5 s
    "tacos_c3d": (write_2d_tan, 4096, (8000 - 64) // 12 + 1),
    "tacos_i3d": (write_vslnet, 1024, 500),  # 16 frames
    "tacos_tall_c3d": (write_2d_tan, 4096, (8000 - 64) // 12 + 1),
    "tacos_tall_i3d": (write_vslnet, 1024, 500),
}


def write_part(folder: Path, dataset: str, part: str, ids: list[str]) -> None:
    """Two sentences about each video, in the form in which the dataset is published."""
    length = SECONDS[dataset]
    # In hundredths of the video.
    moments = [[(10 + 7 * n, 35 + 9 * n), (40 + 5 * n, 70 + 6 * n)] for n in range(len(ids))]
    texts = [[QUERY.format(COLOURS[n]), QUERY.format(COLOURS[-n])] for n in range(len(ids))]
    in_seconds = [[[round(t * length / 100, 1) for t in pair] for pair in two] for two in moments]
    in_frames = [[[80 * t for t in pair] for pair in two] for two in moments]
    if dataset == "charades_sta":
        pairs = zip(ids, in_seconds, texts, strict=True)
        lines = [
            f"{name} {start} {end}##{text}.\n"
            for name, two, sentences in pairs
            for (start, end), text in zip(two, sentences, strict=True)
        ]
        (folder / f"charades_sta_{part}.txt").write_text("".join(lines), encoding="utf-8")
        header = (
            "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"
        )
        rows = [f'{name},CP6Y,Bedroom,5,6,Yes,"A bed, a door.",bed;door,,,{length}' for name in ids]
        (folder / f"Charades_v1_{part}.csv").write_text(
            "\n".join([header, *rows]), encoding="utf-8"
        )
        return
    if dataset == "tacos_2dtan":
        entries = {
            f"{name}.avi": {"timestamps": two, "sentences": said, "fps": 29.4, "num_frames": 8000}
            for name, two, said in zip(ids, in_frames, texts, strict=True)
        }
    elif dataset == "tacos_tall":
        entries = {
            f"{name}.avi": {"duration": 8000.0, "timestamps": two, "sentences": said}
            for name, two, said in zip(ids, in_frames, texts, strict=True)
        }
    else:
        entries = {
            name: {"duration": length, "timestamps": two, "sentences": [f"  {s}." for s in said]}
            for name, two, said in zip(ids, in_seconds, texts, strict=True)
        }
    stem = f"scdm_{part}" if dataset == "tacos_tall" else part
    (folder / f"{stem}.json").write_text(json.dumps(entries), encoding="utf-8")


def write_files(root: Path, name: str) -> None:
    """What a user has, where the experiment looks for it below the working directory."""
    data = settings(name).data
    write, width, num_clips = RELEASES[name]
    features, annotations = root / data.features.path, root / data.annotations
    features.parent.mkdir(parents=True)
    annotations.mkdir(parents=True)
    parts = VIDEOS[data.dataset]
    ids = [video_id for part in parts for video_id in part]
    # Videos of one length would not be padded.
    lengths = [num_clips - number % 3 for number in range(len(ids))]
    arrays = {v: releases.clips(n, lengths[n], width) for n, v in enumerate(ids)}
    write(features, arrays)
    test = "val_1" if data.dataset == "activitynet" else "test"
    for part, part_ids in zip(("train", "val", test), parts, strict=True):
        if part_ids:
            write_part(annotations, data.dataset, part, part_ids)
    words = sorted({*QUERY.replace("{} ", "").split(), *COLOURS})
    vectors = np.random.default_rng(0).normal(scale=0.3, size=(len(words), 300))
    lines = [" ".join([w, *(f"{x:.5f}" for x in v)]) for w, v in zip(words, vectors, strict=True)]
    (root / "glove_like.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def bpnet(folder: Path, *lines: list[str]) -> str:
    """Run commands in a folder, in one process of their own; gives what they print."""
    code = "import json, sys; from bpnet.cli.main import main"
    code += "\nfor line in json.loads(sys.argv[1]): main(line)"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(lines)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (lines, done.stdout, done.stderr)
    return done.stdout


IN_EVERY_RUN = "charades_i3d"


@pytest.mark.parametrize(
    "name",
    [n if n == IN_EVERY_RUN else pytest.param(n, marks=pytest.mark.slow) for n in RELEASES],
)
def test_it_trains_and_is_evaluated(name: str, tmp_path: Path) -> None:
    write_files(tmp_path, name)
    changed = ["data.vectors=glove_like.txt", "trainer.max_steps=2", "trainer.device=cpu"]
    evaluate = re.findall(r"split=\w+ protocol=[\w-]+", told(name)["Evaluate"])[0].split()
    printed = bpnet(
        tmp_path,
        ["train", f"experiment=paper/{name}", *changed, "run_dir=run"],
        ["evaluate", "checkpoint=run", *evaluate, "device=cpu", "out=scores"],
    )
    run, config = tmp_path / "run", settings(name)
    assert {BEST, LAST, "config.yaml", "metrics.jsonl", "state.pt"} <= {
        p.name for p in run.iterdir()
    }
    assert len((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) >= 1

    best = Checkpoint.load(run / BEST)
    assert Checkpoint.load(run / LAST).training["step"] == 2
    assert from_dict(ModelConfig, best.model, "model") == config.model
    assert best.sizes["feature_dim"] == RELEASES[name][1]
    assert best.sizes["max_positions"] == config.data.max_clips
    assert best.sizes["word_dim"] == 300

    assert "two stages" in printed and "constant interval" in printed
    assert "do not compare" not in printed
    results = json.loads((tmp_path / "scores" / "metrics.json").read_text(encoding="utf-8"))
    assert results["num_queries"] == 2 * len(VIDEOS[config.data.dataset][2])
    assert 0 <= results["metrics"]["mIoU"] <= 100
    assert (tmp_path / "scores" / "predictions.jsonl").is_file()
