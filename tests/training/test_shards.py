"""Shards of a batch: together they are the batch, also for what couples its pairs."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet.data.collate import collate
from bpnet.errors import ConfigError
from bpnet.ranks import ALONE, Ranks, started_ranks
from bpnet.training.batches import EpochBatches
from bpnet.training.mismatches import split_lender, with_strangers
from bpnet.training.shards import Shard, ShardedBatches, shard
from bpnet.types import Annotation, Batch, Sample
from bpnet_features import ClipGrid

VIDEOS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=20)


def shards(videos: list[str], size: int) -> list[Shard]:
    return [shard(range(len(videos)), videos, rank, size) for rank in range(size)]


@given(videos=VIDEOS, size=st.integers(1, 6))
def test_together_they_are_the_batch(videos: list[str], size: int) -> None:
    found = shards(videos, size)
    assert [one for part in found for one in part.samples] == list(range(len(videos)))
    runs = [run for part in found for run in part.runs]
    assert runs[0] == 0
    for place, (before, after) in enumerate(itertools.pairwise(runs)):
        assert after - before == (videos[place] != videos[place + 1])
    for rank, part in enumerate(found):
        assert part.sizes == tuple(len(other.samples) for other in found)
        # Even but for a cut that moved to a change of video, by an eighth of a share at most.
        assert abs(len(part.samples) - len(videos) / size) <= 1 + 2 * (len(videos) // (8 * size))
        before = [run for other in found[:rank] for run in other.runs]
        assert part.continued == bool(before and part.runs and before[-1] == part.runs[0])


def test_cuts_are_moved_to_a_change_of_video() -> None:
    # An even cut lies within the nine of b, one place before c; a slack of 20 // 16 = 1 reaches it.
    videos = list("aa" + "b" * 9 + "c" * 9)
    assert [part.sizes for part in shards(videos, 2)] == [(11, 9)] * 2
    # Nothing changes within reach: the video is cut.
    videos = list("a" * 3 + "b" * 17)
    first, second = shards(videos, 2)
    assert first.sizes == (10, 10) and second.continued and not first.continued
    assert set(second.runs) == {1}


def test_fewer_pairs_than_processes() -> None:
    found = shards(["a", "b"], 3)
    assert [part.sizes for part in found] == [(0, 1, 1)] * 3
    assert [part.samples for part in found] == [(), (0,), (1,)]
    # The process without a pair takes part with one that counts for nothing.
    assert found[0].lender in (0, 1) and not found[0].continued


def test_batches_and_shards_keep_step() -> None:
    batches = EpochBatches(list("aabbccddeef"), 4, seed=3, queries_per_video=2)
    parts = [ShardedBatches(batches, Ranks(rank, 2)) for rank in range(2)]
    for epoch, first in ((0, 0), (1, 2)):
        batches.begin(epoch, first)
        whole = list(batches)
        assert len(whole) == len(list(parts[0])) and len(parts[0]) == len(batches)
        for batch, *found in zip(whole, *(part.shards() for part in parts), strict=True):
            assert [sample for one in found for sample in one.samples] == batch
        for part in parts:
            loaded = [[*one.samples, one.lender] for one in part.shards()]
            assert list(part) == loaded


def batch_of(videos: list[str], numbers: list[int]) -> Batch:
    """Pairs number ``numbers``; the sentence of pair n is the word n + 2, n % 3 + 1 times."""
    arrays = {name: np.full((3 + ord(name) % 4, 2), ord(name), np.float32) for name in set(videos)}
    samples = []
    for number in numbers:
        clips = arrays[videos[number]]
        seconds = float(len(clips))
        samples.append(
            Sample(
                clips,
                ClipGrid.uniform(len(clips), seconds),
                np.full(number % 3 + 1, number + 2),
                np.zeros((number % 3 + 1, 0), np.int64),
                Annotation(f"q{number}", videos[number], "x", 0.0, 1.0, seconds, "train"),
                np.array([0, 1], np.float32),
                np.array([[0, 1]]),
            )
        )
    return collate(samples)


def pairs(batch: Batch) -> list[tuple[float, int, int, int]]:
    """What stands in each row: its video, its clips, its word and its words."""
    return [
        (
            batch.video[video, 0, 0].item(),
            int(batch.video_mask[row].sum()),
            int(batch.query_ids[row, 0]),
            int(batch.query_mask[row].sum()),
        )
        for row, video in enumerate(batch.video_index.tolist())
    ]


@given(videos=VIDEOS, size=st.integers(2, 5))
def test_the_same_strangers_are_asked_in_shards(videos: list[str], size: int) -> None:
    whole = batch_of(videos, list(range(len(videos))))
    expected = Counter(pairs(with_strangers(whole)))
    found: Counter[tuple[float, int, int, int]] = Counter()
    for part in shards(videos, size):
        if not part.samples:
            continue
        own, lender = split_lender(batch_of(videos, [*part.samples, part.lender]))
        assert pairs(own) == pairs(whole)[part.samples[0] : part.samples[-1] + 1]
        # No clip is computed that only the lender's video has.
        assert own.video.shape[1] == max(int(row.sum()) for row in own.video_mask)
        assert len(own.video) == len(set(part.runs))
        found += Counter(pairs(with_strangers(own, lender, not part.continued)))
    assert found == expected


def test_what_torchrun_says() -> None:
    said = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert started_ranks(said) == Ranks(3, 4, 1, 2)
    assert not started_ranks(said).first
    assert started_ranks({}) is ALONE and ALONE.first
    assert started_ranks({"RANK": "0", "WORLD_SIZE": "1"}) is ALONE
    assert started_ranks({"RANK": "1", "WORLD_SIZE": "2"}) == Ranks(1, 2, 1, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"RANK": "2", "WORLD_SIZE": "2"},
        {"RANK": "one", "WORLD_SIZE": "2"},
        {"WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": ""},
    ],
)
def test_what_torchrun_cannot_have_said(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"WORLD_SIZE=.*expected 0 <= RANK < WORLD_SIZE"):
        started_ranks(wrong)
