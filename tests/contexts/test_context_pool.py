"""The context pool: what it counts, what it declares context, and when it stands aside."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from bpnet.contexts.pool import ContextPool, concept_table
from bpnet.contexts.pool_config import PoolConfig
from bpnet.errors import ConfigError
from bpnet.weak.concepts import Concepts
from bpnet.weak.pool_report import pool_report, report_lines

DIM = 24
OBJECTS, CONTEXT = torch.eye(DIM)[:2], torch.eye(DIM)[2]
PROTOTYPES = torch.eye(DIM)[:3]
CONFIG = PoolConfig(intervention="stratified", num_prototypes=4)


def make_videos(with_context: tuple[int, int], count: int = 100) -> tuple[list, list]:
    """``count`` videos of each of two concepts; so many of each have the one context.

    The object is in clips 2 to 5, the context in clips 8 to 12 of 16.
    """
    rng = np.random.default_rng(0)
    videos, concepts = [], []
    for concept, number in enumerate(with_context):
        for place in range(count):
            clips = 0.05 * rng.standard_normal((16, DIM), np.float32)
            clips[2:6] += OBJECTS[concept].numpy()
            if place < number:
                clips[8:13] += CONTEXT.numpy()
            videos.append(clips)
            concepts.append((concept,))
    return videos, concepts


def fitted(with_context: tuple[int, int], config: PoolConfig = CONFIG) -> ContextPool:
    videos, concepts = make_videos(with_context)
    pool = ContextPool(config, DIM, 2)
    return pool.fit(videos, concepts, prototypes=PROTOTYPES)


def test_tables_are_counts_of_videos() -> None:
    pool = fitted((80, 10))
    assert pool.num_videos == 200 and pool.concept_videos.tolist() == [100, 100]
    assert pool.present_videos.tolist() == [100, 100, 90, 0]
    assert pool.pair_videos.tolist() == [[100, 0, 80, 0], [0, 100, 10, 0]]
    given, otherwise = pool.rates()
    assert given[0].tolist() == pytest.approx([1.0, 0.0, 0.8, 0.0])
    assert otherwise[0].tolist() == pytest.approx([0.0, 1.0, 0.1, 0.0])


def test_the_context_is_a_stratum_and_the_object_is_none() -> None:
    pool = fitted((80, 10))
    assert pool.strata.tolist() == [[False, False, True, False], [False] * 4]
    # 90 of 200 videos show it, which is prototype 2, stratum 3.
    assert pool.prior.tolist() == pytest.approx([0.55, 0, 0, 0.45, 0])
    videos, _ = make_videos((80, 10))
    batch = torch.from_numpy(np.stack([videos[0], videos[99], videos[105]]))
    context = pool(batch, torch.ones(3, 16, dtype=torch.bool))
    assert context.strata.tolist() == [3, 0, 3]
    assert context.present.tolist() == [
        [True, False, True, False],
        [True, False, False, False],
        [False, True, True, False],
    ]


def test_what_contexts_tell_by_hand() -> None:
    """P(k | z) / P(k), as if one more video with the rate P(k) had been seen."""
    pool = fitted((80, 10))
    assert pool.tells
    absent, present = math.log(20.5 / 111 / 0.5), math.log(80.5 / 91 / 0.5)
    assert pool.log_lift[0].tolist() == pytest.approx([absent, present])
    assert pool.log_lift[1].tolist() == [0, 0]  # it has no stratum
    videos, _ = make_videos((80, 10))
    batch = torch.from_numpy(np.stack([videos[0], videos[99]]))  # with the context, and without
    seen = pool(batch, torch.ones(2, 16, dtype=torch.bool)).present
    named = torch.tensor([[True, False], [False, True], [True, True], [False, False]])
    expected = torch.tensor([[present, 0, present, 0], [absent, 0, absent, 0]])
    torch.testing.assert_close(pool.told(seen, named), expected)
    # Over all contexts with their rates it tells nothing, but for the video that was not seen.
    rates = torch.tensor([0.55, 0.45])
    assert float(rates @ pool.log_lift[0].exp()) == pytest.approx(1, abs=0.01)


def test_without_strata_nothing_is_told() -> None:
    assert not fitted((50, 50)).tells


def test_looks_of_a_concept_that_is_not_seen_itself_tell_nothing() -> None:
    """Half of the cups are blue, the others have no prototype: blue cups are no context of cups."""
    videos, concepts = make_videos((80, 10))
    pool = ContextPool(CONFIG, DIM, 2).fit(videos, concepts, prototypes=PROTOTYPES[1:])
    assert pool.strata.any()
    assert not pool.tells


def test_fitted_prototypes_find_the_same() -> None:
    videos, concepts = make_videos((80, 10))
    config = dataclasses.replace(CONFIG, num_prototypes=32)
    pool = ContextPool(config, DIM, 2).fit(videos, concepts)
    (place,) = pool.strata.any(dim=0).nonzero().flatten().tolist()
    assert float(pool.prototypes[place] @ CONTEXT) > 0.9  # the mean of all clips is taken away
    assert pool.pair_videos[:, place].tolist() == [80, 10]
    again = ContextPool(config, DIM, 2).fit(videos, concepts)
    for name, value in pool.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_padding_changes_nothing() -> None:
    pool = fitted((80, 10))
    video = torch.from_numpy(make_videos((80, 10))[0][0])[None]
    padded = torch.cat([video, torch.full((1, 9, DIM), 3.0)], dim=1)
    mask = torch.arange(25)[None] < 16
    alone = pool(video, torch.ones(1, 16, dtype=torch.bool))
    beside = pool(padded, mask)
    assert torch.equal(alone.strata, beside.strata) and torch.equal(alone.present, beside.present)


def test_weights_make_the_context_as_frequent_as_without_the_concept() -> None:
    pool = fitted((80, 10))
    # Of the others 10 % have it: 0.9 / 0.2 without it, 0.1 / 0.8 with it.
    assert pool.weights[0].tolist() == pytest.approx([4.5, 0.125])
    assert pool.weights[1].tolist() == [1.0, 1.0]
    # (20 * 4.5 + 80 * 0.125)^2 / (20 * 4.5^2 + 80 * 0.125^2) = 10000 / 406.25
    assert float(pool.effective[0]) == pytest.approx(24.615, abs=1e-3)
    present = torch.tensor([[True, False, True, False], [True, False, False, False]])
    concepts = torch.tensor([[True, False], [True, False]])
    assert pool.pair_weights(present, concepts).tolist() == pytest.approx([0.125, 4.5])
    other = torch.tensor([[False, True], [False, False]])
    assert pool.pair_weights(present, other).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("with_context", "changes", "status"),
    [
        ((80, 10), {}, "adjusted"),
        ((80, 10), {"min_videos": 101}, "too few videos"),
        ((80, 10), {"min_without": 21}, "not identifiable"),
        ((100, 10), {}, "not identifiable"),
        ((80, 10), {"min_effective": 25}, "too few effective samples"),
    ],
)
def test_it_stands_aside(
    with_context: tuple[int, int], changes: dict[str, int], status: str
) -> None:
    pool = fitted(with_context, dataclasses.replace(CONFIG, **changes))
    (row,) = [
        row for row in pool_report(pool, Concepts({"cup": 0, "dog": 1}, 2)) if row.name == "cup"
    ]
    assert row.status == status
    assert bool((pool.weights == 1).all()) == (status != "adjusted")


def test_without_any_prototype_there_is_no_context() -> None:
    videos, concepts = make_videos((80, 10))
    pool = ContextPool(CONFIG, DIM, 2).fit(videos, concepts, prototypes=torch.eye(DIM)[10:14])
    assert not pool.strata.any() and pool.prior.tolist() == [1, 0, 0, 0, 0]
    rows = pool_report(pool, Concepts({"cup": 0, "dog": 1}, 2))
    assert {row.status for row in rows} == {"no context found"}


def test_the_state_travels_with_the_model() -> None:
    pool = fitted((80, 10))
    pool.maps.update(torch.rand(1, 16), torch.ones(1, 16, dtype=torch.bool), torch.eye(2)[:1] > 0)
    other = ContextPool(CONFIG, DIM, 2)
    other.load_state_dict(pool.state_dict())
    video = torch.from_numpy(np.stack(make_videos((80, 10))[0]))
    mask = torch.ones(200, 16, dtype=torch.bool)
    assert torch.equal(pool(video, mask).strata, other(video, mask).strata)
    assert not list(pool.parameters())
    assert torch.equal(other.maps.maps, pool.maps.maps) and other.maps.maps.abs().sum() > 0


def test_the_report_says_what_was_found_before_and_after() -> None:
    videos, concepts = make_videos((80, 10))
    names = Concepts({"cup": 0, "dog": 1}, 2)
    pool = ContextPool(CONFIG, DIM, 2).fit(videos, concepts, prototypes=PROTOTYPES)
    cup, dog = pool_report(pool, names, videos)
    assert (cup.name, dog.name, dog.strata) == ("cup", "dog", ())
    (stratum,) = cup.strata
    assert stratum.with_concept == pytest.approx(0.8)
    assert stratum.without_concept == pytest.approx(0.1)
    assert stratum.after == pytest.approx(0.1)  # weighted, as frequent as without the concept
    assert len(stratum.examples) == 3
    for example in stratum.examples:
        assert 7 <= example.first_clip and example.end_clip <= 14 and example.cosine > 0.9
    text = "\n".join(report_lines([cup, dog], lambda video, clip: f"v{video} at {clip / 2:g} s"))
    assert "cup: 100 videos, adjusted, 25 effective samples" in text
    assert "in 80.0% of its videos, in 10.0% of the others; after the adjustment 10.0%" in text
    assert f"v{stratum.examples[0].video} at {stratum.examples[0].first_clip / 2:g} s" in text
    assert "not identifiable: 1 concepts (dog)" in text
    backdoor = fitted((80, 10), dataclasses.replace(CONFIG, intervention="backdoor"))
    (stratum,) = pool_report(backdoor, names)[0].strata
    assert stratum.after == pytest.approx(0.45)  # the rate in all videos


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(ConfigError, match=r"pool.intervention='front'.*pool.stratum_gap=2"):
        PoolConfig(intervention="front", stratum_gap=2)
    with pytest.raises(ConfigError, match="0 videos with concepts of 0"):
        ContextPool(CONFIG, DIM, 2).fit([], [])
    with pytest.raises(ConfigError, match="1 videos with concepts of 2"):
        ContextPool(CONFIG, DIM, 2).fit([np.zeros((4, DIM), np.float32)], [(0,), (1,)])


def test_table_marks_each_set() -> None:
    table = concept_table([(0, 2), ()], 3)
    assert table.tolist() == [[True, False, True], [False, False, False]]
