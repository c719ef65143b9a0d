"""MomentDataset: what a sample holds, missing videos, cut queries, long videos."""

from __future__ import annotations

import dataclasses
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet.data.dataset import MomentDataset, fit_clips, make_sample, one_a_moment
from bpnet.data.vocabulary import Vocabulary, build_vocabulary
from bpnet.errors import AnnotationError, MissingVideoError
from bpnet.types import Annotation
from bpnet_features import ClipGrid, FeatureSpec, FeatureStore, FeatureWriter

WORDS = build_vocabulary(
    ["person opens the door", "a red circle moves to the left"],
    tokenizer="words",
    characters=True,
    max_query_tokens=8,
    min_character_count=1,
)[0]


@pytest.fixture
def store(tiny_store: Path) -> Iterator[FeatureStore]:
    with FeatureStore(tiny_store) as opened:
        yield opened


def about(start: float, end: float, duration: float = 8.0, video_id: str = "v0") -> Annotation:
    return Annotation("q", video_id, "person opens the door", start, end, duration, "train")


def test_samples(store: FeatureStore, tiny_annotations: list[Annotation]) -> None:
    dataset = MomentDataset(tiny_annotations, store, WORDS, max_clips=16)
    assert len(dataset) == 8
    assert (dataset.num_dropped, dataset.num_cut) == (0, 0)
    for index, annotation in enumerate(tiny_annotations):
        sample = dataset[index]
        clips, _ = store.read(annotation.video_id)
        assert np.array_equal(sample.video, clips) and sample.video.dtype == np.float32
        assert sample.annotation is annotation
        ids, letters = WORDS.encode(annotation.query)
        assert np.array_equal(sample.query_ids, ids)
        assert np.array_equal(sample.char_ids, letters)
        # Clips of 0.5 s: a time in seconds is twice as many positions.
        assert sample.target_span is not None and sample.target_span.dtype == np.float32
        assert sample.target_span.tolist() == [
            2 * annotation.start_seconds,
            2 * annotation.end_seconds,
        ]


@given(st.floats(0, 7.9), st.floats(0.05, 8), st.integers(1, 16))
def test_cells_lie_beside_the_span(start: float, length: float, num_clips: int) -> None:
    end = min(start + length, 8.0)
    grid = ClipGrid.uniform(num_clips, 8.0)
    clips = np.zeros((num_clips, 2), dtype=np.float32)
    sample = make_sample(clips, grid, "open", WORDS, about(start, end))
    assert sample.target_span is not None and sample.target_cells is not None
    assert sample.target_cells.dtype == np.int64
    low, high = sample.target_cells[0]
    assert 0 <= low < high <= num_clips
    assert np.abs(sample.target_cells[0] - sample.target_span).max() <= 1


def test_a_moment_behind_the_features_is_their_last_clip() -> None:
    """A span of no length has no features, and its loss is no number."""
    clips, grid = np.zeros((16, 8), np.float32), ClipGrid.uniform(16, 8.0)
    sample = make_sample(clips, grid, "person opens", WORDS, about(8.5, 9.5, duration=10.0))
    assert sample.target_span is not None and sample.target_span.tolist() == [15.0, 16.0]


def test_sample_without_truth() -> None:
    sample = make_sample(np.zeros((3, 2), np.float32), ClipGrid.uniform(3, 6.0), "open", WORDS)
    assert sample.annotation is sample.target_span is sample.target_cells is None


def test_missing_videos_are_an_error(
    store: FeatureStore, tiny_annotations: list[Annotation]
) -> None:
    gone = [about(0, 1, video_id=f"gone{i}") for i in range(7)]
    with pytest.raises(MissingVideoError) as info:
        MomentDataset([*tiny_annotations, *gone, gone[0]], store, WORDS, max_clips=16)
    message = str(info.value)
    assert "7 of the videos" in message and str(store.path) in message
    assert "gone0, gone1, gone2, gone3, gone4, ..." in message and "gone5" not in message
    assert "data.missing=drop" in message


def test_missing_videos_are_dropped_and_counted(
    store: FeatureStore, tiny_annotations: list[Annotation], caplog: pytest.LogCaptureFixture
) -> None:
    gone = [about(0, 1, video_id="gone"), about(2, 3, video_id="gone"), about(0, 1, video_id="x")]
    mixed = [gone[0], *tiny_annotations[:5], *gone[1:], *tiny_annotations[5:]]
    with caplog.at_level(logging.WARNING):
        dataset = MomentDataset(mixed, store, WORDS, max_clips=16, missing="drop")
    assert dataset.num_dropped == 3
    assert dataset.annotations == tiny_annotations
    assert "dropped 3 of 11 queries: 2 videos" in caplog.text


def test_nothing_left(store: FeatureStore) -> None:
    with pytest.raises(AnnotationError, match="no query of 1 is left"):
        MomentDataset([about(0, 1, video_id="x")], store, WORDS, max_clips=16, missing="drop")
    with pytest.raises(AnnotationError, match="no query of 0 is left"):
        MomentDataset([], store, WORDS, max_clips=16)


