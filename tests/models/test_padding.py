"""Padding changes nothing: random lengths, batch mates, places in the batch and extra padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpnet.data.collate import collate
from bpnet.models.bpnet import BPNet
from bpnet.models.output import BPNetOutput
from bpnet.types import Batch, Sample

CHOICES: list[dict[str, Any]] = [
    {"predictor": "rnn", "fusion": "query_concat", "span_feature": "mean"},
    {"predictor": "rnn", "fusion": "none", "span_feature": "ends", "characters": False},
    {"predictor": "transformer", "fusion": "word_frame", "span_feature": "ends"},
    {"predictor": "transformer", "fusion": "none", "span_feature": "mean", "score_fusion": 0.5},
]
MAX_CLIPS, MAX_EXTRA = 7, 3
# Every span of the longest padded video is a proposal: of two spans that are nearly equally
# probable, rounding could let either one in as the last of a top K, and that is no leak. The
# network computes in double precision for the same reason: what is left is a true difference.
ALL_SPANS = (MAX_CLIPS + MAX_EXTRA) * (MAX_CLIPS + MAX_EXTRA + 1) // 2

shapes = st.tuples(st.integers(1, MAX_CLIPS), st.integers(1, 4), st.integers(4, 7))
extras = st.tuples(*[st.integers(0, MAX_EXTRA)] * 3)


@pytest.fixture(
    scope="module", params=CHOICES, ids=lambda choice: "-".join(map(str, choice.values()))
)
def model(request: pytest.FixtureRequest, make_model: Callable[..., Any]) -> BPNet:
    built: BPNet = make_model(num_proposals=ALL_SPANS, **request.param)[0]
    return built.double()


def run(model: BPNet, batch: Batch) -> BPNetOutput:
    with torch.no_grad():
        output: BPNetOutput = model(dataclasses.replace(batch, video=batch.video.double()))
    return output


def scored(output: BPNetOutput, row: int) -> tuple[list[tuple[int, int]], torch.Tensor]:
    """The real proposals of one pair, by span, with their probability and score."""
    proposals = output.stage_one.proposals
    real = proposals.mask[row]
    spans = [(int(start), int(end)) for start, end in proposals.spans[row][real]]
    values = torch.stack([proposals.logits[row][real], output.scores[row][real]], dim=1)
    order = sorted(range(len(spans)), key=spans.__getitem__)
    return [spans[place] for place in order], values[order]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=shapes,
    mates=st.lists(shapes, max_size=3),
    place=st.integers(0, 3),
    extra=extras,
    seed=st.integers(0, 1000),
)
def test_padding_changes_nothing(
    model: BPNet,
    make_samples: Callable[..., list[Sample]],
    pad: Callable[..., Batch],
    shape: tuple[int, int, int],
    mates: list[tuple[int, int, int]],
    place: int,
    extra: tuple[int, int, int],
    seed: int,
) -> None:
    samples = make_samples(mates, seed=seed + 1)
    row = min(place, len(samples))
    samples.insert(row, make_samples([shape], seed=seed)[0])
    alone = run(model, collate([samples[row]]))
    among = run(model, pad(collate(samples), *extra))
    for read in (
        lambda one: one.evidence.start,
        lambda one: one.evidence.end,
        lambda one: one.highlight_logits,
    ):
        found, expected = read(among.stage_one)[row], read(alone.stage_one)[0]
        torch.testing.assert_close(found[: shape[0]], expected, rtol=0, atol=1e-5)
        assert (found[shape[0] :] == -1e30).all()
    frames = among.stage_one.frames[row]
    torch.testing.assert_close(frames[: shape[0]], alone.stage_one.frames[0], rtol=0, atol=1e-5)
    assert (frames[shape[0] :] == 0).all()
    expected_spans, expected_values = scored(alone, 0)
    found_spans, found_values = scored(among, row)
    assert len(expected_spans) == shape[0] * (shape[0] + 1) // 2
    assert found_spans == expected_spans
    torch.testing.assert_close(found_values, expected_values, rtol=0, atol=1e-5)
