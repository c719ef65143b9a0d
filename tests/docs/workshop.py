"""A folder in which the commands of the documentation work as they stand, and what runs in it.

It has everything that the pages name: ``RUN`` and ``runs/demo/train``, ``holiday.mp4``,
``features.h5``, a tiny Charades-STA. Programs are found on a path of its own, where ``bpnet train``
gets settings that make it short.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import releases
from doc_blocks import Command

# Commands that nobody runs here, and why.
NOT_RUN = {
    r"^(make|pip|git|\.) ": "they install, download, or run all of this",
    r"\| jq": "a program that not everybody has",
    r"^bpnet images |--image-model": "tests/images",
    r"supervision=|--confounder": "tests/weak",
    r"bias=true": "tests/cli/test_bias_command.py",
    r"^bpnet data download \w": "the network; tests/data/test_download.py",
    r"^torchrun ": "tests/training/test_distributed.py",
    r"^bpnet train --multirun ": "tests/cli/test_train.py",
    r"^bpnet offline |features\.parts": "tests/cli/test_offline_command.py",
    r"^bpnet app ": "tests/app/test_browser.py",
    r"^bpnet export ": "a minute each; tests/cli/test_export_command.py",
    r"--backbone i3d|rgb_charades": "weights that are not ours; tests/features",
    r"^bpnet import-vslnet |vslnet\.safetensors": "tests/cli/test_import_vslnet.py",
    r"qvhighlights": "tests/cli/test_qvhighlights_run.py",
    r"features/i3d_finetuned|vgg_rgb|minilm": "other layouts of features; tests/features",
    r"data=activitynet|localize VIDEO": "no such data here; tests/inference/test_session.py",
    r"mine": "tests/cli/test_own_dataset.py",
    r"/bench": "tests/test_shared_benches.py",
    r"benchmarks/": "minutes",
    r"--vary ": "tests/cli/test_ablate.py",
    r"\.\.\.": "names no files",
    r"http:|^bpnet serve|^\(umask": "test_docs_run.py: test_the_page_about_serving",
}
SHORT = (
    "trainer.device=cpu",
    "trainer.max_steps=20",
    "model.hidden_dim=32",
    "model.num_heads=4",
    "data.vectors=null",
)
_CHARADES = "{0} 0.5 1.5##person opens a door.\n{0} 0.2 1.9##a person sits down.\n"


def runs(command: Command) -> bool:
    """Whether a command is run, and not only read."""
    return not any(re.search(pattern, command.text) for pattern in NOT_RUN)


class Workshop:
    """The folder.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / "programs"
        programs.mkdir()
        short = f'[ "$1" = train ] && set -- "$@" {" ".join(SHORT)}'
        _write_program(programs / "bpnet", f"{short}\nexec {sys.executable} -m bpnet.cli.main")
        _write_program(programs / "python", f"exec {sys.executable}")
        self.environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        self._make_sample()
        self._make_charades()

    def run(self, line: str) -> str:
        """Give a line to a shell in the folder; its output, or an error that shows all of it."""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, f"{line}\nstatus {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _make_sample(self) -> None:
        """What `make demo` makes, smaller, under all the names that the pages have for it."""
        self.run("bpnet features sample runs/demo/sample --videos 24 --jobs 1")
        self.run("bpnet train experiment=demo data.root=runs/demo/sample run_dir=runs/demo/train")
        self.run("bpnet evaluate checkpoint=runs/demo/train split=test")
        for name in ("a", "b", "old", "ours_0", "ours_1", "ours_2", "theirs_0"):
            shutil.copytree(self.folder / "runs/demo/train", self.folder / "runs" / name)
        (self.folder / "RUN").symlink_to("runs/demo/train")
        (self.folder / "FOLDER").symlink_to("runs/demo/sample/videos")
        sample = self.folder / "runs/demo/sample"
        made = self.folder / "runs/demo/train/eval_test/predictions.jsonl"
        shutil.copy(made, self.folder / "vslnet.jsonl")
        shutil.copy(sample / "features.h5", self.folder)
        videos = sorted((sample / "videos").iterdir())
        for name, video in zip(("holiday.mp4", "a.mp4", "b.mkv"), videos, strict=False):
            shutil.copy(video, self.folder / name)
        (self.folder / "HOLIDAYS").mkdir()
        (self.folder / "VIDEOS").symlink_to("HOLIDAYS")
        for video in videos[:2]:
            shutil.copy(video, self.folder / "HOLIDAYS")
        (self.folder / "paths.txt").write_text("holiday.mp4\n", encoding="utf-8")
        # Ids of videos that the pages ask about are those of the whole sample.
        assert (sample / "videos" / "sample_0010.mp4").is_file()
        rows = (sample / "annotations.jsonl").read_text(encoding="utf-8").splitlines()
        assert {json.loads(row)["split"] for row in rows} == {"train", "val", "test"}

    def _make_charades(self) -> None:
        _, clips = releases.write_ms_2d_tan_charades(self.folder)
        seconds = {video_id: len(each) * 16 / 25 for video_id, each in clips.items()}
        folder = self.folder / "annotations" / "charades_sta"
        folder.mkdir(parents=True)
        *train, test = releases.CHARADES
        for part, ids in (("train", train), ("test", [test])):
            lines = "".join(_CHARADES.format(video_id) for video_id in ids)
            (folder / f"charades_sta_{part}.txt").write_text(lines, encoding="utf-8")
            lengths = "".join(f"{video_id},{seconds[video_id]:.2f}\n" for video_id in ids)
            (folder / f"Charades_v1_{part}.csv").write_text(f"id,length\n{lengths}")


def _write_program(path: Path, lines: str) -> None:
    path.write_text(f'#!/bin/sh\n{lines} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
