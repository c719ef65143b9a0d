"""collate: what is padded is what was given, and the masks say where."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from bpnet.data.collate import collate
from bpnet.types import Sample
from bpnet_features import ClipGrid


def sample(clips: int, tokens: int, letters: int, seed: int = 0) -> Sample:
    """Values without a single zero, so that a zero is padding."""
    rng = np.random.default_rng([seed, clips, tokens, letters])
    return Sample(
        video=rng.uniform(1, 2, size=(clips, 3)).astype(np.float32),
        grid=ClipGrid.uniform(clips, 2.0 * clips),
        query_ids=rng.integers(1, 50, size=tokens),
        char_ids=rng.integers(1, 50, size=(tokens, letters)),
        target_span=rng.uniform(0, clips, size=2).astype(np.float32),
        target_cells=rng.integers(0, clips + 1, size=(1, 2)),
    )


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(4, 9)), min_size=1, max_size=5
    )
)
def test_padded_equals_unpadded(shapes: list[tuple[int, int, int]]) -> None:
    samples = [sample(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    batch = collate(samples)
    clips, tokens, letters = (max(sizes) for sizes in zip(*shapes, strict=True))
    assert batch.video.shape == (len(samples), clips, 3)
    assert batch.char_ids.shape == (len(samples), tokens, letters)
    assert batch.video.dtype == torch.float32
    assert batch.query_ids.dtype == batch.char_ids.dtype == torch.int64
    assert batch.video_mask.dtype == batch.query_mask.dtype == torch.bool
    assert batch.samples == tuple(samples)
    for row, (one, (t, n, _)) in enumerate(zip(samples, shapes, strict=True)):
        # What is real is as given, and everything beyond it is zero.
        for found, given_ in (
            (batch.video[row], one.video),
            (batch.query_ids[row], one.query_ids),
            (batch.char_ids[row], one.char_ids),
        ):
            inside = tuple(slice(size) for size in given_.shape)
            assert torch.equal(found[inside], torch.from_numpy(given_))
            assert found.count_nonzero() == given_.size
        assert batch.video_mask[row].tolist() == [place < t for place in range(clips)]
        assert batch.query_mask[row].tolist() == [place < n for place in range(tokens)]
        assert batch.target_spans is not None and batch.target_cells is not None
        assert torch.equal(batch.target_spans[row], torch.from_numpy(one.target_span))
        assert torch.equal(batch.target_cells[row], torch.from_numpy(one.target_cells))


def test_nothing_is_shared_with_the_samples() -> None:
    one = sample(2, 2, 4)
    before = one.video.copy()
    collate([one]).video.zero_()
    assert np.array_equal(one.video, before)


def test_without_characters() -> None:
    bare = [
        dataclasses.replace(s, char_ids=s.char_ids[:, :0])
        for s in (sample(2, 3, 4), sample(5, 1, 4))
    ]
    assert collate(bare).char_ids.shape == (2, 3, 0)


def test_without_truth() -> None:
    known = sample(2, 3, 4)
    unknown = dataclasses.replace(known, target_span=None, target_cells=None)
    for samples in ([unknown], [known, unknown]):
        batch = collate(samples)
        assert batch.target_spans is None and batch.target_cells is None


def test_to_a_device() -> None:
    batch = collate([sample(2, 3, 4), sample(4, 1, 6)])
    moved = batch.to("cpu")
    for field in dataclasses.fields(batch):
        value, expected = getattr(moved, field.name), getattr(batch, field.name)
        assert value is expected or torch.equal(value, expected)
    assert moved.samples == batch.samples


def test_fewer_moments_repeat_the_first() -> None:
    """So that the nearest of them stays the nearest."""
    cells = [[[2, 4]], [[1, 3], [0, 1]], [[0, 1], [1, 2], [3, 4]]]
    one = sample(4, 2, 4)
    batch = collate([dataclasses.replace(one, target_cells=np.array(given)) for given in cells])
    assert batch.target_cells is not None
    assert batch.target_cells.tolist() == [
        [[2, 4], [2, 4], [2, 4]],
        [[1, 3], [0, 1], [1, 3]],
        [[0, 1], [1, 2], [3, 4]],
    ]


def test_neighbours_share_their_clips() -> None:
    one, two = sample(4, 2, 4), sample(3, 2, 4)
    batch = collate([one, two, dataclasses.replace(two, query_ids=one.query_ids), two, one])
    assert batch.video_index.tolist() == [0, 1, 1, 1, 2]
    assert batch.video.shape == (3, 4, 3)
    assert batch.video_mask.sum(dim=1).tolist() == [4, 3, 3, 3, 4]


def test_clips_are_counted_from_the_first() -> None:
    """A window of a video is a video."""
    window = ClipGrid(np.array([4.0, 6.0, 9.0]), 9.0)
    batch = collate([dataclasses.replace(sample(2, 1, 4), grid=window), sample(3, 1, 4)])
    assert batch.clip_seconds.tolist() == [[[0, 2], [2, 5], [0, 0]], [[0, 2], [2, 4], [4, 6]]]
    assert batch.clip_seconds.dtype == torch.float32  # as the clips are, which it is joined to


def test_weights_where_they_differ_from_one() -> None:
    one = sample(2, 1, 4)
    assert collate([one, one]).weights is None
    batch = collate([one, dataclasses.replace(one, weight=0.5)])
    assert batch.weights is not None and batch.weights.tolist() == [1.0, 0.5]


def test_token_features() -> None:
    one, two = sample(2, 3, 4), sample(2, 1, 4)
    assert collate([one, two]).query_features is None
    features = [np.full((len(s.query_ids), 2), 7.0, dtype=np.float32) for s in (one, two)]
    batch = collate(
        [
            dataclasses.replace(s, query_features=values)
            for s, values in zip((one, two), features, strict=True)
        ]
    )
    assert batch.query_features is not None
    assert batch.query_features.tolist() == [[[7, 7], [7, 7], [7, 7]], [[7, 7], [0, 0], [0, 0]]]
