"""Percentile bootstrap of means over queries, which resamples whole videos; NumPy only.

The queries of one video are not independent: a video that is hard is hard for all its sentences.
Resampling queries one by one takes them for independent, and its intervals are too narrow. So the
videos are drawn, with replacement, and each brings all its queries (the cluster bootstrap; Davison
and Hinkley, *Bootstrap Methods and their Application*, 1997, section 3.8; Field and Welsh,
*Bootstrapping clustered data*, J. R. Statist. Soc. B 69, 2007). With V videos, of which video v has
n_v queries with the sum s_v of their outcomes, and w_v the number of times that it was drawn,

    mean* = sum_v w_v s_v / sum_v w_v n_v.

The interval is that of the percentiles of mean* (Efron and Tibshirani, *An Introduction to the
Bootstrap*, 1993, chapter 13). Two systems are compared by the differences of their outcomes query
by query, resampled together: what makes a video hard for both cancels.

Where runs with several seeds stand for a model, the runs may be drawn too, independently of the
videos. Few runs say little of the spread over runs: with R of them the variance that comes from
them is too small by the factor (R - 1) / R.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from bpnet.evaluation.intervals import Array

NUM_RESAMPLES = 10_000
LEVEL = 0.95
SEED = 0  # of the draws
INTERVAL = {  # as files of results say it
    "level": LEVEL,
    "method": "percentile bootstrap over videos",
    "num_resamples": NUM_RESAMPLES,
    "seed": SEED,
}
FEW_VIDEOS = 30  # with fewer, percentile intervals are noticeably too narrow
_CHUNK = 2**21  # draws of videos at once: 16 MB an array


@dataclasses.dataclass(frozen=True, eq=False)
class Estimates:
    """Means with their intervals, column by column.

    Attributes:
        value: Means (C,).
        low: Lower ends of their intervals (C,).
        high: Upper ends (C,).
    """

    value: Array
    low: Array
    high: Array

    def cells(self, names: Sequence[str]) -> list[dict[str, dict[str, float]]]:
        """As files of results hold them.

        Args:
            names: Of the columns; where there are more columns, each group of as many has them.

        Returns:
            For each group by name ``value``, ``low`` and ``high``.
        """
        rows = np.stack([self.value, self.low, self.high], axis=1).reshape(-1, len(names), 3)
        return [
            {
                name: {"value": value, "low": low, "high": high}
                for name, (value, low, high) in zip(names, group, strict=True)
            }
            for group in rows.tolist()
        ]


def bootstrap(
    outcomes: Array,
    videos: Sequence[Hashable],
    *,
    resample_runs: bool = False,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> Estimates:
    """Means over runs and queries, with percentile intervals.

    Args:
        outcomes: What is averaged (R, Q, C): R runs, Q queries, C columns; for a comparison, the
            differences.
        videos: The video of each query, Q of them.
        resample_runs: Whether the runs are drawn too; otherwise their mean stands for the model,
            and the interval says nothing of other seeds.
        num_resamples: Draws, >= 1.
        seed: Of the draws; the same seed draws the same videos whatever the outcomes are.
        level: Share of the draws inside the interval, in (0, 1).

    Returns:
        Means and intervals.
    """
    means = _resampled_means(outcomes, videos, resample_runs, num_resamples, seed)
    return _estimates(outcomes.mean(axis=(0, 1)), means, level)


def bootstrap_difference(
    first: Array,
    first_videos: Sequence[Hashable],
    second: Array,
    second_videos: Sequence[Hashable],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> Estimates:
    """Second mean minus first, of queries about two sets of videos that have nothing in common.

    The two are drawn independently of each other: there is nothing to pair.

    Args:
        first: Outcomes (Q, C).
        first_videos: The video of each query, Q of them.
        second: Outcomes (Q', C).
        second_videos: The video of each, Q' of them.
        num_resamples: Draws, >= 1.
        seed: Of the draws.
        level: Share of the draws inside the interval, in (0, 1).

    Returns:
        Differences and their intervals.
    """
    seeds = np.random.SeedSequence(seed).generate_state(2)
    less = _resampled_means(first[None], first_videos, False, num_resamples, int(seeds[0]))
    more = _resampled_means(second[None], second_videos, False, num_resamples, int(seeds[1]))
    return _estimates(second.mean(axis=0) - first.mean(axis=0), more - less, level)


def interval_notes(videos: Sequence[Hashable]) -> list[str]:
    """What to say below a table of such intervals.

    Args:
        videos: The video of each query.

    Returns:
        Sentences.
    """
    notes = [
        f"[low, high]: {100 * LEVEL:g} % percentile bootstrap, {NUM_RESAMPLES:,} resamples of "
        "whole videos, paired by query: the queries of one video are not independent; it says "
        "nothing of other seeds",
    ]
    if len(set(videos)) < FEW_VIDEOS:
        notes.append(f"{len(set(videos))} videos are few: the intervals are too narrow")
    return notes


def _estimates(value: Array, means: Array, level: float) -> Estimates:
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return Estimates(value, low, high)


def _resampled_means(
    outcomes: Array,
    videos: Sequence[Hashable],
    resample_runs: bool,
    num_resamples: int,
    seed: int,
) -> Array:
    """The means of the draws (draws, C)."""
    num_runs, num_queries, num_columns = outcomes.shape
    assert num_runs and num_queries == len(videos) > 0, (outcomes.shape, len(videos))
    codes = _numbers(videos)
    counts = np.bincount(codes).astype(np.float64)
    num_videos = len(counts)
    sums = np.zeros((num_videos, num_runs * num_columns))
    np.add.at(sums, codes, outcomes.transpose(1, 0, 2).reshape(num_queries, -1))
    # Streams of their own, so that chunks of any size draw the same.
    for_videos, for_runs = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(2))
    means = np.empty((num_resamples, num_columns))
    step = max(1, _CHUNK // num_videos)
    for first in range(0, num_resamples, step):
        size = min(step, num_resamples - first)
        drawn = _draws(for_videos, size, num_videos)
        totals = (drawn @ sums).reshape(size, num_runs, num_columns)
        share = _draws(for_runs, size, num_runs) if resample_runs else np.ones((size, num_runs))
        weighted = (share[:, :, None] * totals).sum(axis=1) / num_runs
        means[first : first + size] = weighted / (drawn @ counts)[:, None]
    return means


def _draws(generator: np.random.Generator, size: int, num: int) -> Array:
    """How often each of ``num`` things is drawn in ``num`` draws with replacement (size, num)."""
    drawn = generator.integers(num, size=(size, num))
    drawn += np.arange(size)[:, None] * num
    return np.bincount(drawn.ravel(), minlength=size * num).reshape(size, num).astype(np.float64)


def _numbers(names: Sequence[Hashable]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Each name as the number of its first appearance."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
