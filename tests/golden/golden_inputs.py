"""Inputs made by a recipe, on which the reference evaluators were run; see README.md.

Times lie on coarse grids, so that floats hold them exactly and many an overlap is exactly at a
threshold.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np

SEED = 20261122
NUM_CLIPS = 16


@dataclasses.dataclass(frozen=True)
class Query:
    """A target, and ranked moments with distinct scores in (0, 1), all times in seconds."""

    duration: float
    target: list[float]
    moments: list[list[float]]
    scores: list[float]


def sparse_queries(count: int = 400) -> list[Query]:
    """1 to 24 moments a query, on a sixteenth of the video."""
    return [_query(rng, int(rng.integers(1, 25))) for rng in _generators(count, 0)]


def dense_queries(count: int = 200) -> list[Query]:
    """All 136 moments that a map of 16 x 16 clips holds, in random order."""
    return [_query(rng, NUM_CLIPS * (NUM_CLIPS + 1) // 2) for rng in _generators(count, 1)]


def near_queries(count: int = 200) -> list[Query]:
    """Groups of moments that differ by sixteenths of a second; some scores are below 0.001."""
    queries = []
    for rng in _generators(count, 3):
        duration = 4.0 * int(rng.integers(16, 51))
        moments = []
        for _ in range(int(rng.integers(2, 6))):
            start = int(rng.integers(0, int(duration) - 12))
            end = int(rng.integers(start + 8, int(duration) + 1))
            for _ in range(int(rng.integers(1, 6))):
                low, high = rng.integers(-4, 5, 2) / 16
                moments.append([max(0.0, float(start + low)), min(duration, float(end + high))])
        order = rng.permutation(len(moments))
        scores = np.sort(rng.choice(np.arange(1, 2048), len(moments), replace=False))[::-1] / 2048
        target = moments[int(rng.integers(len(moments)))]
        queries.append(
            Query(duration, target, [moments[place] for place in order], scores.tolist())
        )
    return queries


def submission(annotations: list[dict]) -> list[dict]:
    """A Moment-DETR submission for lines of QVHighlights: near the truth, near-copies, noise."""
    lines = []
    for line, rng in zip(annotations, _generators(len(annotations), 2), strict=True):
        windows = []
        for place in range(int(rng.integers(1, 15))):
            true = line["relevant_windows"][place % len(line["relevant_windows"])]
            noise = 2 * rng.integers(-8, 9, 2) if rng.random() < 0.8 else (0, 0)
            start, end = sorted((true[0] + int(noise[0]), true[1] + int(noise[1])))
            start = min(max(start, 0), 148)
            windows.append([start, min(max(end, start + 2), 150)])
        # Steps of 1/64, so that some scores are equal.
        scores = sorted((int(rng.integers(0, 65)) / 64 for _ in windows), reverse=True)
        clips = int(line["duration"]) // 2 + int(rng.integers(-1, 2))
        lines.append(
            {
                "qid": line["qid"],
                "vid": line["vid"],
                "query": line["query"],
                "pred_relevant_windows": [
                    [*window, score] for window, score in zip(windows, scores, strict=True)
                ],
                "pred_saliency_scores": (rng.integers(-16, 17, clips) / 16).tolist(),
            }
        )
    return lines


def digest(value: object) -> str:
    """A SHA-256 that changes with the recipe, or with NumPy's generators."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def as_plain(queries: list[Query]) -> list[dict]:
    return [dataclasses.asdict(query) for query in queries]


def _generators(count: int, stream: int) -> list[np.random.Generator]:
    return [np.random.default_rng([SEED, stream, number]) for number in range(count)]


def _query(rng: np.random.Generator, count: int) -> Query:
    duration = 4.0 * int(rng.integers(8, 51))  # so that a sixteenth is a multiple of 1/4 s
    step = duration / NUM_CLIPS
    starts, ends = np.triu_indices(NUM_CLIPS)
    places = rng.permutation(len(starts))[:count]
    moments = [[float(starts[place] * step), float((ends[place] + 1) * step)] for place in places]
    low, high = sorted(rng.choice(int(4 * duration) + 1, 2, replace=False).tolist())
    target = moments[int(rng.integers(count))] if rng.random() < 0.3 else [low / 4, high / 4]
    scores = np.sort(rng.choice(np.arange(1, 1024), count, replace=False))[::-1] / 1024
    return Query(duration, target, moments, scores.tolist())
