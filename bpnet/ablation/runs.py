"""Trains and evaluates variants with several seeds, as processes of `bpnet`; goes on after a kill.

A run stands in ``OUT/VARIANT/seed_N``. When it is through, ``finished.json`` is written beside it,
and it is not done again. What was cut off goes on from its training state.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bpnet.ablation.variants import Variant
from bpnet.errors import ConfigError
from bpnet.training.state import STATE
from bpnet_features.atomic import write_text_atomically

log = logging.getLogger(__name__)

FINISHED = "finished.json"
OUTPUT = "output.txt"  # what the processes print


@dataclasses.dataclass(frozen=True)
class Ablation:
    """What is trained and evaluated.

    Attributes:
        out: Folder of the runs and the tables.
        variants: What is compared, the first one with each other one.
        seeds: Seeds of each variant.
        splits: Parts to evaluate on; ``validation`` is the part that checkpoints are chosen on.
        overrides: Settings of ``bpnet train`` that all runs share.
        protocol: Rules of counting.
        jobs: Runs at a time, >= 1.
    """

    out: Path
    variants: Sequence[Variant]
    seeds: Sequence[int]
    splits: Sequence[str]
    overrides: Sequence[str]
    protocol: str = "vslnet"
    jobs: int = 1

    @property
    def threads(self) -> int:
        """Threads of a run: the cores, shared among the jobs. They change the last bits."""
        return max(1, num_cores() // self.jobs)

    def runs(self) -> list[Run]:
        """All runs; the first seed of every variant comes before the second seed of any."""
        return [
            Run(self, variant, seed, self.out / variant.folder / f"seed_{seed}")
            for seed in self.seeds
            for variant in self.variants
        ]


@dataclasses.dataclass(frozen=True)
class Run:
    """One variant with one seed.

    Attributes:
        ablation: What it is part of.
        variant: Its variant.
        seed: Its seed.
        folder: Where it stands.
    """

    ablation: Ablation
    variant: Variant
    seed: int
    folder: Path

    @property
    def settings(self) -> list[str]:
        """Its overrides, without where it stands."""
        return [*self.ablation.overrides, *self.variant.overrides, f"seed={self.seed}"]

    def evaluation(self, split: str) -> Path:
        """Folder of its evaluation on a part."""
        return self.folder / f"eval_{split}_{self.ablation.protocol}"

    def finished(self) -> dict[str, Any] | None:
        """What was noted when it was through, or None."""
        file = self.folder / FINISHED
        if not file.is_file():
            return None
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return values

    def check(self) -> str | None:
        """What is wrong with a run that is there already, or None."""
        there = self.finished()
        if there is None or there["settings"] == self.settings:
            return None
        return f"{self.folder}: {' '.join(there['settings'])!r} != {' '.join(self.settings)!r}"


@dataclasses.dataclass(frozen=True)
class Failure:
    """A run that did not come through.

    Attributes:
        run: The run.
        step: What failed: ``"train"`` or ``"evaluate"``.
        log: File with all that was printed.
        message: The line of it that names the error.
    """

    run: Run
    step: str
    log: Path
    message: str


def run_ablation(ablation: Ablation) -> list[Failure]:
    """Train and evaluate what is not there yet; a failed run does not stop the others.

    Args:
        ablation: What to run.

    Returns:
        The runs that failed.

    Raises:
        ConfigError: A finished run in the folder has other settings.
    """
    runs = ablation.runs()
    faults = [fault for run in runs if (fault := run.check()) is not None]
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ConfigError(
            f"{len(faults)} finished runs have other settings (then != now): "
            f"{'; '.join(faults[:5])}{more}. Give the same settings, or another --out"
        )
    processes = _Processes(ablation.threads)
    failures, done = [], 0
    with concurrent.futures.ThreadPoolExecutor(ablation.jobs) as pool:
        futures = [pool.submit(_work, run, processes) for run in runs]
        try:
            for future in concurrent.futures.as_completed(futures):
                done += 1
                failure = future.result()
                if failure is None:
                    continue
                failures.append(failure)
                log.error(
                    "%s, seed %d: %s failed: %s (%s)",
                    failure.run.variant.name,
                    failure.run.seed,
                    failure.step,
                    failure.message,
                    failure.log,
                )
        finally:
            # After Ctrl-C: no run goes on without us, and none begins.
            pool.shutdown(wait=False, cancel_futures=True)
            if done < len(runs):
                processes.stop()
    order = {run.folder: place for place, run in enumerate(runs)}
    return sorted(failures, key=lambda failure: order[failure.run.folder])


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Processes:
    """Runs commands of `bpnet`, and can end all of them."""

    def __init__(self, threads: int) -> None:
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def call(self, command: str, arguments: Sequence[str], output: Path) -> int:
        """Run ``bpnet COMMAND``, appending what it prints to a file; gives its exit status."""
        line = [sys.executable, "-m", f"bpnet.cli.{command}", *arguments]
        with output.open("ab") as file:
            with self._lock:
                if self._stopped:
                    return -1
                process = subprocess.Popen(
                    line, stdout=file, stderr=subprocess.STDOUT, env=self._environment
                )
                self._running.add(process)
            status = process.wait()
        with self._lock:
            self._running.discard(process)
        return status

    def stop(self) -> None:
        """End what runs, and begin nothing more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()


def _work(run: Run, processes: _Processes) -> Failure | None:
    """Train and evaluate one run, as far as it is not done."""
    what = f"{run.variant.name}, seed {run.seed}"
    run.folder.mkdir(parents=True, exist_ok=True)
    output = run.folder / OUTPUT
    if run.finished() is None:
        goes_on = (run.folder / STATE).exists()
        log.info("%s: %s", what, "going on" if goes_on else "training")
        began = time.monotonic()
        line = [*run.settings, f"run_dir={_quoted(run.folder)}", "resume=auto"]
        if processes.call("train", line, output) != 0:
            return Failure(run, "train", output, _reason(output))
        seconds = time.monotonic() - began
        values = {
            "settings": run.settings,
            "threads": run.ablation.threads,
            # Of a run that was cut off, nobody knows how long it took until then.
            "seconds": None if goes_on else round(seconds, 1),
        }
        write_text_atomically(run.folder / FINISHED, json.dumps(values, indent=1) + "\n")
        log.info("%s: trained in %.0f s", what, seconds)
    else:
        log.info("%s: finished already", what)
    for split in run.ablation.splits:
        folder = run.evaluation(split)
        if (folder / "metrics.json").is_file():
            continue
        line = [
            f"checkpoint={_quoted(run.folder)}",
            f"split={split}",
            f"protocol={run.ablation.protocol}",
            f"out={_quoted(folder)}",
        ]
        if processes.call("evaluate", line, output) != 0:
            return Failure(run, "evaluate", output, _reason(output))
    return None


def _quoted(path: Path) -> str:
    """A path as a value of Hydra's, whatever signs it holds."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def _reason(file: Path) -> str:
    """The last line that names an error, or else the last line."""
    lines = [line.strip() for line in file.read_text("utf-8", errors="replace").splitlines()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return next(iter([*named[::-1], *filter(None, lines[::-1])]), "nothing was printed")
