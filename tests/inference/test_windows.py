"""Long videos in windows: each answered as a video of its own, and nothing lost at their edges."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import pytest
import tiny_run
from hypothesis import given
from hypothesis import strategies as st

from bpnet import Localizer, Moment
from bpnet.inference.opened import OpenedVideo
from bpnet.inference.windows import Window, cut, merge
from bpnet_features import ClipGrid

QUERIES = [f"the small circle {word}" for word in tiny_run.WORDS]
LENGTH = 16  # clips of the longest video of training, and positions of the model


def long_video(events: dict[int, tuple[int, int]], num_clips: int = 150) -> npt.NDArray[np.float32]:
    """Noise, with the event of a word at some clips."""
    clips = np.random.default_rng(0).normal(scale=0.1, size=(num_clips, 8))
    for word, (start, end) in events.items():
        clips[start:end, word] += 2.0
    return clips.astype(np.float32)


def opened(localizer: Localizer, clips: npt.NDArray[np.float32]) -> OpenedVideo:
    return localizer.open_video(clips, grid=ClipGrid.uniform(len(clips), len(clips) / 2, 0.5))


@given(st.integers(1, 300), st.integers(1, 60), st.data())
def test_what_is_shorter_than_half_a_window_lies_in_one(
    num_clips: int, length: int, data: st.DataObject
) -> None:
    grid = ClipGrid.uniform(num_clips, num_clips * 0.5, 0.5)
    windows = cut(grid, length)
    assert {window.grid.num_clips for window in windows} == {min(length, num_clips)}
    assert windows[0].is_first and windows[-1].is_last
    assert [one.is_first for one in windows].count(True) == 1
    assert [one.is_last for one in windows].count(True) == 1
    for one in windows:
        edges = grid.edges_seconds[one.first : one.first + one.grid.num_clips + 1]
        assert one.grid.edges_seconds.tolist() == edges.tolist()
    start = data.draw(st.integers(0, num_clips - 1))
    end = data.draw(st.integers(start + 1, min(num_clips, start + max(1, (length + 1) // 2))))
    assert any(one.first <= start and end <= one.first + one.grid.num_clips for one in windows)


def test_each_window_answers_as_a_video_of_its_clips(localizer: Localizer) -> None:
    assert localizer.reading.window_seconds == LENGTH / 2
    clips = long_video({0: (20, 27), 1: (70, 76), 2: (140, 147)})
    grid = ClipGrid.uniform(len(clips), len(clips) / 2, 0.5)
    found = opened(localizer, clips).predict(QUERIES)
    windows = cut(grid, LENGTH)
    assert len(windows) == 18
    alone = []
    for window in windows:
        part = clips[window.first : window.first + LENGTH]
        answers = opened(localizer, part).predict(QUERIES)
        shift = window.first / 2
        alone.append([moved(one, shift) for one in answers])
    for place, answer in enumerate(found):
        expected = merge([answers[place] for answers in alone], windows, 0.7)
        rows = [
            [(m.start_seconds, m.end_seconds, m.score) for m in one.moments]
            for one in (answer, expected)
        ]
        np.testing.assert_allclose(*rows, atol=1e-5, rtol=0)
        for name in ("start_probabilities", "end_probabilities", "highlight_scores"):
            assert getattr(answer, name).shape == (len(clips),)
            np.testing.assert_allclose(getattr(answer, name), getattr(expected, name), atol=1e-5)
        assert answer.edges_seconds.tolist() == grid.edges_seconds.tolist()
        assert answer.start_probabilities.sum() == pytest.approx(1, abs=1e-5)


def moved(prediction, seconds: float):
    """The answer of a video that begins later."""
    moments = {
        name: tuple(
            dataclasses.replace(
                one,
                start_seconds=one.start_seconds + seconds,
                end_seconds=one.end_seconds + seconds,
            )
            for one in getattr(prediction, name)
        )
        for name in ("moments", "stage_one")
    }
    return dataclasses.replace(
        prediction, **moments, edges_seconds=prediction.edges_seconds + seconds
    )


def test_the_same_clips_later_are_the_same_answer_later(localizer: Localizer) -> None:
    answers = []
    for start in (45, 45 + LENGTH // 2):  # windows lie around both in the same way
        clips = np.zeros((152, 8), dtype=np.float32)
        clips[start : start + 7, 1] = 2.0
        answers.append(opened(localizer, clips).localize(QUERIES[1], top=100))
    rows = [[(m.start_seconds, m.end_seconds, m.score) for m in answer] for answer in answers]
    near = [[row for row in one if 12 < row[0] and row[1] < 42] for one in rows]
    assert 5 < len(near[0]) < len(rows[0])
    shifted = [(start + LENGTH / 4, end + LENGTH / 4, score) for start, end, score in near[0]]
    later = {tuple(np.round(row, 3)) for row in rows[1]}
    assert sum(tuple(np.round(row, 3)) in later for row in shifted) > len(shifted) / 2


def test_answers_of_a_long_video_are_different_moments(localizer: Localizer) -> None:
    video = opened(localizer, long_video({0: (20, 27), 3: (80, 86)}))
    assert video.duration_seconds == 75
    moments = video.localize(QUERIES[0], top=50)
    assert 5 < len(moments) <= 50
    scores = [one.score for one in moments]
    assert scores == sorted(scores, reverse=True)
    for place, one in enumerate(moments):
        assert 0 <= one.start_seconds < one.end_seconds <= 75
        for other in moments[:place]:
            assert overlap(one, other) <= 0.7 + 1e-6


def overlap(one: Moment, other: Moment) -> float:
    inside = min(one.end_seconds, other.end_seconds) - max(one.start_seconds, other.start_seconds)
    joint = max(one.end_seconds, other.end_seconds) - min(one.start_seconds, other.start_seconds)
    return max(0.0, inside) / joint


def test_a_cut_moment_is_left_to_the_window_that_holds_it(localizer: Localizer) -> None:
    """By hand: only what ends at an inner edge, and is short, is passed over."""
    grid = ClipGrid.uniform(24, 24.0, 1.0)
    windows = cut(grid, 16)
    assert [one.first for one in windows] == [0, 8]
    empty = opened(localizer, long_video({}, 16)).predict(QUERIES[:1])[0]

    def answer(window: Window, *moments: Moment):
        edges = window.grid.edges_seconds
        return dataclasses.replace(empty, moments=moments, stage_one=moments, edges_seconds=edges)

    long = Moment(2.0, 16.0, 0.5)  # ends at the first window's end, but no window holds it whole
    cut_off = Moment(12.0, 16.0, 0.9)
    whole = Moment(12.0, 20.0, 0.8)
    at_start = Moment(0.0, 3.0, 0.3)  # the video begins there, so nothing is cut
    found = merge(
        [answer(windows[0], cut_off, long, at_start), answer(windows[1], whole)], windows, 0.7
    )
    assert found.moments == (whole, long, at_start)
    only = merge([answer(windows[0], cut_off), answer(windows[1], cut_off)], windows, 0.7)
    assert only.moments == (cut_off,)  # the second window holds it whole


def test_videos_up_to_twice_as_long_are_pooled_as_evaluation_does(localizer: Localizer) -> None:
    clips = long_video({1: (10, 20)}, 2 * LENGTH)
    video = opened(localizer, clips)
    assert video.predict(QUERIES[:1])[0].edges_seconds.shape == (LENGTH + 1,)
    longer = opened(localizer, long_video({1: (10, 20)}, 2 * LENGTH + 1))
    assert longer.predict(QUERIES[:1])[0].edges_seconds.shape == (2 * LENGTH + 2,)


def test_a_checkpoint_that_does_not_say_reads_all_at_once(localizer: Localizer) -> None:
    old = Localizer(
        localizer.judge.model, localizer.judge._vocabulary, localizer.feature_spec, LENGTH
    )
    assert old.reading.window_seconds == math.inf
    video = opened(old, long_video({1: (10, 20)}))
    assert video.predict(QUERIES[:1])[0].edges_seconds.shape == (LENGTH + 1,)
