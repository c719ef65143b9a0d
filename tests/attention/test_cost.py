"""What auto expects of the backends, and the file that the calibration writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bpnet.attention import Costs, KVLayout, PrefixTree, attend
from bpnet.attention.cost import cheapest, estimate
from bpnet.errors import AttentionError

COSTS = Costs(1e-5, 1e10, 5e9, 1e11, 5e10)


def test_work_by_hand() -> None:
    """Three sequences of 2 rows over 100 shared tokens, and 10 of its own for each."""
    tree = PrefixTree(KVLayout(1, 2, 8))
    node = tree.insert(None, [b"a"], *torch.zeros(2, 1, 2, 100, 8))
    sequences = [tree.join(node) for _ in range(3)]
    for sequence in sequences:
        tree.append(sequence, *torch.zeros(2, 1, 2, 10, 8))
    work = estimate(tree.plan(sequences, 2), num_heads=4, has_own=True)
    pair = 4 * 4 * 8  # a product and a sum for the logit, and for the value, of each of 4 heads
    token = 2 * 2 * 8 * 4
    assert work["torch"].flops == work["expanded"].flops == pair * 6 * (100 + 10 + 2)
    assert work["packed"].flops == pair * 6 * (100 + 30 + 6)
    states = 8 * 6 * 4 * 9  # the six rows' partial results
    assert work["torch"].read_bytes == token * (100 + 30 + 6) + states
    assert work["expanded"].read_bytes == token * 3 * 112 + states
    assert work["torch"].launches == 3  # two calls over keys, and a merge
    assert work["torch"].copied_bytes == token * 30  # the tails, into one block
    assert work["packed"].copied_bytes == token * 136
    reading = (token + 4 * 6) * 136 / 1e10  # keys and values, and the mask
    seconds = 1e-5 + token * 136 / 5e9 + reading + pair * 6 * 136 / 1e11
    assert work["packed"].seconds(COSTS) == pytest.approx(seconds)


def test_copies_that_a_plan_keeps_cost_nothing_again() -> None:
    tree = PrefixTree(KVLayout(1, 2, 8))
    node = tree.insert(None, [b"a"], *torch.zeros(2, 1, 2, 100, 8))
    sequences = [tree.join(node) for _ in range(3)]
    tree.append(sequences[0], *torch.zeros(2, 1, 2, 10, 8))
    token = 2 * 2 * 8 * 4
    plan = tree.plan(sequences)
    first, again = (estimate(plan, 2, True, kept) for kept in (False, True))
    assert first["torch"].copied_bytes == token * 10
    assert again["torch"].copied_bytes == 0
    assert first["packed"].copied_bytes == token * 113
    assert again["packed"].copied_bytes == token * 3  # the new tokens, into their places
    large = tree.insert(None, [b"b"], *torch.zeros(2, 1, 2, 20_000, 8))
    work = estimate(tree.plan([large] * 3), 2, True, True)["packed"]
    assert work.copied_bytes == token * 20_003  # too large to be kept twice


def test_auto_packs_what_is_short_from_the_second_call_on() -> None:
    """The first call of a plan would have to copy what the second finds in place."""
    tree = PrefixTree(KVLayout(2, 8, 64))
    node = tree.insert(None, [b"a"], *torch.randn(2, 2, 8, 200, 64))
    plan = tree.plan([node] * 4)
    q, k, v = torch.randn(3, 4, 8, 64)
    costs = Costs(1e-5, 1e10, 1e9, 1e11, 5e10)
    for layer in (0, 0, 0, 1):
        attend(q, plan, layer, k, v, costs=costs)
    assert tree.stats().choices == {"torch": 2, "packed": 2}


def test_a_long_prefix_of_many_is_read_once() -> None:
    tree = PrefixTree(KVLayout(1, 8, 64))
    node = tree.insert(None, [b"a"], *torch.zeros(2, 1, 8, 1024, 64))
    assert cheapest(tree.plan([node] * 32), 8, True, COSTS) == "torch"
    nothing = tree.plan([None] * 4, 3)
    assert cheapest(nothing, 8, True, COSTS) in ("torch", "expanded")


def test_the_file(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    COSTS.save(path)
    assert Costs.load(path) == COSTS
    path.write_text("{}")
    with pytest.raises(AttentionError, match=r"costs\.json: KeyError\('launch_seconds'\)"):
        Costs.load(path)
    with pytest.raises(AttentionError, match=r"Costs\.launch_seconds=0: expected a number > 0"):
        Costs(0, 1, 1, 1, 1)
    assert Costs(1, 1, 1, 0, 2).flops_per_second == 2
