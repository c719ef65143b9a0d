"""EpochBatches: the order that earlier runs had, and batches of similar lengths."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet.training import batches as batches_module
from bpnet.training.batches import EpochBatches


def test_the_order_stays_what_it_was() -> None:
    """A run that is resumed with a later version must go on with the same batches.

    The numbers were printed by the version that first grouped samples by video.
    """
    batches = EpochBatches("aabbbbcddeeeee", 5, seed=3, queries_per_video=2)
    batches.begin(4, 0)
    assert list(batches) == GROUPED
    shuffled = EpochBatches("aabbbbcddeeeee", 5, seed=3)
    shuffled.begin(4, 1)
    assert list(shuffled) == SHUFFLED


GROUPED = [[1, 0, 12, 13, 11], [10, 6, 4, 2, 9], [3, 5, 7, 8]]
SHUFFLED = [[11, 3, 5, 4, 6], [10, 2, 9, 8]]


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=80),
    batch_size=st.integers(1, 20),
    seed=st.integers(0, 2**40),
    per_video=st.integers(1, 4),
)
def test_every_sample_is_in_one_batch(
    lengths: list[int], batch_size: int, seed: int, per_video: int
) -> None:
    videos = [f"{length}{number % 7}" for number, length in enumerate(lengths)]
    batches = EpochBatches(videos, batch_size, seed, per_video, lengths)
    found = list(batches)
    assert sorted(itertools.chain(*found)) == list(range(len(lengths)))
    assert [len(batch) for batch in found[:-1]] == [batch_size] * (len(found) - 1)
    assert len(found) == len(batches)
    batches.begin(0, len(found) // 2)
    assert list(batches) == found[len(found) // 2 :]
    for batch in found:  # samples about one video stand side by side
        kinds = [videos[number] for number in batch]
        if per_video >= len(videos):
            assert len(list(itertools.groupby(kinds))) == len(set(kinds))


@pytest.mark.parametrize(("pool", "groups"), [(1, 8), (4, 2), (100, 1)])
def test_batches_of_similar_lengths(
    monkeypatch: pytest.MonkeyPatch, pool: int, groups: int
) -> None:
    """Of 8 batches those that are sorted together differ in length by no more than a step."""
    monkeypatch.setattr(batches_module, "POOL_BATCHES", pool)
    lengths = [float(number % 40) for number in range(80)]
    batches = EpochBatches(range(80), 10, 0, lengths=lengths)
    found = [[lengths[number] for number in batch] for batch in batches]
    spans = [max(batch) - min(batch) for batch in found]
    if groups == 1:
        assert spans == [4.0] * 8  # 40 lengths, twice each, in batches of 10
    means = [sum(batch) for batch in found]
    assert means != sorted(means)  # the batches themselves come in any order
    by_chance = EpochBatches(range(80), 10, 0)
    chance = [[lengths[number] for number in batch] for batch in by_chance]
    wide = sum(max(batch) - min(batch) for batch in chance)
    assert sum(spans) == wide if pool == 1 else sum(spans) < wide / 1.5


def test_lengths_change_with_the_epoch() -> None:
    batches = EpochBatches(range(40), 4, 0, lengths=[1.0] * 40)
    first = list(batches)
    batches.begin(1, 0)
    assert list(batches) != first
