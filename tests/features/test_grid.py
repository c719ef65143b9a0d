"""ClipGrid: seconds and clip positions, nearest cells, the resampling rule."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpnet_features import ClipGrid, FeatureError

counts = st.integers(1, 12)
seconds = st.floats(0.25, 300.0)


@st.composite
def grids(draw: st.DrawFn) -> ClipGrid:
    """Uniform grids, with and without a stride, and uneven ones."""
    num_clips, duration = draw(counts), draw(seconds)
    kind = draw(st.sampled_from(["even", "stride", "uneven"]))
    if kind == "even":
        return ClipGrid.uniform(num_clips, duration)
    if kind == "stride":
        # From clips that cover half of the video to clips that run over by almost one stride.
        share = draw(st.floats(0.5, 1.0))
        reach = num_clips - 0.9 * draw(st.floats(0.0, 1.0)) if num_clips > 1 else 1.0
        return ClipGrid.uniform(num_clips, duration, share * duration / reach)
    steps = draw(st.lists(st.floats(0.1, 5.0), min_size=num_clips, max_size=num_clips))
    edges = np.concatenate([[0.0], np.cumsum(steps)])
    return ClipGrid(edges, float(edges[-1]))


@given(grids(), st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6))
def test_seconds_and_back(grid: ClipGrid, shares: list[float]) -> None:
    positions = np.array(shares) * grid.num_clips
    times = grid.to_seconds(positions)
    assert times.dtype == np.float64
    assert np.all((times >= 0) & (times <= grid.duration_seconds))
    np.testing.assert_allclose(grid.to_clips(times), positions, atol=1e-6 * grid.num_clips)


@given(grids())
def test_grid_ends_with_the_video(grid: ClipGrid) -> None:
    assert grid.edges_seconds[-1] == grid.duration_seconds
    assert np.all(np.diff(grid.to_seconds(np.arange(grid.num_clips + 1))) > 0)


def test_positions_outside_move_to_the_ends() -> None:
    grid = ClipGrid.uniform(4, 8.0)
    assert grid.to_seconds([[-1.0, 5.0]]).tolist() == [[0.0, 8.0]]
    assert grid.to_clips([-3.0, 9.0]).tolist() == [0.0, 4.0]


def test_uniform_by_hand() -> None:
    assert ClipGrid.uniform(4, 10.0).edges_seconds.tolist() == [0, 2.5, 5, 7.5, 10]
    # The last clip reaches to the end of the video, however long it gets.
    assert ClipGrid.uniform(3, 10.0, 2.0).edges_seconds.tolist() == [0, 2, 4, 10]
    assert ClipGrid.uniform(3, 5.0, 2.0).edges_seconds.tolist() == [0, 2, 4, 5]
    assert ClipGrid.uniform(2, 5.0, 2.0, 1.0).edges_seconds.tolist() == [1, 3, 5]
    # A clip that would begin at the end of the video shares the last stretch, 2 to 4 s.
    assert ClipGrid.uniform(3, 4.0, 2.0).edges_seconds.tolist() == [0, 2, 3, 4]
    assert ClipGrid.uniform(3, 2.5, 2.0).edges_seconds.tolist() == [0, 2, 2.25, 2.5]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((0, 8.0), "num_clips=0"),
        ((4, 0.0), r"duration_seconds=0\.0"),
        ((4, float("nan")), "duration_seconds=nan"),
        ((4, float("inf"), 1.0), "duration_seconds=inf"),
        ((4, 8.0, 0.0), r"stride_seconds=0\.0"),
        ((4, 8.0, float("inf")), "stride_seconds=inf"),
        ((4, 8.0, 2.0, -1.0), r"start_seconds=-1\.0"),
        ((4, 4.0, 2.0), r"4 clips of 2 s each begin as late as 6\.00 s.*ends at 4\.00 s"),
        ((1, 4.0, 2.0, 4.0), r"1 clips.*4\.00 s"),
        ((4, 4.0, None, 5.0), "strictly increasing"),
    ],
)
def test_uniform_refuses(arguments: tuple[float, ...], match: str) -> None:
    with pytest.raises(FeatureError, match=match):
        ClipGrid.uniform(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("edges", [[0.0], [], [[0.0, 1.0]], [0.0, 1.0, 1.0], [0.0, np.nan]])
def test_edges_are_checked(edges: list[float]) -> None:
    with pytest.raises(FeatureError, match="grid edges"):
        ClipGrid(np.array(edges), 1.0)


def test_edges_are_kept_in_double_precision() -> None:
    grid = ClipGrid(np.array([0, 1, 3], dtype=np.float32), 3.0)
    assert grid.edges_seconds.dtype == np.float64
    assert ClipGrid([0, 1, 3], 3.0).to_seconds(1.5) == 2.0  # type: ignore[arg-type]


def brute_force_cells(grid: ClipGrid, start: float, end: float) -> tuple[int, int]:
    edges, best, best_iou = grid.edges_seconds, (-1, -1), -1.0
    for i in range(grid.num_clips):
        for j in range(i + 1, grid.num_clips + 1):
            overlap = max(0.0, min(edges[j], end) - max(edges[i], start))
            iou = overlap / (max(edges[j], end) - min(edges[i], start))
            if iou > best_iou:
                best, best_iou = (i, j), iou
    return best


@given(grids(), st.floats(0.0, 0.98), st.floats(0.01, 1.0))
def test_nearest_cells_is_the_best_of_all(grid: ClipGrid, share: float, length: float) -> None:
    start = share * grid.duration_seconds
    end = min(start + length * grid.duration_seconds, grid.duration_seconds)
    assert grid.nearest_cells(start, end) == brute_force_cells(grid, start, end)


@given(counts, st.data())
def test_nearest_cells_takes_the_first_of_equal_ones(num_clips: int, data: st.DataObject) -> None:
    # Halves on a grid of whole seconds: many exact ties.
    grid = ClipGrid.uniform(num_clips, float(num_clips))
    start = data.draw(st.integers(0, 2 * num_clips - 1))
    end = data.draw(st.integers(start + 1, 2 * num_clips))
    moment = (start / 2, end / 2)
    assert grid.nearest_cells(*moment) == brute_force_cells(grid, *moment)


def test_nearest_cells_by_hand() -> None:
    grid = ClipGrid.uniform(4, 8.0)  # edges 0 2 4 6 8
    assert grid.nearest_cells(2.0, 6.0) == (1, 3)
    assert grid.nearest_cells(2.5, 3.0) == (1, 2)
    assert grid.nearest_cells(3.0, 5.0) == (1, 3)  # 2/4; one cell alone 1/3
    assert grid.nearest_cells(0.0, 8.0) == (0, 4)
    assert ClipGrid.uniform(1, 5.0).nearest_cells(4.0, 5.0) == (0, 1)
    # Before the first clip, and behind the last: the clip that is nearest.
    late = ClipGrid(np.array([3.0, 4.0, 5.0]), 9.0)
    assert [late.nearest_cells(0.0, 1.0), late.nearest_cells(6.0, 7.0)] == [(0, 1), (1, 2)]
    # [0, 1): 1/2, and [0, 4): 2/4: the first counts.
    assert ClipGrid(np.array([0.0, 1.0, 4.0]), 4.0).nearest_cells(0.0, 2.0) == (0, 1)


def test_boundaries_round_half_to_even() -> None:
    # 5 clips in 2 groups: 0, 2.5 -> 2, 5.  7 in 2: 0, 3.5 -> 4, 7.
    assert ClipGrid.uniform(5, 5.0).boundaries(2).tolist() == [0, 2, 5]
    assert ClipGrid.uniform(7, 7.0).boundaries(2).tolist() == [0, 4, 7]
    # 10 in 4: 0, 2.5 -> 2, 5, 7.5 -> 8, 10.
    assert ClipGrid.uniform(10, 10.0).boundaries(4).tolist() == [0, 2, 5, 8, 10]


def test_resample_by_hand() -> None:
    clips = np.array([[1.0], [3.0], [5.0], [7.0], [9.0]], dtype=np.float32)
    pooled, grid = ClipGrid.uniform(5, 10.0).resample(clips, 2)
    # Boundaries 0, 2 and min(5, 4): (1 + 3) / 2, (5 + 7) / 2; the last clip is not read.
    assert pooled.tolist() == [[2.0], [6.0]]
    assert pooled.dtype == np.float32
    assert grid.edges_seconds.tolist() == [0, 4, 10]
    assert grid.duration_seconds == 10.0


def test_resample_to_more_positions_repeats_clips() -> None:
    clips = np.array([[1.0], [3.0]], dtype=np.float32)
    # b = 0, 0.4 -> 0, 0.8 -> 1, 1.2 -> 1, 1.6 -> 2, 2: clips 0, 0, 1, 1, min(2, 1).
    pooled, grid = ClipGrid.uniform(2, 10.0).resample(clips, 5)
    assert pooled[:, 0].tolist() == [1, 1, 3, 3, 3]
    assert grid.edges_seconds.tolist() == [0, 2, 4, 6, 8, 10]


def test_resample_of_as_many_changes_nothing() -> None:
    clips = np.arange(12, dtype=np.float32).reshape(4, 3)
    pooled, grid = ClipGrid.uniform(4, 8.0).resample(clips, 4)
    assert np.array_equal(pooled, clips)
    assert grid.edges_seconds.tolist() == [0, 2, 4, 6, 8]


def test_resample_one_clip() -> None:
    clips = np.array([[1.0, 2.0]], dtype=np.float32)
    pooled, grid = ClipGrid.uniform(1, 3.0).resample(clips, 3)
    assert pooled.tolist() == [[1, 2]] * 3
    assert grid.edges_seconds.tolist() == [0, 1, 2, 3]
    assert ClipGrid.uniform(4, 8.0).resample(np.ones((4, 2)), 1)[0].tolist() == [[1, 1]]


def test_resample_sums_float16_in_float32() -> None:
    clips = np.full((1000, 1), 300.0, dtype=np.float16)
    pooled, _ = ClipGrid.uniform(1000, 1000.0).resample(clips, 2)
    assert pooled.tolist() == [[300.0], [300.0]]


@given(st.integers(1, 40), st.data())
def test_resample_follows_the_published_rule(num_clips: int, data: st.DataObject) -> None:
    num_positions = data.draw(st.integers(1, 2 * num_clips))
    clips = np.random.default_rng(num_clips).normal(size=(num_clips, 3)).astype(np.float32)
    grid = ClipGrid.uniform(num_clips, 10.0)
    pooled, coarse = grid.resample(clips, num_positions)
    assert pooled.shape == (num_positions, 3) and coarse.num_clips == num_positions
    # Python's round, like the published one, takes a half to the even neighbour.
    bounds = [
        min(round(i * num_clips / num_positions), num_clips - 1) for i in range(num_positions + 1)
    ]
    for position, (first, end) in enumerate(itertools.pairwise(bounds)):
        expected = clips[first:end].mean(axis=0) if first < end else clips[first]
        np.testing.assert_allclose(pooled[position], expected, atol=1e-6)


def test_resample_refuses() -> None:
    grid = ClipGrid.uniform(4, 8.0)
    with pytest.raises(FeatureError, match="3 clips on a grid of 4"):
        grid.resample(np.ones((3, 2)), 2)
    with pytest.raises(FeatureError, match="num_positions=0"):
        grid.resample(np.ones((4, 2)), 0)
