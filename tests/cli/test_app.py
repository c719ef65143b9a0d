"""`bpnet app`: what is refused before anything heavy, and the model that it starts on."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from bpnet.cli import app, sample_model
from bpnet.errors import ConfigError


def test_without_the_extra(bpnet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "EXTRA", ("json", "not_installed"))
    status, out, err = bpnet("app")
    assert (status, out) == (2, "")
    assert err == (
        "ConfigError: the page needs not_installed, which is not installed; run: "
        "pip install 'bpnet-nlvl[app]'\n"
    )


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--checkpoint", "gone"], "CheckpointError: checkpoint 'gone': no such file or folder"),
        (["--videos", "gone"], "ConfigError: --videos 'gone': no such folder"),
        (["--videos", "."], r"ConfigError: --videos '\.': no video files in it"),
        (["--max-minutes", "0"], "ConfigError: minutes=0.0: expected a number > 0"),
    ],
)
def test_errors_are_one_line(
    bpnet, monkeypatch: pytest.MonkeyPatch, arguments: list[str], match: str
) -> None:
    monkeypatch.setattr(app, "EXTRA", ())
    status, out, err = bpnet("app", *arguments)
    assert (status, out) == (2, "")
    assert re.match(match, err) and err.count("\n") == 1


def test_help_tells_where_it_listens(bpnet) -> None:
    status, out, _ = bpnet("app", "--help")
    assert status == 0
    assert "127.0.0.1: this machine only" in " ".join(out.split())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the user's model."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bpnet" / "sample"


@pytest.fixture
def commands(cache: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Which subcommands were run; ``train`` leaves a model."""
    ran: list[tuple[str, ...]] = []

    def run(*arguments: str) -> None:
        ran.append(arguments)
        if arguments[0] == "train":
            shutil.copytree(run_dir, cache / "train", dirs_exist_ok=True)

    monkeypatch.setattr(sample_model, "_bpnet", run)
    return ran


def test_the_model_of_the_demo(run_dir: Path, commands: list[tuple[str, ...]]) -> None:
    shutil.copytree(run_dir, "runs/demo/train")
    model = sample_model.find_or_train()
    assert model == sample_model.SampleModel(Path("runs/demo/train"), Path("runs/demo/sample"))
    assert commands == []


def test_a_model_is_trained_once(
    cache: Path, commands: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    model = sample_model.find_or_train()
    assert model == sample_model.SampleModel(cache / "train", cache / "sample")
    line = [f"data.root={cache / 'sample'}", f"run_dir={cache / 'train'}", "resume=auto"]
    assert commands == [
        ("features", "sample", str(cache / "sample")),
        ("train", "experiment=demo", *line),
    ]
    assert f"kept in {cache}" in capsys.readouterr().err
    assert sample_model.find_or_train() == model
    assert len(commands) == 2


def test_a_model_that_this_version_cannot_read(
    cache: Path, commands: list[tuple[str, ...]]
) -> None:
    for folder in (Path("runs/demo/train"), cache / "train"):
        folder.mkdir(parents=True)
        (folder / "best.safetensors").write_bytes(b"of an older version")
    sample_model.find_or_train()
    assert [arguments[0] for arguments in commands] == ["features", "train"]
    assert Path("runs/demo/train/best.safetensors").is_file()  # not ours to remove


def test_a_failed_training(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="`bpnet localise` ended with status 2; see above"):
        sample_model._bpnet("localise")


def test_examples(tmp_path: Path) -> None:
    rows = [
        {"qid": f"{video}_{number}{letter}", "video_id": video, "query": f"{number}{letter}"}
        | {"split": split}
        for video, split in (("a", "test"), ("b", "train"), ("c", "test"), ("d", "test"))
        for number in range(4)
        for letter in "ab"
    ]
    (tmp_path / "videos").mkdir()
    for name in "abc":
        (tmp_path / "videos" / f"{name}.mp4").touch()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "annotations.jsonl").write_text(text)
    expected = ["0a", "1a", "2a"]
    assert sample_model.examples(tmp_path) == {"a.mp4": expected, "c.mp4": expected}
    assert sample_model.examples(tmp_path / "gone") == {}
