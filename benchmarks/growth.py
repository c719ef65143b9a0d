"""How time and memory grow with clips, sentences, batch and proposals.

    python benchmarks/growth.py [--quick] [--json FILE] [--plot FILE.png] [--threads N]
                                [--device cuda]

Each point is measured in a process of its own (on a GPU in one for all), all in random order,
several times over (once what takes seconds); the median of the times and the highest memory
count. The model is our default for long videos (waves for places, attention within a window,
pooled cells), untrained, on made-up features.

- answer: a video is opened and asked one sentence
- sentences: an opened video is asked so many
- step: forward, backward and optimiser
- memory: by how much resident memory grew at its highest; on a GPU, what tensors took
- of GEMM: share of the rate of a 1024 x 1024 matrix product, measured in the same process (on a
  GPU 8192 x 8192 in bfloat16)

Exponents are fitted to the upper half of the points, where what is constant weighs least.
Linux only.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from machine import CPU, described, gemm_rate, machine, read_rate, settle

LONG_VIDEOS = ("model.positions=waves", "model.attention_window=64", "model.max_cells=512")
WIDTH = 1024
LONG = 4096  # clips of the video that is asked many sentences
SLOW_SECONDS = 5  # of a point that is measured once
SPAN_SECONDS = 0.2  # at least as long a point is repeated, in each process
QUANTITIES = ("seconds", "peak_bytes")
Runs = list[dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Point:
    """What is measured.

    Attributes:
        work: ``answer``, ``sentences`` or ``step``.
        clips: Of each video.
        queries: Sentences that are asked.
        batch: Pairs of a training step.
        proposals: ``model.num_proposals``.
    """

    work: str
    clips: int = 64
    queries: int = 1
    batch: int = 16
    proposals: int = 16


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Points that differ in one attribute, and how they are called."""

    axis: str
    title: str
    start: Point
    values: tuple[int, ...]
    few: tuple[int, ...]

    def points(self, quick: bool) -> list[Point]:
        """From the smallest on."""
        values = self.few if quick else self.values
        return [dataclasses.replace(self.start, **{self.axis: value}) for value in values]


