"""read_output: ranks, seconds, masks and probabilities of a ragged batch, from made-up logits."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bpnet.data.collate import collate
from bpnet.evaluation.predictions import Prediction, read_output
from bpnet.inference.windows import cut, merge
from bpnet.model_config import ModelConfig
from bpnet.models.build import Sizes, build_model
from bpnet.models.output import BPNetOutput
from bpnet.models.span_proposer import BoundaryLogits
from bpnet.models.stage_one import StageOne
from bpnet.types import Annotation, Moment, Proposals, Saliency, Sample
from bpnet_features import ClipGrid

NONE = -1e30


def make_sample(grid: ClipGrid, annotation: Annotation | None = None) -> Sample:
    clips = np.zeros((grid.num_clips, 2), dtype=np.float32)
    ids = np.ones(1, dtype=np.int64)
    return Sample(clips, grid, ids, np.zeros((1, 0), dtype=np.int64), annotation)


def output(
    spans: list[list[list[float]]], probabilities: list[list[float]], scores: list[list[float]]
) -> BPNetOutput:
    """A probability of 0 means that there is no such proposal."""
    joint = torch.tensor(probabilities)
    mask = joint > 0
    logits = joint.log().clamp(min=NONE)
    # Boundaries 1/4, 3/4 in the first video, and 1 in the second, which has one clip.
    boundary = torch.tensor([[1.0, 3.0, 0.0], [1.0, 0.0, 0.0]]).log().clamp(min=NONE)
    boundary = boundary[: len(spans)]
    stage_one = StageOne(
        frames=torch.zeros(len(spans), 3, 2),
        highlight_logits=torch.zeros(len(spans), 3),
        evidence=BoundaryLogits(
            start=boundary,
            end=boundary.flip(1) if len(spans) == 1 else boundary,
            pairs=torch.zeros(len(spans), 3, 3),
            mask=boundary > NONE,
            widths=torch.ones(len(spans)),
        ),
        proposals=Proposals(torch.tensor(spans), logits, mask),
    )
    values = torch.tensor(scores)
    ranked = values.masked_fill(~mask, -1.0)
    return BPNetOutput(stage_one, stage_one.proposals.spans, values.logit(), ranked)


def ragged() -> list[Prediction]:
    first = output(
        [[[1.0, 3.0], [0.0, 2.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]],
        [[0.5, 0.25, 0.125], [1.0, 0.0, 0.0]],
        [[0.2, 0.9, 0.4], [0.3, 0.99, 0.99]],
    )
    long = ClipGrid(np.array([0.0, 1.0, 4.0, 6.0]), 6.0)
    annotation = Annotation("q", "v", "open", 1.0, 4.0, 6.0, "test")
    return read_output(first, [make_sample(long, annotation), make_sample(short_grid())])


def short_grid() -> ClipGrid:
    return ClipGrid.uniform(1, 2.5)


def seconds(moments: tuple[Moment, ...]) -> list[tuple[float, float]]:
    return [(moment.start_seconds, moment.end_seconds) for moment in moments]


def test_seconds_and_scores() -> None:
    prediction = ragged()[0]
    # Clips are [0, 1), [1, 4) and [4, 6) s. Scores 0.9, 0.4, 0.2.
    assert seconds(prediction.moments) == [(0, 4), (0, 1), (1, 6)]
    assert [m.score for m in prediction.moments] == pytest.approx([0.9, 0.4, 0.2])


def test_stage_one_keeps_its_own_order() -> None:
    prediction = ragged()[0]
    assert seconds(prediction.stage_one) == [(1, 6), (0, 4), (0, 1)]
    assert [m.score for m in prediction.stage_one] == pytest.approx([0.5, 0.25, 0.125])


def test_fewer_proposals_than_the_batch_has() -> None:
    # What is masked is no answer, whatever it scores.
    prediction = ragged()[1]
    assert seconds(prediction.moments) == seconds(prediction.stage_one) == [(0, 2.5)]
    assert prediction.moments[0].score == pytest.approx(0.3)


def test_probabilities_are_those_of_the_video_alone() -> None:
    first, second = ragged()
    np.testing.assert_allclose(first.start_probabilities, [0.25, 0.75, 0], rtol=1e-6)
    assert second.start_probabilities.tolist() == second.end_probabilities.tolist() == [1]
    assert first.start_probabilities.dtype == np.float32
    assert first.edges_seconds.tolist() == [0, 1, 4, 6]
    assert second.edges_seconds.tolist() == [0, 2.5]


@pytest.mark.parametrize("proposer", ["dense", "set", "windows"])
def test_heads_without_boundaries_give_none(proposer: str) -> None:
    torch.manual_seed(0)
    small = {"hidden_dim": 8, "num_heads": 2, "num_conv_layers": 1, "characters": False}
    sizes = Sizes(2, 5, 0, 4, False, 128)
    model = build_model(ModelConfig(**small, proposer=proposer), sizes).eval()
    samples = [make_sample(ClipGrid.uniform(6, 12.0)), make_sample(short_grid())]
    with torch.inference_mode():
        found = read_output(model(collate(samples)), samples)
    for prediction in found:
        assert prediction.start_probabilities is None and prediction.end_probabilities is None
        assert len(prediction.highlight_scores) == len(prediction.edges_seconds) - 1
    # So has an answer that is merged of windows.
    windows = cut(ClipGrid.uniform(9, 18.0), 6)
    later = dataclasses.replace(found[0], edges_seconds=found[0].edges_seconds + 6)
    merged = merge([found[0], later], windows, 0.7)
    assert merged.start_probabilities is None and merged.end_probabilities is None
    assert len(merged.highlight_scores) == 9


def test_equal_scores_stay_in_the_order_of_probability() -> None:
    spans = [[[float(i), i + 1.0] for i in range(3)] * 20]
    probabilities = [[1 / (k + 2) for k in range(60)]]
    scores = [[0.5 if k % 4 else 0.75 for k in range(60)]]
    (prediction,) = read_output(
        output(spans, probabilities, scores), [make_sample(ClipGrid.uniform(3, 3.0))]
    )
    order = [k for k in range(60) if k % 4 == 0] + [k for k in range(60) if k % 4]
    assert seconds(prediction.moments) == [(k % 3, k % 3 + 1) for k in order]


def test_real_spans_are_interpolated() -> None:
    (prediction,) = read_output(
        output([[[0.5, 2.25]]], [[0.5]], [[0.5]]),
        [make_sample(ClipGrid(np.array([0.0, 1.0, 4.0, 6.0]), 6.0))],
    )
    # Half of the first second; a quarter of the two seconds behind the fourth.
    assert seconds(prediction.moments) == [(0.5, 4.5)]


def test_low_precision_scores() -> None:
    made = output([[[0.0, 1.0], [1.0, 2.0]]], [[0.5, 0.25]], [[0.25, 0.5]])
    low: Tensor = made.scores.bfloat16()
    (prediction,) = read_output(
        dataclasses.replace(made, scores=low),
        [make_sample(ClipGrid.uniform(3, 3.0))],
    )
    assert [m.score for m in prediction.moments] == [0.5, 0.25]


def test_line_of_the_predictions_file() -> None:
    first, second = ragged()
    line = json.loads(json.dumps(first.to_dict()))
    assert (line["qid"], line["start_seconds"], line["end_seconds"]) == ("q", 1.0, 4.0)
    assert line["moments"][0] == {
        "start_seconds": 0.0,
        "end_seconds": 4.0,
        "score": pytest.approx(0.9),
    }
    assert set(second.to_dict()) == {"moments", "stage_one"}  # the truth is not known
    assert all(math.isfinite(m["score"]) for m in line["stage_one"])


def test_scores_of_clips_of_another_length() -> None:
    """Highlight scores 1/4, 1/2, 3/4 of clips [0, 1), [1, 4), [4, 6)."""
    made = output([[[0.0, 1.0]]], [[0.5]], [[0.5]])
    quarters = torch.tensor([[0.25, 0.5, 0.75]]).logit()
    stage_one = dataclasses.replace(made.stage_one, highlight_logits=quarters)
    grid = ClipGrid(np.array([0.0, 1.0, 4.0, 6.0]), 6.0)
    (found,) = read_output(dataclasses.replace(made, stage_one=stage_one), [make_sample(grid)])
    # The middles of clips of 2 s are 1, 3 and 5 s; a clip begins where it begins.
    assert found.saliency(2.0) == pytest.approx([0.5, 0.5, 0.75])
    # Of clips of 4 s only one is whole.
    assert found.saliency(4.0) == pytest.approx([0.5])
    # A video shorter than one clip has one, with its middle at 3 s.
    assert found.saliency(10.0) == pytest.approx([0.5])


def test_truth_of_the_predictions_file() -> None:
    """Targets and judged clips are written where the dataset has them."""
    made = output([[[0.0, 1.0]]], [[0.5]], [[0.5]])
    annotation = Annotation(
        "q", "v", "open", 1.0, 2.0, 3.0, "val", ((0.0, 0.5),), Saliency((0,), ((3, 4),))
    )
    (found,) = read_output(made, [make_sample(ClipGrid.uniform(3, 3.0), annotation)])
    line = json.loads(json.dumps(found.to_dict()))
    assert line["other_moments"] == [[0.0, 0.5]]
    assert line["saliency"]["clip_ids"] == [0]
    assert line["saliency_scores"] == pytest.approx([0.5])
