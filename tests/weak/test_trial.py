"""What the pool is for, on planted data: the context fools the head less, and nothing is made up.

Small sets of one seed; `benchmarks/confounder.py` has the whole grid.
"""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pytest
import torch

from bpnet.contexts.pool_config import PoolConfig
from bpnet.weak.activation import ActivationHead
from bpnet.weak.pool_report import STATUS
from bpnet.weak.synthetic import planted_concepts, planted_pairs
from bpnet.weak.trial import TrialConfig, fit_pool, measure, train_head
from bpnet_features.confounder import WORDS, PlantedWorld
from bpnet_features.confounder_files import write_confounded
from bpnet_features.confounder_knobs import Confounder

KNOBS = Confounder(num_concepts=4, num_clips=24, dim=32, num_train=800, num_val=40, num_test=120)
SHORT = TrialConfig(num_steps=120, batch_size=24)
# Enough to see whether two heads are the same.
FEW = dataclasses.replace(KNOBS, num_train=300, num_val=20, num_test=30)
GLANCE = TrialConfig(num_steps=8, batch_size=12)


@functools.cache
def trial(
    mode: str,
    rho: float,
    config: TrialConfig = SHORT,
    knobs: Confounder = KNOBS,
    **pool: float,
) -> tuple[dict[str, float], ActivationHead]:
    world = PlantedWorld(dataclasses.replace(knobs, rho=rho), 3)
    part = planted_pairs(world, "train", planted_concepts(world))
    fitted = fit_pool(part, PoolConfig(intervention=mode, num_prototypes=48, **pool))
    head = train_head(part, fitted, config, seed=3)
    return measure(world, head), head


@pytest.fixture(scope="module")
def fooled() -> dict[str, float]:
    return trial("none", 0.9)[0]


def test_backdoor_looks_at_the_object_and_not_at_its_context(fooled) -> None:
    found, head = trial("backdoor", 0.9)
    assert head.pool is not None and head.pool.strata.sum() == 4  # the planted contexts
    assert fooled["iid CPR"] > 8
    assert found["iid CPR"] < fooled["iid CPR"] / 4
    assert found["iid pointing"] > fooled["iid pointing"] + 5
    assert found["iid mIoU"] > fooled["iid mIoU"] + 5
    assert found["swapped accuracy"] > fooled["swapped accuracy"] + 10
    assert found["AUROC"] > fooled["AUROC"]


@pytest.mark.slow
def test_stratified_does_too_at_a_price(fooled) -> None:
    found, head = trial("stratified", 0.9)
    assert head.pool is not None and (head.pool.weights != 1).all()
    assert found["iid CPR"] < fooled["iid CPR"] / 4
    assert found["swapped accuracy"] > fooled["swapped accuracy"]
    assert found["iid accuracy"] < fooled["iid accuracy"]  # the context was honest evidence there


@pytest.mark.slow
def test_the_literal_maps_of_cicam_do_not(fooled) -> None:
    assert abs(trial("cicam", 0.9)[0]["iid CPR"] - fooled["iid CPR"]) < 10


@pytest.mark.parametrize("mode", ["backdoor", "stratified"])
def test_a_pool_that_finds_nothing_changes_nothing(mode: str) -> None:
    expected, none = trial("none", 0.9, GLANCE, FEW)
    found, head = trial(mode, 0.9, GLANCE, FEW, min_videos=10_000)
    assert found == expected
    for name, value in none.state_dict().items():
        assert torch.equal(value, head.state_dict()[name]), name


@pytest.mark.parametrize("rho", [0.0, 1.0])
@pytest.mark.parametrize("mode", ["backdoor", "stratified"])
def test_it_stands_aside_where_nothing_can_be_told_apart(mode: str, rho: float) -> None:
    found, head = trial(mode, rho, GLANCE, FEW)
    assert found == trial("none", rho, GLANCE, FEW)[0]
    assert head.pool is not None and not head.pool.strata.any()
    assert {STATUS[one] for one in head.pool.status.tolist()} == {"not identifiable"}


def test_shuffled_concepts_random_prototypes_and_other_data_find_no_context() -> None:
    world = PlantedWorld(dataclasses.replace(KNOBS, rho=0.9), 3)
    part = planted_pairs(world, "train", planted_concepts(world))
    config = PoolConfig(num_prototypes=48)
    assert not fit_pool(part, config, shuffle=True).strata.any()
    drawn = torch.nn.functional.normalize(
        torch.randn(48, 32, generator=torch.Generator().manual_seed(0)), dim=1
    )
    assert not fit_pool(part, config, prototypes=drawn).strata.any()
    true = fit_pool(part, config, prototypes=torch.from_numpy(world.contexts))
    concepts = planted_concepts(world).words
    for number, word in enumerate(WORDS[:4]):
        assert true.strata[concepts[word]].nonzero().flatten().tolist() == [number]


def test_shuffled_labels_change_the_threshold_and_no_activation() -> None:
    world = PlantedWorld(dataclasses.replace(KNOBS, rho=0.9), 3)
    part = planted_pairs(world, "train", planted_concepts(world))
    head = train_head(part, None, dataclasses.replace(SHORT, num_steps=60), seed=3)
    found, shuffled = measure(world, head), measure(world, head, shuffle_labels=True)
    assert found["threshold"] != shuffled["threshold"]
    for name in ("iid CPR", "iid pointing", "iid frame AP", "AUROC"):
        assert found[name] == shuffled[name]


def test_pairs_are_those_of_the_files(tmp_path) -> None:
    sizes = {"num_train": 6, "num_val": 2, "num_test": 4, "longest": 6}
    knobs = dataclasses.replace(KNOBS, queries_per_video=2, concepts_per_query=2, **sizes)
    write_confounded(tmp_path, knobs, 1)
    world = PlantedWorld(knobs, 1)
    part = planted_pairs(world, "train", planted_concepts(world))
    lines = (tmp_path / "contexts.jsonl").read_text().splitlines()
    contexts = [row for row in map(json.loads, lines) if row["video_id"].startswith("train")]
    assert len(contexts) == len(part.targets) == len(part.pairs.queries) > 6
    for row, runs in zip(contexts, part.contexts, strict=True):
        assert (None if row["context"] is None else [row["context"]]) == (runs.tolist() or None)
    assert [f"train_{place:05d}" for place in part.pairs.video_index] == [
        row["video_id"] for row in contexts
    ]
    assert np.array_equal(part.pairs.video[2].numpy(), world.clips("train_00002"))
