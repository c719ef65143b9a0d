"""How well a library finds the video and the moment of a sentence, and how fast.

    python benchmarks/library.py RUN [--split test] [--videos 1000] [--queries 100] [--json FILE]

RUN is a trained checkpoint; its own data are read. Every sentence is asked of all videos of the
split at once: through the index, with some windows judged, and of every window (brute force), in
turn. Recall of the true video and of a moment with IoU >= 0.5 in it, among the best 1, 5 and 10.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machine import machine

from bpnet import Localizer
from bpnet.build import build_store
from bpnet.checkpoint import Checkpoint
from bpnet.config import DataConfig
from bpnet.data.annotations import read_annotations
from bpnet.evaluation.intervals import tiou
from bpnet.inference.collection import StoredVideos
from bpnet.inference.library import open_library
from bpnet.settings import from_dict
from bpnet.types import Annotation, FoundMoment

WINDOWS = (8, 32, 128, None)
BEST = (1, 5, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    data = from_dict(DataConfig, Checkpoint.load(args.checkpoint).data)
    every = read_annotations(data.dataset, data.annotations, args.split)[0]
    rng = random.Random(0)
    ids = sorted({one.video_id for one in every})
    ids = rng.sample(ids, min(args.videos, len(ids)))
    durations = {one.video_id: one.duration_seconds for one in every if one.video_id in set(ids)}
    asked = rng.sample([one for one in every if one.video_id in durations], args.queries)
    localizer = Localizer.from_pretrained(args.checkpoint)
    results: dict[str, Any] = {"machine": machine(), "videos": len(durations), "rows": []}
    with tempfile.TemporaryDirectory() as cache:
        videos = StoredVideos(build_store(data), durations)
        for name in ("first", "again"):
            begun = time.perf_counter()
            library = open_library(localizer, videos, Path(cache))
            results[f"open_{name}_seconds"] = time.perf_counter() - begun
        print(f"{len(durations)} videos, {len(asked)} sentences, {torch.get_num_threads()} threads")
        for name in ("first", "again"):
            print(f"opened {name}: {results[f'open_{name}_seconds']:.1f} s")
        seconds: dict[int | None, list[float]] = {windows: [] for windows in WINDOWS}
        found: dict[int | None, list[list[FoundMoment]]] = {windows: [] for windows in WINDOWS}
        for one in asked:
            for windows in rng.sample(WINDOWS, len(WINDOWS)):
                begun = time.perf_counter()
                found[windows] += library.localize([one.query], max(BEST), windows=windows)
                seconds[windows].append(time.perf_counter() - begun)
    print(f"{'windows':>8}{'ms a sentence':>15}   video in 1, 5, 10       moment in 1, 5, 10")
    for windows in WINDOWS:
        row = {
            "windows": windows,
            "milliseconds": 1e3 * statistics.median(seconds[windows]),
            "video": [recall(asked, found[windows], best, 0.0) for best in BEST],
            "moment": [recall(asked, found[windows], best, 0.5) for best in BEST],
        }
        results["rows"].append(row)
        shares = ["".join(f"{share:8.1%}" for share in row[key]) for key in ("video", "moment")]
        print(f"{windows or 'all':>8}{row['milliseconds']:>15.1f} {shares[0]}   {shares[1]}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


def recall(
    asked: list[Annotation], found: list[list[FoundMoment]], best: int, least: float
) -> float:
    hits = 0
    for truth, answers in zip(asked, found, strict=True):
        hits += any(
            one.video_id == truth.video_id and overlap(truth, one) >= least
            for one in answers[:best]
        )
    return hits / len(asked)


def overlap(truth: Annotation, found: FoundMoment) -> float:
    moment = found.moment
    span = (moment.start_seconds, moment.end_seconds)
    return float(tiou(span, (truth.start_seconds, truth.end_seconds)))


if __name__ == "__main__":
    main()
