"""What it costs to ask one video many questions, when it is kept and when it is not.

    python benchmarks/session.py [--quick] [--json FILE] [--threads N] [--rounds N]

Made-up videos of 128, 1,024 and 4,096 clips, random weights, questions of 4 to 12 words, through
`VideoSession` from features and text to moments in seconds. `model=bpnet_prefix` and `model=bpnet`,
each asked in four ways, in turn and in random order, in one process; first it is made sure that all
ways give the same answers.

- naive: a new video for each question, as if nothing were kept; at most four of the questions
- cold: a new video, and all questions together
- one by one: the video is kept, the questions are new and come alone
- warm: the video is kept, and all questions, which are new, come together
- again (bpnet_prefix): the same questions once more

Milliseconds are processor time of a question; `x naive` is how many times as long naive takes.
Before them: multiply-adds of a video, and of a question of 12 words about one that is kept. Then:
what is kept, beside what it would take if each question had its own copy of the video; and four
videos with a common beginning, for `model.video_attention=chunk_causal`. Linux only.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import described, machine
from made_up import CHARADES, MadeUp, train_config
from work import count_flops

from bpnet.inference.encoded import Reading
from bpnet.inference.judge import Judge
from bpnet.inference.opened import OpenedVideo
from bpnet.inference.session import VideoSession
from bpnet.types import Moment
from bpnet_features import ClipGrid

MODELS = {
    "bpnet_prefix": ("model=bpnet_prefix",),
    "bpnet": ("model=bpnet",),
}
CLIPS, QUERIES = (128, 1024, 4096), (1, 8, 32, 96)
WORDS = 12  # of the question whose work is counted
NAIVE = 4  # questions that are timed with nothing kept: each takes the same
INTRO = 0.75  # of each video with a common beginning


class Asked:
    """One model and one kind of video.

    Args:
        data: Words and vectors.
        clips: Clips of the video.
        overrides: What chooses the model.
    """

    def __init__(self, data: MadeUp, clips: int, overrides: tuple[str, ...]) -> None:
        shape = dataclasses.replace(data.shape, clips=(clips, clips))
        config = train_config(shape, *overrides)
        model = data.model(config).eval()
        judge = Judge(model, data.vocabulary, None, None)
        self.session = VideoSession(judge, Reading(data.spec, clips, float("inf")))
        self.data = data
        rng = np.random.default_rng(0)
        self.features = rng.standard_normal((clips, data.shape.width), np.float32)
        self.grid = ClipGrid.uniform(clips, float(clips))
        self.kept = self.session.open(self.features, self.grid)
        self._serial = itertools.count(1)

    def new_video(self) -> OpenedVideo:
        """A video like it that was never seen: a single number differs."""
        features = self.features.copy()
        features[-1, -1] = next(self._serial)
        return self.session.open(features, self.grid)

    def sentences(self, count: int) -> list[str]:
        """Questions that were never asked."""
        return [self.data.sentence() for _ in range(count)]

    def ways(self, count: int) -> dict[str, Callable[[], int]]:
        """Ways to ask so many questions; each gives how many it has asked."""
        same = self.sentences(count)

        def naive() -> int:
            asked = self.sentences(min(count, NAIVE))
            for sentence in asked:
                self.new_video().localize([sentence])
            return len(asked)

        def cold() -> int:
            self.new_video().localize(self.sentences(count))
            return count

        def one_by_one() -> int:
            for sentence in self.sentences(count):
                self.kept.localize([sentence])
            return count

        def warm() -> int:
            self.kept.localize(self.sentences(count))
            return count

        def again() -> int:
            self.kept.localize(same)
            return count

        ways = {"naive": naive, "cold": cold, "one by one": one_by_one, "warm": warm}
        if self.session.judge.model.layout().num_layers > 1:
            ways["again"] = again
        return ways

    def work(self) -> dict[str, float]:
        """Million multiply-adds of the network: of a video, and of a question about a kept one."""
        asked = [" ".join(" ".join(self.sentences(WORDS)).split()[:WORDS])]
        once = count_flops(lambda: self.new_video().localize(asked))
        question = count_flops(lambda: self.kept.localize(asked))
        return {"video": (once - question) / 2e6, "question": question / 2e6}

    def check(self) -> float:
        """Ask in all ways; the largest difference, which must be rounding."""
        asked = self.sentences(5)
        together = self.kept.localize(asked)
        worst = 0.0
        for sentence, answer in zip(asked, together, strict=True):
            alone = self.kept.localize([sentence])[0]
            fresh = VideoSession(self.session.judge, self.session.reading)
            anew = fresh.open(self.features, self.grid).localize([sentence])[0]
            worst = max(worst, apart(alone, answer), apart(anew, answer))
        assert worst < 1e-3, f"answers differ by {worst}"
        return worst


def apart(one: list[Moment], other: list[Moment]) -> float:
    """How far the scores of two answers are apart, at most."""
    assert len(one) == len(other)
    return max(abs(a.score - b.score) for a, b in zip(one, other, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less of everything: under a minute")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--threads", type=int, default=1, help="of torch (1)")
    parser.add_argument(
        "--rounds", type=int, help="how often each way is taken (7; 2 with --quick)"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rounds = args.rounds or (2 if args.quick else 7)
    data = MadeUp(dataclasses.replace(CHARADES, num_videos=1, queries=1))
    results: dict[str, Any] = {
        "machine": machine(),
        "threads": args.threads,
        "load_before": os.getloadavg(),
        "work": [],
        "rows": [],
    }
    print(described(args.threads))
    for clips in (128, 512) if args.quick else CLIPS:
        models = {name: Asked(data, clips, overrides) for name, overrides in MODELS.items()}
        for name, asked in models.items():
            print(f"{name}, {clips} clips: answers equal to {asked.check():.1e}")
            work = asked.work()
            results["work"].append({"model": name, "clips": clips, **work})
            print(
                f"  M multiply-adds: {work['video']:.0f} a video, {work['question']:.0f} a question"
            )
        for count in QUERIES[:2] if args.quick else QUERIES:
            rows = timed(models, clips, count, rounds)
            results["rows"] += rows
            print_rows(rows)
    size = 512 if args.quick else 1024
    results["memory"] = memory(Asked(data, size, MODELS["bpnet_prefix"]))
    results["common_beginning"] = common_beginning(data, size)
    results["load_after"] = os.getloadavg()
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


def timed(models: dict[str, Asked], clips: int, count: int, rounds: int) -> list[dict[str, Any]]:
    """Processor milliseconds a question of every model and way, in random order."""
    rng = random.Random(0)
    every = [
        (name, way, work)
        for name, asked in models.items()
        for way, work in asked.ways(count).items()
    ]
    found: dict[tuple[str, str], list[float]] = {(name, way): [] for name, way, _ in every}
    for number in range(rounds + 1):
        for name, way, work in rng.sample(every, len(every)):
            begun = time.process_time()
            asked = work()
            if number:  # the first round warms up
                found[name, way].append(1e3 * (time.process_time() - begun) / asked)
    return [
        {
            "model": name,
            "clips": clips,
            "queries": count,
            "way": way,
            "milliseconds": {"min": min(times), "median": statistics.median(times)},
            "times_naive": min(found[name, "naive"]) / min(times),
        }
        for (name, way), times in found.items()
    ]


def print_rows(rows: list[dict[str, Any]]) -> None:
    head = rows[0]
    print(f"\n{head['clips']} clips, {head['queries']} questions: ms a question, least (median)")
    for row in rows:
        least, median = row["milliseconds"]["min"], row["milliseconds"]["median"]
        times = f"{least:.1f} ({median:.1f})"
        ratio = f"{row['times_naive']:.1f} x naive"
        print(f"  {row['model']:<14}{row['way']:<12}{times:>20}{ratio:>16}", flush=True)


def memory(asked: Asked) -> list[dict[str, float]]:
    """Bytes that are kept of a video and its questions, and what the shared part promises."""
    rows = []
    print("\nkept of a video and its questions, MiB; with a copy of the video for each question")
    for count in (1, 8, 32):
        before = asked.session.stats()
        video = asked.new_video()
        video.localize(asked.sentences(count))
        after = asked.session.stats()
        kept = after.bytes - before.bytes
        token = asked.session.judge.model.layout().token_bytes
        clips = asked.grid.num_clips
        words = after.num_tokens - before.num_tokens - clips
        copies = (count * clips + words) * token
        shared = 1 - (clips + words) * token / copies  # r of ChunkAttention: what is held twice
        row = {"queries": count, "bytes": kept, "bytes_with_copies": copies}
        row |= {"times": copies / kept, "promised": 1 / (1 - shared)}
        rows.append(row)
        print(
            f"  {count:>3} questions {kept / 2**20:8.1f} {copies / 2**20:8.1f}"
            f"   {row['times']:.2f} times less, 1 / (1 - r) = {row['promised']:.2f}"
        )
    return rows


def common_beginning(data: MadeUp, clips: int) -> dict[str, Any]:
    """Four videos that begin alike: what opening them takes, and keeps."""
    found: dict[str, Any] = {}
    print(f"\nfour videos of {clips} clips, {INTRO:.0%} of them the same: opening all")
    rng = np.random.default_rng(1)
    intro = rng.standard_normal((int(INTRO * clips), data.shape.width), np.float32)
    rest = (clips - len(intro), data.shape.width)
    videos = [np.concatenate([intro, rng.standard_normal(rest, np.float32)]) for _ in range(4)]
    for attention in ("full", "chunk_causal"):
        overrides = (*MODELS["bpnet_prefix"], f"model.video_attention={attention}")
        asked = Asked(data, clips, overrides)
        before = asked.session.stats()
        begun = time.process_time()
        opened = [asked.session.open(video, asked.grid) for video in videos]
        took = time.process_time() - begun
        after = asked.session.stats()
        assert len(opened) == 4
        found[attention] = {
            "milliseconds": 1e3 * took,
            "bytes": after.bytes - before.bytes,
            "clips": after.num_tokens - before.num_tokens,
        }
        row = found[attention]
        print(
            f"  {attention:<14}{row['milliseconds']:8.0f} ms{row['bytes'] / 2**20:8.1f} MiB"
            f"{row['clips']:>8} clips encoded"
        )
    return found


if __name__ == "__main__":
    main()
