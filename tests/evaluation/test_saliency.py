"""Highlight mAP and HIT@1, worked by hand; videos of four clips of two seconds."""

from __future__ import annotations

import numpy as np
import pytest

from bpnet.errors import AnnotationError
from bpnet.evaluation.saliency import highlight_metrics
from bpnet.types import Saliency

# Clips 1 and 2 are judged by three people, clips 0 and 3 by nobody: 0.
TRUTH = Saliency(clip_ids=(1, 2), scores=((4, 2, 0), (3, 4, 1)))


def found(scores, truth=TRUTH, duration=8.0):
    return highlight_metrics([scores], [truth], [duration])


def test_a_perfect_ranking():
    # Fair (>= 2): clips 1, 2 for the first two people, none for the third.
    # VeryGood (4): clip 1 for the first, clip 2 (rank 2: 1/2) for the second, none for the third.
    metrics = found([0.1, 0.9, 0.8, 0.2])
    assert metrics == pytest.approx(
        {
            "mAP,Fair": 100 * (1 + 1 + 0) / 3,
            "HIT@1,Fair": 100.0,
            "mAP,Good": 100 * (1 + 1 / 2 + 0) / 3,  # Good (>= 3): 1 and 2; 2; none
            "HIT@1,Good": 100.0,
            "mAP,VeryGood": 100 * (1 + 1 / 2 + 0) / 3,
            "HIT@1,VeryGood": 100.0,
        }
    )


def test_interpolation():
    # Ranks of the highlights 1 and 2 are 2 and 3: precision 1/2, then 2/3, which is the larger at
    # a higher recall; the mean over the two steps is 2/3, for two people of three.
    metrics = found([0.9, 0.8, 0.7, 0.1])
    assert metrics["mAP,Fair"] == pytest.approx(100 * 2 / 3 * 2 / 3)
    assert metrics["HIT@1,Fair"] == 0.0


def test_equal_scores_are_one_step():
    # All four clips at once: recall goes to 1 in one step, of precision 2/4 (two people).
    metrics = found([0.5, 0.5, 0.5, 0.5])
    assert metrics["mAP,Fair"] == pytest.approx(100 * (2 / 4 + 2 / 4) / 3)
    assert metrics["HIT@1,Fair"] == 0.0  # the first of them
    # The first clip alone, then the others: one step, 2/4 again.
    assert found([0.9, 0.5, 0.5, 0.5])["mAP,Fair"] == pytest.approx(100 * (1 / 2 + 1 / 2) / 3)


def test_a_clip_that_everyone_liked_in_a_video_of_one():
    truth = Saliency(clip_ids=(0,), scores=((4, 4, 4),))
    assert set(found([-3.0], truth, 2.0).values()) == {100.0}


def test_nothing_is_a_highlight():
    truth = Saliency(clip_ids=(0,), scores=((1, 0, 1),))
    assert set(found([0.1, 0.2, 0.3, 0.4], truth).values()) == {0.0}


def test_scores_beyond_the_video_and_missing_ones():
    # A fifth score is ignored by mAP, but it is the highest, and then HIT@1 misses.
    metrics = found([0.1, 0.9, 0.8, 0.2, 1.0])
    assert metrics["mAP,Fair"] == pytest.approx(100 * 2 / 3)
    assert metrics["HIT@1,Fair"] == 0.0
    # A missing score is 0, which beats negative ones: clip 2, 3 (0, 0), then 1, then 0.
    metrics = found([-0.9, -0.1])
    assert metrics["HIT@1,Fair"] == 100.0  # the best of the scores that were given
    # Clips 2 and 3 together (1/2), then clip 1 (2/3): both steps are worth 2/3.
    assert metrics["mAP,Fair"] == pytest.approx(100 * (2 / 3 + 2 / 3) / 3)


def test_half_a_clip_at_the_end_is_no_clip():
    with pytest.raises(AnnotationError, match=r"clip 2 is judged, but a video of 5\.9 s has 2 cl"):
        found([0.1, 0.2], duration=5.9)


def test_the_mean_over_queries():
    metrics = highlight_metrics([[0, 1, 0, 0], [1, 0, 0, 0]], [TRUTH] * 2, [8.0, 8.0])
    assert metrics["HIT@1,VeryGood"] == 50.0


@pytest.mark.parametrize("bad", [[], [np.nan, 0.0], [[0.1, 0.2]]])
def test_bad_scores(bad):
    with pytest.raises(AnnotationError, match="saliency of query number 0: an array"):
        found(bad)


def test_bad_lists():
    with pytest.raises(AnnotationError, match="1 predictions and 2 truths and 1 durations"):
        highlight_metrics([[0.1]], [TRUTH] * 2, [8.0])
    with pytest.raises(AnnotationError, match="no queries to evaluate"):
        highlight_metrics([], [], [])
