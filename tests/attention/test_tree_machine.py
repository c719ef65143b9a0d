"""Random operations on a prefix tree: nothing is lost, leaked, or above the budget."""

from __future__ import annotations

import gc
import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tree_model import TreeModel

SMALL = st.integers(0, 63)


class TreeMachine(RuleBasedStateMachine):
    @initialize(budget_tokens=st.sampled_from([24, 60, 400]))
    def start(self, budget_tokens: int) -> None:
        self.model = TreeModel(budget_tokens)

    @rule(
        where=SMALL,
        labels=st.integers(0, 15),
        length=SMALL,
        whole=st.booleans(),
        extend=st.booleans(),
    )
    def insert(self, where: int, labels: int, length: int, whole: bool, extend: bool) -> None:
        self.model.insert(where, labels, length, whole, extend)

    @rule(where=SMALL)
    def join(self, where: int) -> None:
        self.model.join(where)

    @rule(which=SMALL, length=SMALL)
    def append(self, which: int, length: int) -> None:
        self.model.append(which, length)

    @rule(which=SMALL)
    def fork(self, which: int) -> None:
        self.model.fork(which)

    @rule(which=SMALL)
    def release(self, which: int) -> None:
        self.model.release(which)

    @rule(where=SMALL)
    def pin(self, where: int) -> None:
        self.model.pin(where)

    @rule(which=SMALL)
    def unpin(self, which: int) -> None:
        self.model.unpin(which)

    @rule(num_tokens=SMALL)
    def evict(self, num_tokens: int) -> None:
        self.model.evict(num_tokens)

    @rule(choices=st.integers(0, 1 << 24))
    def plan(self, choices: int) -> None:
        self.model.plan(choices)

    @rule()
    def clear(self) -> None:
        self.model.clear()

    @invariant()
    def check(self) -> None:
        if hasattr(self, "model"):
            self.model.check()


TreeMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTreeMachine = TreeMachine.TestCase


def soak(num_operations: int, seed: int, budget_tokens: int, every: int) -> TreeModel:
    """Random operations with a full check every so many of them."""
    rng = random.Random(seed)
    model = TreeModel(budget_tokens)
    for number in range(num_operations):
        draw = rng.getrandbits(30)
        kind = rng.random()
        if kind < 0.30:
            model.insert(draw, draw >> 8, draw >> 12, bool(draw & 1), bool(draw & 2))
        elif kind < 0.40:
            model.join(draw)
        elif kind < 0.60:
            model.append(draw, draw >> 8)
        elif kind < 0.65:
            model.fork(draw)
        elif kind < 0.80 or len(model.sequences) > 40:
            model.release(draw)
        elif kind < 0.85:
            model.pin(draw)
        elif kind < 0.92 or len(model.pins) > 10:
            model.unpin(draw)
        elif kind < 0.995:
            model.evict(draw)
        elif kind < 0.9999:
            model.plan(draw)
        else:
            model.clear()
        if number % every == 0:
            model.check()
    model.check()
    return model


@pytest.mark.parametrize("budget_tokens", [60, 100])
def test_when_the_room_is_short(budget_tokens: int) -> None:
    """The machine clears the tree too often to fill it: here it is full again and again."""
    model = soak(1000, seed=0, budget_tokens=budget_tokens, every=3)
    assert model.num_full > 40
    assert model.tree.stats().evicted > 500


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


@pytest.mark.slow
def test_soak() -> None:
    """Neither the stores nor Python's objects nor the process grow.

    BPNET_SOAK_OPERATIONS=10000000 takes some minutes; `pytest -s` shows the speed.
    """
    num_operations = int(os.environ.get("BPNET_SOAK_OPERATIONS", "50000"))
    counts, sizes = [], []
    for seed, share in ((1, 0.1), (2, 0.9)):
        begun = time.perf_counter()
        model = soak(int(num_operations * share), seed, budget_tokens=600, every=5000)
        speed = num_operations * share / (time.perf_counter() - begun)
        assert model.num_full
        assert model.tree.stats().evicted
        model.clear()
        gc.collect()
        counts.append(len(gc.get_objects()))
        sizes.append(resident_bytes())
        print(f"{speed:.0f} operations/s; {counts[-1]} objects, {sizes[-1] / 2**20:.1f} MiB")
    assert counts[1] < counts[0] + 200
    assert sizes[1] < sizes[0] + 8 * 2**20