CLIPS = tuple(2**power for power in range(6, 15))
FEW_CLIPS = (64, LONG, 16384)
SWEEPS = (
    Sweep("clips", "an answer", Point("answer"), CLIPS, FEW_CLIPS),
    Sweep("clips", "a step of 2 pairs", Point("step", batch=2), CLIPS, (64, 1024)),
    Sweep(
        "queries",
        f"sentences about an opened video of {LONG} clips",
        Point("sentences", clips=LONG),
        (1, 3, 10, 30, 100, 300, 1000),
        (1, 8),
    ),
    Sweep("batch", "a step, 64 clips", Point("step"), (1, 2, 4, 8, 16, 32, 64, 128), (4, 32)),
    Sweep(
        "proposals",
        "a step of 16 pairs, 128 clips",
        Point("step", clips=128),
        (1, 2, 4, 8, 16, 32, 64, 128),
        (4, 64),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer points: under a minute")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--plot", type=Path, help="where to draw them (needs matplotlib)")
    parser.add_argument("--threads", type=int, help="of torch (all cores)")
    parser.add_argument("--device", default=CPU, help="cpu, cuda or cuda:N")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    threads = args.threads or len(os.sched_getaffinity(0))
    if args.child:
        print(json.dumps(measure(Point(**json.loads(args.child)), threads, CPU)))
        return
    results: dict[str, Any] = {"machine": machine(args.device), "threads": threads}
    results["load_before"] = os.getloadavg()
    results["read_bytes_per_second"] = read_rate(args.device)
    print(described(threads))
    points = [point for sweep in SWEEPS for point in sweep.points(args.quick)]
    found = in_turn(points, 1 if args.quick else 3, threads, args.device)
    results["sweeps"] = [table(sweep, sweep.points(args.quick), found) for sweep in SWEEPS]
    results["further_sentence"] = further_sentence(args.quick, found)
    results["load_after"] = os.getloadavg()
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    if args.plot:
        plot(results["sweeps"], args.plot)


def in_turn(
    points: Iterable[Point], passes: int, threads: int, device: str
) -> dict[Point, dict[str, float]]:
    """Each point as often, but for slow ones, in any order."""
    order = [point for point in points for _ in range(passes)]
    random.Random(0).shuffle(order)
    runs: dict[Point, Runs] = {}
    for point in order:
        if point in runs and runs[point][0]["seconds"] > SLOW_SECONDS:
            continue
        run = measure(point, threads, device) if device != CPU else alone(point, threads)
        runs.setdefault(point, []).append(run)
    return {point: summary(each) for point, each in runs.items()}


def alone(point: Point, threads: int) -> dict[str, float]:
    """A point in a process of its own."""
    given = json.dumps(dataclasses.asdict(point))
    line = [sys.executable, __file__, "--threads", str(threads), "--child", given]
    done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def summary(runs: Runs) -> dict[str, float]:
    """Of several processes that measured the same."""
    found = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return {**found, "peak_bytes": max(run["peak_bytes"] for run in runs)}


def measure(point: Point, threads: int, device: str) -> dict[str, float]:
    """One point, in this process."""
    import torch
    from work import count_flops, peak_growth

    torch.set_num_threads(threads)
    work = prepare(point, device)
    flops = count_flops(work)  # warms up, too
    peak = peak_growth(work, device)
    rate = gemm_rate(device=device)
    seconds: list[float] = []
    while sum(seconds) < SPAN_SECONDS:
        begun = time.perf_counter()
        work()
        settle(device)
        seconds.append(time.perf_counter() - begun)
    middle = statistics.median(seconds)
    rate = (rate + gemm_rate(device=device)) / 2
    return {
        "seconds": middle,
        "peak_bytes": peak,
        "share_of_gemm": flops / middle / rate,
        "gemm_flops": rate,
    }


def prepare(point: Point, device: str) -> Callable[[], Any]:
    """The work of a point, its data and model ready."""
    import torch
    from made_up import MadeUp, Shape, train_config

    from bpnet.data.collate import collate
    from bpnet.inference.localizer import Localizer
    from bpnet.ranks import ALONE
    from bpnet.training.optim import build_optimizer
    from bpnet.training.profile import no_phase
    from bpnet.training.step import TrainStep

    num_videos = point.batch if point.work == "step" else 1
    shape = Shape("long", WIDTH, (point.clips, point.clips), 1, 1, num_videos)
    data = MadeUp(shape)
    config = train_config(
        shape, "model=bpnet", *LONG_VIDEOS, f"model.num_proposals={point.proposals}"
    )
    model = data.model(config).to(device)
    if point.work == "step":
        optimizer = build_optimizer(model, config.optim)
        step = TrainStep(model, config, optimizer, torch.device(device), ALONE)
        batch = collate(data.samples)
        return lambda: step([(batch, None)], no_phase)
    localizer = Localizer(model.eval(), data.vocabulary, data.spec, config.data.max_clips)
    sentences = [data.sentence() for _ in range(point.queries)]
    clips, grid = data.videos[0]
    if point.work == "answer":
        return lambda: localizer.open_video(clips, grid=grid).localize(sentences)
    video = localizer.open_video(clips, grid=grid)
    return lambda: video.localize(sentences)


def table(
    sweep: Sweep, points: list[Point], found: dict[Point, dict[str, float]]
) -> dict[str, Any]:
    """Print a sweep, with the exponents fitted to it."""
    values = [getattr(point, sweep.axis) for point in points]
    rows = [found[point] for point in points]
    print(f"\n{sweep.title}\n{sweep.axis:>10}{'ms':>12}{'MB':>10}{'of GEMM':>9}")
    for value, row in zip(values, rows, strict=True):
        print(f"{value:>10}{1000 * row['seconds']:>12.1f}{row['peak_bytes'] / 1e6:>10.1f}", end="")
        print(f"{row['share_of_gemm']:>9.0%}")
    exponents = {key: exponent(values, [row[key] for row in rows]) for key in QUANTITIES}
    fitted = ", ".join(f"{key} {power:.2f}" for key, power in exponents.items())
    print(f"exponents: {fitted}", flush=True)
    return {
        "title": sweep.title,
        "axis": sweep.axis,
        "values": values,
        "rows": rows,
        "exponents": exponents,
    }


def exponent(values: list[int], measured: list[float]) -> float:
    """Slope of the line through the upper half of the points, on logarithmic scales."""
    upper = min(len(values) // 2, len(values) - 2)
    slope, _ = np.polyfit(np.log(values[upper:]), np.log(measured[upper:]), 1)
    return float(slope)


def further_sentence(quick: bool, found: dict[Point, dict[str, float]]) -> dict[str, float]:
    """What each further sentence about a long video costs, beside its first one."""
    single = found[Point("answer", clips=LONG)]["seconds"]
    asked = next(sweep for sweep in SWEEPS if sweep.axis == "queries")
    first, last = (asked.points(quick)[end] for end in (0, -1))
    more = found[last]["seconds"] - found[first]["seconds"]
    each = more / (last.queries - first.queries)
    print(f"\na video of {LONG} clips: the first sentence {1000 * single:.1f} ms", end="")
    print(f", each further one {1000 * each:.1f} ms: {each / single:.0%}")
    return {"first_seconds": single, "further_seconds": each, "share": each / single}


def plot(sweeps: list[dict[str, Any]], path: Path) -> None:
    """A panel an axis: time to the left, memory to the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(12, 8), layout="constrained")
    names = list(dict.fromkeys(sweep["axis"] for sweep in sweeps))
    for name, left in zip(names, axes.flat, strict=True):
        right = left.twinx()
        shown = [sweep for sweep in sweeps if sweep["axis"] == name]
        for sweep, colour in zip(shown, ("tab:blue", "tab:orange"), strict=False):
            seconds, peaks = ([row[key] for row in sweep["rows"]] for key in QUANTITIES)
            powers = ", ".join(f"{power:.2f}" for power in sweep["exponents"].values())
            label = f"{sweep['title']}\nexponents of time, memory: {powers}"
            left.plot(sweep["values"], seconds, "o-", color=colour, label=label)
            right.plot(sweep["values"], np.array(peaks) / 1e6, "s:", color=colour, alpha=0.6)
        for side, what in ((left, "seconds (solid)"), (right, "MB (dotted)")):
            side.set(xscale="log", yscale="log", ylabel=what)
        ticks = shown[0]["values"]
        left.set_xticks(ticks, [str(tick) for tick in ticks], fontsize=7, minor=False)
        left.set_xticks([], minor=True)
        left.set_xlabel(name)
        left.legend(fontsize=7, loc="upper left")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
