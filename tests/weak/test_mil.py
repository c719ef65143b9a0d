"""The losses: which pairs may be compared, and what they reward."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bpnet.errors import ConfigError
from bpnet.evaluation.weak_metrics import segment_at_peak
from bpnet.weak.activation import ActivationHead
from bpnet.weak.mil import (
    MilConfig,
    Pairs,
    in_unit_range,
    info_nce,
    inside_outside,
    mil_losses,
    real_negatives,
    same_context_negatives,
    span_around_peak,
)


def test_a_video_whose_sentences_name_all_of_it_is_no_negative() -> None:
    # Two sentences about video 0, {0} and {1}; one about video 1, {0, 1}; one about video 2, {2}.
    concepts = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]]) > 0
    found = real_negatives(concepts, torch.tensor([0, 0, 1, 2]), 3)
    assert found.tolist() == [
        [False, False, False, True],
        [False, False, False, True],
        [True, True, True, False],
    ]
    nothing = real_negatives(torch.zeros(2, 3, dtype=torch.bool), torch.tensor([0, 1]), 2)
    assert nothing.tolist() == [[False, True], [True, False]]


def test_info_nce_by_hand() -> None:
    scores = torch.tensor([[2.0, 0.0], [1.0, 3.0]])
    index = torch.tensor([0, 1])
    negatives = ~torch.eye(2, dtype=torch.bool)
    # Sentence 0 against video 1: 2 and 1; video 0 against sentence 1: 2 and 0; and so on.
    parts = [math.log1p(math.exp(-gap / 0.5)) for gap in (2 - 1, 3 - 0, 2 - 0, 3 - 1)]
    found = info_nce(scores, index, negatives, 0.5)
    assert float(found) == pytest.approx(sum(parts) / 4, rel=1e-4)
    weighted = info_nce(scores, index, negatives, 0.5, torch.tensor([2.0, 0.0]))
    assert float(weighted) == pytest.approx((parts[0] + parts[2]) / 2, rel=1e-4)


def test_what_may_not_be_compared_does_not_count() -> None:
    scores = torch.tensor([[1.0, 5.0], [7.0, 1.0]])
    none = torch.zeros(2, 2, dtype=torch.bool)
    assert float(info_nce(scores, torch.tensor([0, 1]), none, 0.07)) == 0.0


def test_negatives_of_the_same_context_where_there_are_any() -> None:
    negatives = ~torch.eye(3, dtype=torch.bool)
    found = same_context_negatives(negatives, torch.tensor([4, 4, 0]), torch.tensor([0, 1, 2]))
    # Videos 0 and 1 are each other's; no other video has the context of video 2.
    assert found.tolist() == [[False, True, True], [True, False, True], [False, False, False]]


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=12), st.sampled_from([0.25, 0.5, 0.75]))
def test_the_span_is_that_of_the_metric(values: list[int], threshold: float) -> None:
    relevance = torch.tensor([values], dtype=torch.float64)
    mask = torch.ones(1, len(values), dtype=torch.bool)
    scaled = in_unit_range(relevance, mask)
    inside = span_around_peak(scaled, mask, threshold)[0].nonzero().flatten().tolist()
    start, end = segment_at_peak(values, threshold)
    if len(set(values)) > 1:
        assert inside == list(range(start, end))


def test_inside_and_outside_by_hand() -> None:
    # In [0, 1]: 0, .1, .8, 1, .7, .2, 0, pads. Inside: clips 2 to 4; margin: one clip each side.
    relevance = torch.tensor([[0.0, 1.0, 8.0, 10.0, 7.0, 2.0, 0.0, 0.0, 0.0]])
    mask = torch.arange(9)[None] < 7
    found = inside_outside(relevance, mask, MilConfig())
    assert float(found) == pytest.approx((0.1 + 0.2) / 2 - (0.8 + 1 + 0.7) / 3)
    both = inside_outside(relevance.repeat(2, 1), mask.repeat(2, 1), MilConfig())
    assert float(both) == pytest.approx(float(found))
    scaled = inside_outside(100 * relevance, mask, MilConfig())
    assert float(scaled) == pytest.approx(float(found))
    assert float(inside_outside(torch.ones(1, 4), torch.ones(1, 4) > 0, MilConfig())) == 0.0


def test_a_head_learns_which_clips_a_sentence_names() -> None:
    """Six videos with one clip each that its sentence names; no moment is given."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    named = np.eye(6, 12, dtype=np.float32)
    video = torch.from_numpy(0.1 * rng.standard_normal((6, 10, 12), np.float32))
    places = torch.tensor([1, 8, 4, 0, 9, 5])
    video[torch.arange(6), places] += torch.from_numpy(named)
    pairs = Pairs(
        video, torch.ones(6, 10, dtype=torch.bool), torch.eye(6), torch.eye(6) > 0, torch.arange(6)
    )
    head = ActivationHead(12, 6, 16)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    config = MilConfig(hidden_share=0.0)
    losses = []
    for _ in range(60):
        found = mil_losses(head, pairs, config)
        optimizer.zero_grad()
        found["total"].backward()
        optimizer.step()
        losses.append(float(found["mil"].detach()))
    assert losses[-1] < 0.05 * losses[0]
    relevance = head(video, pairs.video_mask, pairs.queries, pairs.concepts).relevance
    assert relevance.argmax(dim=1).tolist() == places.tolist()


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(ConfigError, match=r"mil.temperature=0.*mil.hidden_share=1"):
        MilConfig(temperature=0, hidden_share=1)
