"""Hours of video and many sentences: memory, time, and whether the moment is found.

    python benchmarks/long_video.py RUN [--split test] [--hours 3] [--queries 1000] [--json FILE]

RUN is a trained checkpoint; its own data are read. Videos of the split are laid end to end, and
what is missing to so many hours is filled with their clips in random order. Sentences about the
videos, drawn at random, are asked of all of it. A hit is an IoU of 0.5 or more with the true
moment, among the best 1, 5 and 10; moments that an edge of a window cuts are counted apart, too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine

from bpnet import Localizer, Moment
from bpnet.build import build_store
from bpnet.checkpoint import Checkpoint
from bpnet.config import DataConfig
from bpnet.data.annotations import read_annotations
from bpnet.evaluation.intervals import tiou
from bpnet.settings import from_dict
from bpnet.types import Annotation
from bpnet_features import ClipGrid

BEST = (1, 5, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    data = from_dict(DataConfig, Checkpoint.load(args.checkpoint).data)
    every = read_annotations(data.dataset, data.annotations, args.split)[0]
    clips, grid, begins = joined(build_store(data), every, args.hours * 3600)
    rng = random.Random(0)
    asked = [one for one in every if one.video_id in begins]
    asked = rng.choices(asked, k=args.queries)
    localizer = Localizer.from_pretrained(args.checkpoint)
    before = peak()
    begun = time.perf_counter()
    video = localizer.open_video(clips, grid=grid)
    opened = time.perf_counter() - begun
    del clips
    begun = time.perf_counter()
    found = video.localize([one.query for one in asked], top=max(BEST))
    answered = time.perf_counter() - begun
    windows = video.windows
    edges = [float(one.grid.edges_seconds[0]) for one in windows[1:]]
    truths = [moment(one, begins[one.video_id]) for one in asked]
    cut = [any(one.start_seconds < edge < one.end_seconds for edge in edges) for one in truths]
    results: dict[str, Any] = {
        "machine": machine(),
        "hours": grid.duration_seconds / 3600,
        "clips": grid.num_clips,
        "videos": len(begins),
        "windows": len(windows),
        "sentences": len(asked),
        "open_seconds": opened,
        "milliseconds_a_sentence": 1e3 * answered / len(asked),
        "resident_before_mb": before,
        "peak_mb": peak(),
        "recall": {f"R@{best}": recall(truths, found, best) for best in BEST},
        "recall_of_moments_that_an_edge_cuts": {
            f"R@{best}": recall(
                list(itertools.compress(truths, cut)), list(itertools.compress(found, cut)), best
            )
            for best in BEST
        },
        "moments_that_an_edge_cuts": sum(cut),
    }
    print(f"{torch.get_num_threads()} threads")
    for name, value in results.items():
        if name != "machine":
            print(f"{name:<36}{value}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


def joined(
    store: Any, every: list[Annotation], seconds: float
) -> tuple[np.ndarray, ClipGrid, dict[str, float]]:
    """Videos one behind the other: clips, their grid, and when each video begins."""
    begins: dict[str, float] = {}
    parts, edges = [], [np.zeros(1)]
    now = 0.0
    rng = np.random.default_rng(0)
    durations = {one.video_id: one.duration_seconds for one in every}
    for video_id in itertools.cycle(durations):
        if now >= seconds:
            break
        clips, grid = store.read(video_id, durations[video_id])
        if video_id in begins:
            clips = rng.permutation(clips)
        begins.setdefault(video_id, now)
        parts.append(clips)
        edges.append(now + grid.edges_seconds[1:])
        now = float(edges[-1][-1])
    return np.concatenate(parts), ClipGrid(np.concatenate(edges), now), begins


def moment(truth: Annotation, begin: float) -> Moment:
    return Moment(begin + truth.start_seconds, begin + truth.end_seconds, 1.0)


def recall(truths: list[Moment], found: list[list[Moment]], best: int) -> float:
    pairs = zip(truths, found, strict=True)
    hits = [any(overlap(truth, one) >= 0.5 for one in answer[:best]) for truth, answer in pairs]
    return float(np.mean(hits)) if hits else float("nan")


def overlap(one: Moment, other: Moment) -> float:
    spans = ((each.start_seconds, each.end_seconds) for each in (one, other))
    return float(tiou(*spans))


def peak() -> float:
    """Peak resident memory in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
