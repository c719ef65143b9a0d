"""The jobs of soak.py: what is done again and again, and what must come out of it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from machine import status_bytes

from bpnet import Localizer
from bpnet.checkpoint import BEST, Checkpoint
from bpnet_features import open_features

NUM_VIDEOS = 24
QUERIES = ["a red circle slides to the left", "something blue spins", "the green square grows"]
TRAIN = (
    *("experiment=demo", "data.root=sample", "trainer.device=cpu", "trainer.max_steps=60"),
    *("trainer.save_every_steps=5", "model.hidden_dim=32", "model.num_heads=4"),
)
MOST_KILLS = 4  # of one piece of work; then it is left to end
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}


class Bench:
    """A folder, what lies in it, and what went wrong.

    Args:
        folder: An empty folder.
        rng: Decides the order, and when something is killed.

    Attributes:
        done: How often each job was done.
        counts: Other figures, by name.
        faults: What went wrong, a line each.
    """

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder = folder
        self.rng = rng
        self.done: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.seconds: dict[str, float] = {}

    def prepare(self) -> None:
        """Make what the jobs start from, and what they must come to; nothing is killed yet."""
        self.run("features", "sample", "sample", "--videos", str(NUM_VIDEOS), "--jobs", "1")
        self._timed("train", "train", *TRAIN, "run_dir=run")
        self._timed("evaluate", "evaluate", "checkpoint=run", "split=test", "out=evaluated")
        self._timed("extract", "features", "extract", "sample/videos", "all.h5", "--jobs", "1")
        (self.folder / "broken").mkdir()
        self.videos = sorted((self.folder / "sample" / "videos").iterdir())
        self.localizer = Localizer.from_pretrained(self.folder / "run", "cpu")
        self.opened = self.localizer.open_video(self.folder / "all.h5", "sample_0003")
        self.answers = self.opened.localize(QUERIES)

    def do(self, job: Callable[[Bench], None]) -> None:
        """Do a job; what it raises is a fault."""
        name = job.__name__.replace("_", " ")
        try:
            job(self)
        except Exception:
            self.faults.append(f"{name}: {traceback.format_exc()}")
        self.done[name] += 1

    def run(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """A command, in the folder, to its end; another exit status is an error."""
        done = subprocess.run(
            [*_COMMAND, *words],
            cwd=self.folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != status:
            told = f"{done.stdout[-500:]}{done.stderr[-2000:]}"
            raise AssertionError(f"{' '.join(words)}: status {done.returncode}: {told}")
        return done

    def run_killed(self, name: str, *words: str, check: Callable[[], None]) -> None:
        """A command that is killed at random moments and given again, until it ends by itself."""
        for _ in range(self.rng.randint(1, MOST_KILLS)):
            process = subprocess.Popen(
                [*_COMMAND, *words],
                cwd=self.folder,
                env=ENVIRONMENT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            # From the start, when nothing can be lost yet, to shortly before the end.
            moment = self.rng.uniform(0.2, 0.9) * self.seconds[name]
            with contextlib.suppress(subprocess.TimeoutExpired):
                _, error = process.communicate(timeout=moment)
                if process.returncode:
                    raise AssertionError(f"{' '.join(words)}: {error.decode()[-2000:]}")
                return
            process.kill()
            process.communicate()
            self.counts[f"kills of {name}"] += 1
            check()
        self.run(*words)

    def resident_mb(self) -> float:
        """Memory of this process."""
        return status_bytes("VmRSS")[0] / 2**20

    def _timed(self, name: str, *words: str) -> None:
        begun = time.monotonic()
        self.run(*words)
        self.seconds[name] = time.monotonic() - begun


def train_and_resume(bench: Bench) -> None:
    """The weights, metrics and answers of a run that was killed are those of one that was not."""
    shutil.rmtree(bench.folder / "cut", ignore_errors=True)

    def check() -> None:
        cut = bench.folder / "cut"
        if (cut / BEST).exists():
            Checkpoint.load(cut / BEST)
        if (cut / "metrics.jsonl").exists():
            _ = _records(cut)

    bench.run_killed("train", "train", *TRAIN, "run_dir=cut", "resume=auto", check=check)
    for name in (BEST, "last.safetensors"):
        ours, theirs = (Checkpoint.load(bench.folder / run / name) for run in ("cut", "run"))
        assert ours.tensors.keys() == theirs.tensors.keys()
        for key, tensor in theirs.tensors.items():
            assert torch.equal(ours.tensors[key], tensor), f"{name}: {key} differs"
    assert _records(bench.folder / "cut") == _records(bench.folder / "run")


def extract_and_resume(bench: Bench) -> None:
    """No video of an extraction that was killed is missing, twice there, or different."""
    for path in bench.folder.glob("cut.h5*"):
        path.unlink()
    words = ("features", "extract", "sample/videos", "cut.h5", "--jobs", "1")
    bench.run_killed("extract", *words, check=lambda: None)
    ours, theirs = (open_features(bench.folder / name) for name in ("cut.h5", "all.h5"))
    assert sorted(ours.video_ids()) == sorted(theirs.video_ids())
    for video_id in theirs.video_ids():
        np.testing.assert_array_equal(ours.read(video_id)[0], theirs.read(video_id)[0])


def evaluate(bench: Bench) -> None:
    """The same numbers and answers every time; a file that is there is whole."""
    files = ("metrics.json", "predictions.jsonl")
    before = [(bench.folder / "evaluated" / name).read_text() for name in files]

    def check() -> None:
        found = [(bench.folder / "evaluated" / name).read_text() for name in files]
        assert found == before

    words = ("evaluate", "checkpoint=run", "split=test", "out=evaluated")
    bench.run_killed("evaluate", *words, check=check)
    check()


def localize(bench: Bench) -> None:
    """The same answers from this process, again and again, and from the command."""
    for _ in range(20):
        opened = bench.localizer.open_video(bench.folder / "all.h5", "sample_0003")
        assert opened.localize(QUERIES) == bench.answers
        bench.counts["sentences localized"] += len(QUERIES)
    words = ("localize", "sample_0003", *QUERIES, "--features", "all.h5", "--checkpoint", "run")
    found = json.loads(bench.run(*words, "--json", "--device", "cpu").stdout)
    for moments, row in zip(bench.answers, found, strict=True):
        for moment, one in zip(moments, row, strict=True):
            assert abs(moment.start_seconds - one["start_seconds"]) < 1e-4
            assert abs(moment.score - one["score"]) < 1e-4


def give_broken_files(bench: Bench) -> None:
    """Damaged inputs end in one line and status 2, and change nothing beside them."""
    folder = bench.folder / "broken"
    for name, source, words in (
        ("a.mp4", bench.rng.choice(bench.videos), ("localize", "broken/a.mp4", "a", *_RUN)),
        ("a.h5", bench.folder / "all.h5", ("features", "check", "broken/a.h5", *_SAMPLE)),
        ("a.safetensors", bench.folder / "run" / BEST, ("localize", _VIDEO, "a", *_BROKEN)),
        (
            "a.jsonl",
            bench.folder / "sample" / "annotations.jsonl",
            ("data", "check", "--dataset", "jsonl", "broken/a.jsonl"),
        ),
    ):
        content = source.read_bytes()
        # The beginning of a file, as a copy that was interrupted leaves it, and noise behind.
        kept = content[: bench.rng.randrange(1, len(content) // 4)]
        (folder / name).write_bytes(kept + bench.rng.randbytes(64))
        error = bench.run(*words, status=2).stderr.strip()
        assert "Traceback" not in error and "Error: " in error, error
        bench.counts["broken files refused"] += 1


_COMMAND = (sys.executable, "-m", "bpnet.cli.main")
_RUN = ("--checkpoint", "run", "--device", "cpu")
_BROKEN = ("--checkpoint", "broken/a.safetensors", "--device", "cpu")
_SAMPLE = ("--annotations", "sample/annotations.jsonl")
_VIDEO = "sample/videos/sample_0003.mp4"
JOBS = (train_and_resume, extract_and_resume, evaluate, localize, give_broken_files)


def _records(run_dir: Path) -> list[dict[str, object]]:
    """The lines of the log of a run, without times."""
    return list(_parsed((run_dir / "metrics.jsonl").read_text()))


def _parsed(text: str) -> Iterator[dict[str, object]]:
    for line in text.splitlines():
        yield {name: value for name, value in json.loads(line).items() if name != "seconds"}
