"""Losses and their targets, by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from bpnet.errors import ConfigError
from bpnet.models.losses import bpnet_losses
from bpnet.models.proposal_losses import matching_loss, mismatch_loss
from bpnet.models.stage_one_losses import (
    boundary_loss,
    consistency_loss,
    highlight_loss,
    highlight_targets,
)
from bpnet.types import Proposals

LN2, LN3 = math.log(2), math.log(3)


def masks(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def proposals(spans: list[list[list[float]]], mask: Tensor | None = None) -> Proposals:
    values = torch.tensor(spans, dtype=torch.float32)
    real = torch.ones(values.shape[:2], dtype=torch.bool) if mask is None else mask
    return Proposals(values, torch.zeros(values.shape[:2]), real)


def test_hard_boundaries() -> None:
    # P_start = 1/6, 3/6, 2/6; P_end = 1/5, 0, 4/5. The other: 1/4, 3/4, and 1.
    start = torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 0.0]]).log().clamp(min=-1e30)
    end = torch.tensor([[1.0, 0.0, 4.0], [1.0, 0.0, 0.0]]).log().clamp(min=-1e30)
    cells = torch.tensor([[1, 3], [0, 1]])  # the last clips inside are 2 and 0
    loss = boundary_loss(start, end, cells, masks(3, 2), "hard")
    # -(ln 3/6 + ln 4/5) and -(ln 1/4 + ln 1), mean of the two.
    expected = -(math.log(1 / 2) + math.log(4 / 5) + math.log(1 / 4)) / 2
    assert loss.item() == pytest.approx(expected)


def test_soft_boundary_targets_sum_to_one() -> None:
    # The gradient of a cross-entropy is (softmax - target) / batch, which shows the targets.
    logits = torch.zeros(4, 5).masked_fill(~masks(5, 5, 3, 1), -1e30)
    start, end = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    cells = torch.tensor([[1, 4], [0, 5], [2, 3], [0, 1]])
    boundary_loss(start, end, cells, masks(5, 5, 3, 1), "soft").backward()
    assert start.grad is not None and end.grad is not None
    probabilities = torch.softmax(logits, dim=1)
    # Half on the clip, a quarter on each neighbour; at an edge the neighbour's part stays inside.
    expected_start = [
        [0.25, 0.5, 0.25, 0, 0],  # clip 1
        [0.75, 0.25, 0, 0, 0],  # clip 0, at the beginning
        [0, 0.25, 0.75, 0, 0],  # clip 2, the last of three
        [1, 0, 0, 0, 0],  # the only clip
    ]
    expected_end = [
        [0, 0, 0.25, 0.5, 0.25],  # clip 3, the last inside
        [0, 0, 0, 0.25, 0.75],
        [0, 0.25, 0.75, 0, 0],
        [1, 0, 0, 0, 0],
    ]
    torch.testing.assert_close(probabilities - 4 * start.grad, torch.tensor(expected_start))
    torch.testing.assert_close(probabilities - 4 * end.grad, torch.tensor(expected_end))


def test_soft_boundary_value() -> None:
    start, end = torch.tensor([[1.0, 2.0, 1.0]]).log(), torch.zeros(1, 3)
    loss = boundary_loss(start, end, torch.tensor([[1, 2]]), masks(3), "soft")
    # Start: 1/4 ln 4 + 1/2 ln 2 + 1/4 ln 4 = 3/2 ln 2; end: ln 3 whatever the target.
    assert loss.item() == pytest.approx(1.5 * LN2 + LN3)


@pytest.mark.parametrize(
    ("length", "margin"),
    # round(0.1 length): halves go to the even neighbour, as Python's round does.
    [(1, 0), (4, 0), (5, 0), (6, 1), (14, 1), (15, 2), (25, 2), (26, 3), (35, 4), (45, 4)],
)
def test_highlight_extension(length: int, margin: int) -> None:
    assert round(0.1 * length) == margin
    targets = highlight_targets(torch.tensor([[10, 10 + length]]), 80, 0.1)[0]
    expected = [10 - margin <= place < 10 + length + margin for place in range(80)]
    assert targets.tolist() == [float(inside) for inside in expected]


def test_highlight_extension_stays_in_the_video() -> None:
    cells = torch.tensor([[0, 6], [4, 8]])
    # round(0.1 * 6) = 1 and round(0.1 * 4) = 0; with 0.5 a side: 3 and 2.
    assert highlight_targets(cells, 8, 0.1).tolist() == [
        [1, 1, 1, 1, 1, 1, 1, 0],
        [0, 0, 0, 0, 1, 1, 1, 1],
    ]
    assert highlight_targets(cells, 8, 0.5).tolist() == [[1] * 8, [0, 0] + [1] * 6]


def test_highlight_is_a_mean_over_all_clips_of_the_batch() -> None:
    mask = masks(4, 1)
    logits = torch.zeros(2, 4).masked_fill(~mask, -1e30).requires_grad_()
    loss = highlight_loss(logits, torch.tensor([[1, 3], [0, 1]]), mask, 0.0)
    # Each clip costs ln 2, twice as much inside: 1 + 2 + 2 + 1 = 6 and 2, over 4 + 1 clips. The
    # mean of the two videos' means would be (6/4 + 2) / 2 = 1.75.
    assert loss.item() == pytest.approx(8 / 5 * LN2)
    loss.backward()
    assert logits.grad is not None
    # Slope of a clip: weight (sigmoid - target) / 5.
    expected = torch.tensor([[0.1, -0.2, -0.2, 0.1], [-0.2, 0, 0, 0]])
    torch.testing.assert_close(logits.grad, expected)


def test_highlight_target_beyond_the_video_costs_nothing() -> None:
    # Eight of eight clips, lengthened into the padding of a longer batch mate.
    mask = masks(8, 10)
    logits = torch.zeros(2, 10).masked_fill(~mask, -1e30)
    loss = highlight_loss(logits, torch.tensor([[0, 8], [0, 10]]), mask, 0.1)
    assert loss.item() == pytest.approx(2 * LN2)


# A video of four clips, target (1, 3), candidates (1, 3) with IoU 1 and (0, 2) with IoU 1/3, scored
# sigmoid(ln 3) = 3/4 and sigmoid(-ln 3) = 1/4.
@pytest.mark.parametrize(
    ("kind", "scaled_iou", "expected"),
    [
        # (1/4)^2 and (1/4 - 1/3)^2 = 1/144: (9/144 + 1/144) / 2 = 5/144.
        ("mse", (0.3, 0.7), 5 / 144),
        # -ln 3/4, and -(1/3 ln 1/4 + 2/3 ln 3/4).
        (
            "bce",
            (0.3, 0.7),
            -(math.log(3 / 4) + math.log(1 / 4) / 3 + 2 * math.log(3 / 4) / 3) / 2,
        ),
        # 1/3 becomes (1/3 - 0.3) / 0.4 = 1/12; 1 becomes 1.
        (
            "scaled_iou_bce",
            (0.3, 0.7),
            -(math.log(3 / 4) + math.log(1 / 4) / 12 + 11 * math.log(3 / 4) / 12) / 2,
        ),
        # 1/3 is below 0.5 and becomes 0.
        ("scaled_iou_bce", (0.5, 1.0), -math.log(3 / 4)),
        # Both are above 0.25.
        ("scaled_iou_bce", (0.1, 0.25), -(math.log(3 / 4) + math.log(1 / 4)) / 2),
    ],
)
def test_matching(kind: str, scaled_iou: tuple[float, float], expected: float) -> None:
    logits, cells = torch.tensor([[LN3, -LN3]]), torch.tensor([[[1, 3]]])
    candidates = proposals([[[1, 3], [0, 2]]])
    loss = matching_loss(logits, candidates, cells, kind, scaled_iou)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_matching_of_one_clip() -> None:
    # Equal spans of one clip have an IoU of 1 (on inclusive ends it would be 0 / 0), neighbours 0.
    loss = matching_loss(
        torch.zeros(1, 2),
        proposals([[[2, 3], [3, 4]]]),
        torch.tensor([[[2, 3]]]),
        "mse",
        (0.3, 0.7),
    )
    assert loss.item() == pytest.approx(((1 - 1 / 2) ** 2 + (0 - 1 / 2) ** 2) / 2)


def test_matching_takes_the_nearest_moment() -> None:
    # [0, 1) is the second moment itself, IoU 1; [2, 4) shares 1 of 3 clips with the first, [1, 3).
    cells = torch.tensor([[[1, 3], [0, 1]]])
    loss = matching_loss(torch.zeros(1, 2), proposals([[[0, 1], [2, 4]]]), cells, "mse", (0.3, 0.7))
    assert loss.item() == pytest.approx(((1 - 1 / 2) ** 2 + (1 / 3 - 1 / 2) ** 2) / 2)


@pytest.mark.parametrize("kind", ["mse", "bce", "scaled_iou_bce"])
def test_matching_leaves_missing_proposals_out(kind: str) -> None:
    cells = torch.tensor([[[1, 3]], [[0, 1]]])
    spans = [[[1, 3], [0, 2]], [[0, 1], [0, 1]]]
    logits = torch.tensor([[0.3, -0.2], [0.7, -50.0]])
    real = torch.tensor([[True, True], [True, False]])
    loss = matching_loss(logits, proposals(spans, real), cells, kind, (0.3, 0.7))
    parts = [
        matching_loss(
            logits[row : row + 1, k : k + 1],
            proposals([[spans[row][k]]]),
            cells[row : row + 1],
            kind,
            (0.3, 0.7),
        ).item()
        for row, k in ((0, 0), (0, 1), (1, 0))
    ]
    assert loss.item() == pytest.approx(sum(parts) / 3)


def test_scores_of_strangers_ought_to_be_zero() -> None:
    mask = torch.tensor([[True, True], [True, False]])
    spans = [[[0.0, 1.0], [1.0, 2.0]], [[0.0, 1.0], [0.0, 1.0]]]
    logits = torch.tensor([[0.0, math.log(2)], [math.log(2), 9.0]])  # scores 1/2, 2/3; 2/3, none
    loss = mismatch_loss(logits, proposals(spans, mask))
    assert loss.item() == pytest.approx((LN2 + 2 * LN3) / 3)


def test_consistency() -> None:
    # Three spans of two clips; in the second video one clip, which has one span.
    one = torch.tensor([[[0.5, 0.25], [0.0, 0.25]], [[1.0, 0.0], [0.0, 0.0]]]).log()
    other = torch.tensor([[[0.25, 0.5], [0.0, 0.25]], [[1.0, 0.0], [0.0, 0.0]]]).log()
    one.requires_grad_()
    loss = consistency_loss(one, other)
    # (KL(one | other) + KL(other | one)) / 2 = (1/4 ln 2 + 1/4 ln 2) / 2, and 0 of the second.
    assert loss.item() == pytest.approx(LN2 / 4 / 2)
    assert consistency_loss(one, one).item() == 0
    loss.backward()
    assert one.grad is not None and one.grad.isfinite().all()


ABOUT_THE_MOMENT = ("boundary", "highlight", "overlap", "contrast", "matching", "refinement")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"pair_dim": 4, "overlap_weight": 1.0, "num_similarities": 2, "contrast_weight": 1.0},
        {"boundary_targets": "soft"},
        {"refinement_weight": 1.0},
    ],
)
def test_weights_multiply_what_pairs_add(make_model, make_batch, values: dict[str, Any]) -> None:
    """The losses are linear in the weights, and those of ones are the plain losses."""
    model, config = make_model(dropout=0.0, **values)
    batch = make_batch()
    output = model.train()(batch)

    def losses(weights: list[float] | None) -> dict[str, float]:
        given = None if weights is None else torch.tensor(weights)
        weighted = dataclasses.replace(batch, weights=given)
        found = bpnet_losses(output, weighted, config, strangers=output, copies=None)
        return {name: loss.item() for name, loss in found.items()}

    plain, ones, zeros = losses(None), losses([1.0] * 3), losses([0.0] * 3)
    parts = [losses(row) for row in ([2.0, 0, 0], [0.0, 0.5, 0], [0, 0, 3.0])]
    together = losses([2.0, 0.5, 3.0])
    assert plain == pytest.approx(ones, rel=1e-5)
    for name in set(plain) - {"total"}:
        if name in ABOUT_THE_MOMENT:
            assert zeros[name] == 0
            assert together[name] == pytest.approx(sum(p[name] for p in parts), rel=1e-4, abs=1e-6)
        else:
            assert together[name] == plain[name]


@pytest.mark.parametrize("proposer", ["dense", "set", "windows"])
def test_other_proposers_count_every_moment_alike(make_model, make_batch, proposer: str) -> None:
    model, config = make_model(proposer=proposer)
    batch = dataclasses.replace(make_batch(), weights=torch.tensor([1.0, 0.5, 1.0]))
    with pytest.raises(ConfigError, match=r"model.proposer: expected span where moments have"):
        bpnet_losses(model.train()(batch), batch, config)
