"""Videos with seconds put before them: features, times and truth move together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bpnet.data.dataset import MomentDataset
from bpnet.data.vocabulary import build_vocabulary
from bpnet.evaluation.changed import Before, ChangedDataset, Elsewhere, Instead, Noise, fillings
from bpnet.types import Annotation
from bpnet_features import FeatureStore


@pytest.fixture
def dataset(tiny_store: Path, tiny_annotations: list[Annotation]) -> MomentDataset:
    vocabulary, _ = build_vocabulary(
        [one.query for one in tiny_annotations],
        tokenizer="words",
        characters=False,
        max_query_tokens=10,
    )
    return MomentDataset(tiny_annotations, FeatureStore(tiny_store), vocabulary, max_clips=64)


def test_a_video_begins_later_and_is_otherwise_the_same(dataset: MomentDataset) -> None:
    noise, _ = fillings(dataset)
    changed = ChangedDataset(dataset, Before(3.2, noise))  # 6.4 clips of 0.5 s: six
    assert len(changed) == len(dataset) == 8
    for before, after in zip(map(dataset.__getitem__, range(8)), changed, strict=False):
        assert len(after.video) == 16 + 6
        np.testing.assert_array_equal(after.video[6:], before.video)
        np.testing.assert_allclose(after.grid.edges_seconds[6:], before.grid.edges_seconds + 3)
        np.testing.assert_allclose(after.grid.edges_seconds[:6], 0.5 * np.arange(6))
        assert after.grid.duration_seconds == before.grid.duration_seconds + 3
        assert before.annotation is not None and after.annotation is not None
        assert after.annotation.start_seconds == before.annotation.start_seconds + 3
        assert after.annotation.end_seconds == before.annotation.end_seconds + 3
        np.testing.assert_allclose(after.target_span, before.target_span + 6)
        np.testing.assert_array_equal(after.query_ids, before.query_ids)


def test_at_least_one_clip_and_the_same_ones_each_time(dataset: MomentDataset) -> None:
    noise, elsewhere = fillings(dataset)
    assert elsewhere is not None
    for filling in (noise, elsewhere):
        first, again = (ChangedDataset(dataset, Before(0.01, filling))[3].video for _ in range(2))
        assert len(first) == 17
        np.testing.assert_array_equal(first, again)


def test_pairs_about_one_video_share_its_array(dataset: MomentDataset) -> None:
    changed = ChangedDataset(dataset, Before(1.0, fillings(dataset)[0]))
    assert changed[0].video is changed[1].video
    assert changed[1].video is not changed[2].video


def test_longer_videos_are_pooled_to_the_model(dataset: MomentDataset) -> None:
    short = MomentDataset(dataset.annotations, dataset.store, dataset.vocabulary, max_clips=16)
    sample = ChangedDataset(short, Before(8.0, fillings(short)[0]))[0]
    assert sample.video.shape == (16, 8)
    assert sample.grid.edges_seconds[-1] == pytest.approx(16)


def test_clips_from_elsewhere_are_other_videos_unasked_ones(dataset: MomentDataset) -> None:
    # v0 is asked about from 0 to 4.5 s of 8 s, each next video from half a second later.
    _, elsewhere = fillings(dataset)
    assert elsewhere is not None
    assert {name: len(piece) for name, piece in elsewhere.pieces.items()} == {
        "v0": 0 + 7,
        "v1": 1 + 6,
        "v2": 2 + 5,
        "v3": 3 + 4,
    }
    np.testing.assert_array_equal(elsewhere.pieces["v0"], dataset.store.read("v0")[0][9:])
    for name in elsewhere.pieces:
        found = elsewhere.clips(name, 7)
        sources = [
            other
            for other, piece in elsewhere.pieces.items()
            if np.array_equal(found, piece[np.arange(7) % len(piece)])
        ]
        assert len(sources) == 1 and sources != [name]


def test_noise_is_spread_like_the_features(dataset: MomentDataset) -> None:
    noise, _ = fillings(dataset)
    every = np.concatenate([dataset.store.read(f"v{number}")[0] for number in range(4)])
    drawn = noise.clips("v0", 20000)
    np.testing.assert_allclose(drawn.mean(axis=0), every.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(drawn.std(axis=0), every.std(axis=0), rtol=0.05)


def test_nothing_is_left_of_a_video(dataset: MomentDataset) -> None:
    before = dataset[0]
    after = ChangedDataset(dataset, Instead(Noise(np.zeros(8), np.zeros(8))))[0]
    assert not after.video.any() and len(after.video) == len(before.video)
    assert after.annotation == before.annotation


def test_one_video_has_no_other(tiny_store: Path, dataset: MomentDataset) -> None:
    alone = MomentDataset(dataset.annotations[:2], dataset.store, dataset.vocabulary, max_clips=64)
    assert fillings(alone)[1] is None
    assert isinstance(fillings(dataset)[1], Elsewhere)
