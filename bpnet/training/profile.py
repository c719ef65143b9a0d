"""What the time of a training step goes to: a trace for a browser, and one page to read."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from bpnet.version import __version__
from bpnet_features.atomic import write_atomically, write_text_atomically

TRACE, SUMMARY = "profile.json.gz", "profile.md"
PHASES = ("data", "forward", "backward", "optimiser")
WARM_UP, TIMED, TRACED = 5, 20, 3  # steps
NUM_OPERATORS = 15

Item = TypeVar("Item")


def no_phase(name: str) -> AbstractContextManager[None]:
    """Measures nothing."""
    return contextlib.nullcontext()


class StepProfiler:
    """Watches the first steps of a run; it changes none of its numbers.

    After the warm-up some steps are only timed, since tracing costs time, most of it where there
    are many small operations; then a few are traced. A short run gets fewer of each.

    Args:
        run_dir: Where `TRACE` and `SUMMARY` go.
        device: Where the model is.
        num_steps: Optimiser steps that the run will do.
        settings: What the page says of the run, by name.
    """

    def __init__(
        self, run_dir: Path, device: torch.device, num_steps: int, settings: dict[str, Any]
    ) -> None:
        self.run_dir = run_dir
        self.device = device
        self.settings = settings
        self.traced = min(TRACED, -(-num_steps // 4))
        self.warm_up = min(WARM_UP, num_steps // 4)
        self.timed = min(TIMED, num_steps - self.warm_up - self.traced)
        self.step = 0
        self.seconds: list[dict[str, float]] = []  # of each step since the warm-up
        self.began = time.perf_counter()
        activities = [ProfilerActivity.CPU]
        if device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self.profiler: profile | None = profile(activities=activities)
        self._begin_step()

    @property
    def watches(self) -> bool:
        """Whether there is still something to measure."""
        return self.profiler is not None

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _begin_step(self) -> None:
        if self.step == self.warm_up + self.timed and self.profiler is not None:
            self.profiler.start()
        self.current = dict.fromkeys(PHASES, 0.0)
        self.began = self._now()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a part of a step: one of `PHASES`."""
        if not self.watches:
            yield
            return
        began = self._now()
        if name == "data":  # a step begins here: what was done since the last one is validation
            self.began = began
        with record_function(name):
            yield
            ended = self._now()
        self.current[name] += ended - began

    def loading(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items; what it takes to get them is the phase ``"data"``."""
        iterator = iter(items)
        while True:
            with self.phase("data"):
                item = next(iterator, None)
            if item is None:
                return
            yield item

    def end_step(self) -> None:
        """Call after each step; writes the files after the last one that is watched."""
        if self.profiler is None:
            return
        if self.step >= self.warm_up:
            self.seconds.append({**self.current, "step": self._now() - self.began})
        self.step += 1
        if self.step == self.warm_up + self.timed + self.traced:
            self.profiler.stop()
            self._write(self.profiler)
            self.profiler = None
        else:
            self._begin_step()

    def _write(self, profiler: profile) -> None:
        trace = self.run_dir / TRACE

        def export(part: Path) -> None:
            # The ending decides whether it is compressed, and the part has another one.
            named = part.with_name(f"{part.name}.json.gz")
            profiler.export_chrome_trace(str(named))
            named.replace(part)

        write_atomically(trace, export)
        write_text_atomically(self.run_dir / SUMMARY, self._summary(profiler))

    def _summary(self, profiler: profile) -> str:
        shares = self.seconds[: self.timed] or self.seconds
        whole = sum(one["step"] for one in shares)
        rows = [(name, sum(one[name] for one in shares)) for name in PHASES]
        rows.append(("the rest", whole - sum(seconds for _, seconds in rows)))
        first, last = self.warm_up + 1, self.warm_up + len(shares)
        traced = f"{self.step - self.traced + 1} to {self.step}"
        on = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        facts = {
            **self.settings,
            "device": on,
            "threads": f"{torch.get_num_threads()} of {os.cpu_count()} cores",
            **{
                name: os.environ.get(name, "not set")
                for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
            },
            "versions": f"bpnet {__version__}, torch {torch.__version__}, "
            f"numpy {np.__version__}, Python {platform.python_version()}",
        }
        lines = [
            "# Profile of training",
            "",
            f"Steps {first} to {last} of this start, timed without tracing: "
            f"{1000 * whole / len(shares):.1f} ms a step. "
            f"Operators and `{TRACE}` are of steps {traced}, which tracing makes slower; "
            "open it at https://ui.perfetto.dev.",
            "",
            "| phase | ms a step | share |",
            "|---|--:|--:|",
            *(
                f"| {name} | {1000 * seconds / len(shares):.2f} | {seconds / whole:.1%} |"
                for name, seconds in rows
            ),
            "",
            "The rest is the moving average of the weights, the log and the progress bar; of "
            "several processes this one is the first, and its backward pass waits for the others.",
            "",
            *self._operators(profiler),
            "",
            *(f"- {name}: {value}" for name, value in facts.items()),
        ]
        return "\n".join(lines) + "\n"

    def _operators(self, profiler: profile) -> list[str]:
        cuda = self.device.type == "cuda"

        def seconds(event: Any) -> float:
            spent = event.self_device_time_total if cuda else event.self_cpu_time_total
            return float(spent) / 1e6

        # Our own phases stand in the table above; what they do themselves is Python.
        events = [one for one in profiler.key_averages() if one.key not in PHASES]
        whole = sum(map(seconds, events)) or 1.0
        top = sorted(events, key=seconds, reverse=True)[:NUM_OPERATORS]
        return [
            f"| operator | {'device' if cuda else 'own'} ms a step | share | calls a step |",
            "|---|--:|--:|--:|",
            *(
                f"| `{one.key[:60]}` | {1000 * seconds(one) / self.traced:.2f} "
                f"| {seconds(one) / whole:.1%} | {one.count / self.traced:.0f} |"
                for one in top
            ),
        ]
