"""Contenders that do the same work in turn, so that what else the machine does meets all alike."""

from __future__ import annotations

import dataclasses
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from machine import CPU, gemm_rate, settle, spread
from torch import Tensor
from work import activation_bytes, count_flops, peak_growth

RIVAL = "VSLNet"
HEADER = (
    f"{'median (min to max)':<24}{'pairs/s':>24}{'ms a pair':>11}{'the first':>11}"
    f"{'x ' + RIVAL:>20}"
    f"{'collated too':>14}{'of GEMM':>9}{'GFLOP a pair':>14}{'activations MB':>16}{'peak MB':>9}"
)


@dataclasses.dataclass(frozen=True)
class Contender:
    """Who answers, or learns from, all pairs of some data once a round.

    Attributes:
        name: What is printed.
        batches: Gives the pairs of each batch of the next round.
        collate: Pairs in memory to a batch.
        work: What is timed, of a batch.
        trained: Weights that are trained; none where nothing is.
        device: Where the work is done.
    """

    name: str
    batches: Callable[[], Iterable[Sequence[int]]]
    collate: Callable[[Sequence[int]], Any]
    work: Callable[[Any], Any]
    trained: tuple[Tensor, ...] = ()
    device: str = CPU

    def round(self) -> dict[str, float]:
        """Seconds of one round, by what was done."""
        collating = working = 0.0
        pairs = 0
        for batch in self.batches():
            begun = time.perf_counter()
            collated = self.collate(batch)
            ready = time.perf_counter()
            self.work(collated)
            settle(self.device)
            working += time.perf_counter() - ready
            collating += ready - begun
            pairs += len(batch)
        return {"collating": collating, "working": working, "pairs": pairs}

    def costs(self) -> dict[str, float]:
        """What does not depend on the speed of the machine; warms up, too."""
        first = next(iter(self.batches()))
        batch = self.collate(first)
        begun = time.perf_counter()
        self.work(batch)
        settle(self.device)
        first_ms = 1000 * (time.perf_counter() - begun) / len(first)
        activations = 0
        if self.trained:
            activations = activation_bytes(lambda: self.work(batch), self.trained)
        return {
            "first_ms": first_ms,
            "activation_bytes": activations,
            "peak_growth_bytes": peak_growth(lambda: self.work(batch), self.device),
            "flops": count_flops(self.round),
        }


def compare(contenders: Sequence[Contender], rounds: int) -> dict[str, Any]:
    """All contenders in random order, round by round, with the rate of matrix products before and
    after each.

    Args:
        contenders: Who works; the rival, if there is one, under the name `RIVAL`.
        rounds: How often.

    Returns:
        The figures of each, by name, and ``gemm``: the rates.
    """
    rng = random.Random(0)
    costs = {one.name: one.costs() for one in contenders}
    device = contenders[0].device
    rates = [gemm_rate(device=device)]
    runs: dict[str, list[dict[str, float]]] = {one.name: [] for one in contenders}
    for _ in range(rounds):
        for one in rng.sample(contenders, len(contenders)):
            run = one.round()
            rates.append(gemm_rate(device=device))
            runs[one.name].append({**run, "gemm_flops": sum(rates[-2:]) / 2})  # before and after
    rival = runs.get(RIVAL)
    figures = {name: _figures(runs[name], costs[name], rival) for name in runs}
    return {"gemm_flops": rates, **figures}


def _figures(
    runs: list[dict[str, float]],
    costs: dict[str, float],
    rival: list[dict[str, float]] | None,
) -> dict[str, Any]:
    pairs = runs[0]["pairs"]
    found: dict[str, Any] = {
        "pairs_per_second": [pairs / run["working"] for run in runs],
        "collated_pairs_per_second": [pairs / _both(run) for run in runs],
        "share_of_gemm": [costs["flops"] / run["working"] / run["gemm_flops"] for run in runs],
        "flops_a_pair": costs["flops"] / pairs,
        **costs,
    }
    if rival is not None:
        both = list(zip(rival, runs, strict=True))
        found["ratio"] = [theirs["working"] / ours["working"] for theirs, ours in both]
        found["collated_ratio"] = [_both(theirs) / _both(ours) for theirs, ours in both]
    return found


def _both(run: dict[str, float]) -> float:
    return run["collating"] + run["working"]


def print_figures(title: str, figures: dict[str, Any]) -> None:
    """A table, a row a contender."""
    rates = [rate / 1e9 for rate in figures["gemm_flops"]]
    print(f"\n{title}; GEMM {spread(rates, 0)} GFLOP/s\n{HEADER}")
    for name, row in itertools.islice(figures.items(), 1, None):
        speed = row["pairs_per_second"]
        print(f"{name:<24}{spread(speed, 0):>24}{1000 / statistics.median(speed):>11.2f}", end="")
        print(f"{row['first_ms']:>11.2f}", end="")
        if "ratio" in row:
            print(f"{spread(row['ratio'], 1):>20}", end="")
            print(f"{statistics.median(row['collated_ratio']):>14.1f}", end="")
        else:
            print(f"{'-':>20}{'-':>14}", end="")
        print(f"{statistics.median(row['share_of_gemm']):>9.0%}", end="")
        print(f"{row['flops_a_pair'] / 1e9:>14.3f}", end="")
        print(f"{row['activation_bytes'] / 1e6 or '-':>16.5}", end="")
        print(f"{row['peak_growth_bytes'] / 1e6:>9.0f}", flush=True)