def test_cut_queries_are_counted(
    store: FeatureStore, tiny_annotations: list[Annotation], caplog: pytest.LogCaptureFixture
) -> None:
    short = dataclasses.replace(WORDS, max_query_tokens=4)
    with caplog.at_level(logging.WARNING):
        dataset = MomentDataset(tiny_annotations, store, short, max_clips=16)
    # "person opens the door" has four words; "a red circle moves to the left" has seven.
    assert dataset.num_cut == 4
    assert "cut 4 of 8 queries to 4 tokens" in caplog.text
    assert [len(dataset[i].query_ids) for i in range(2)] == [4, 4]


def test_query_without_words(store: FeatureStore) -> None:
    with pytest.raises(AnnotationError, match=r"'\?!' has no words"):
        MomentDataset([dataclasses.replace(about(0, 1), query="?!")], store, WORDS, max_clips=16)


def test_long_video_is_pooled_and_so_are_its_targets(store: FeatureStore) -> None:
    sample = MomentDataset([about(1.0, 3.2)], store, WORDS, max_clips=4)[0]
    clips, grid = store.read("v0")
    # 16 clips of 0.5 s to 4 of 2 s: each the mean of four (of the last one see the grid's tests).
    assert sample.video.dtype == np.float32
    means = clips.reshape(4, 4, 8).mean(axis=1)
    np.testing.assert_allclose(sample.video[:3], means[:3], rtol=1e-5)
    assert np.array_equal(sample.video, grid.resample(clips, 4)[0])
    assert sample.grid.edges_seconds.tolist() == [0, 2, 4, 6, 8]
    # 1 / 2 and 3.2 / 2. Of whole clips 0 to 4 s has an IoU of 2.2/4, 2 to 4 s of 1.2/3, 0 to 2 s
    # of 1/3.2.
    assert sample.target_span is not None and sample.target_cells is not None
    np.testing.assert_allclose(sample.target_span, [0.5, 1.6], rtol=1e-6)
    assert sample.target_cells.tolist() == [[0, 2]]


def test_pooling_to_uneven_groups() -> None:
    clips = np.arange(5, dtype=np.float32)[:, None]
    grid = ClipGrid.uniform(5, 10.0)
    pooled, coarse = fit_clips(clips, grid, 3)
    # Boundaries round(5 i / 3) = 0, 2, 3, 5: means of clips 0 and 1, of 2, of the rest.
    assert pooled[:2, 0].tolist() == [0.5, 2]
    assert len(pooled) == 3
    assert coarse.edges_seconds.tolist() == [0, 4, 6, 10]
    same, same_grid = fit_clips(clips, grid, 5)
    assert same is clips and same_grid is grid


def test_one_clip(tmp_path: Path) -> None:
    path = tmp_path / "one.h5"
    with FeatureWriter(path, FeatureSpec(backbone="one", feature_dim=2)) as writer:
        writer.add("v0", [[1.0, 2.0]], duration_seconds=3.0)
        writer.add("v1", np.ones((9, 2)), duration_seconds=3.0)
    with FeatureStore(path) as store:
        moments = [about(1.0, 2.0, 3.0), about(1.0, 2.0, 3.0, "v1")]
        for max_clips, index in ((4, 0), (1, 1)):  # has one clip; is pooled to one
            sample = MomentDataset(moments, store, WORDS, max_clips)[index]
            assert len(sample.video) == sample.grid.num_clips == 1
            assert sample.target_cells is not None and sample.target_cells.tolist() == [[0, 1]]


def test_one_read_an_item(
    store: FeatureStore, tiny_annotations: list[Annotation], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    read = store.read
    monkeypatch.setattr(store, "read", lambda *args: asked.append(args) or read(*args))
    dataset = MomentDataset(tiny_annotations, store, WORDS, max_clips=16)
    assert asked == []  # nothing is read before it is asked for
    dataset[3]
    dataset[6]
    assert asked == [("v1", 8.0), ("v3", 8.0)]


def test_survives_the_way_to_a_worker(
    store: FeatureStore, tiny_annotations: list[Annotation]
) -> None:
    dataset = MomentDataset(tiny_annotations, store, WORDS, max_clips=16)
    expected = dataset[5]
    again: MomentDataset = pickle.loads(pickle.dumps(dataset))
    sample = again[5]
    again.store.close()
    assert np.array_equal(sample.video, expected.video)
    assert np.array_equal(sample.char_ids, expected.char_ids)
    assert isinstance(again.vocabulary, Vocabulary) and again.vocabulary == WORDS


def test_every_moment_trains_a_pair_of_its_own() -> None:
    one = Annotation("a", "v", "a dog runs", 1.0, 2.0, 8.0, "train")
    two = dataclasses.replace(one, qid="b", other_moments=((3.0, 4.0), (6.0, 7.0)))
    pairs = one_a_moment([one, two])
    assert pairs[0] == one
    assert [pair.qid for pair in pairs] == ["a", "b", "b", "b"]
    assert [pair.moments[0] for pair in pairs[1:]] == [(1.0, 2.0), (3.0, 4.0), (6.0, 7.0)]
    assert {frozenset(pair.moments) for pair in pairs[1:]} == {frozenset(two.moments)}
