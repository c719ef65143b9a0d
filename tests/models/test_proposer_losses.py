"""Losses of the proposers by hand, what they are blind to, and that each is learned from."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bpnet.models.dense_proposer import DenseProposer, PointPredictions, assign, dense_loss
from bpnet.models.proposal_losses import refinement_loss
from bpnet.models.set_proposer import SetProposer, SlotPredictions, match, set_loss
from bpnet.models.stage_one_losses import overlap_loss, pair_loss
from bpnet.models.window_proposer import WindowProposer, WindowScores, window_loss
from bpnet.types import Proposals


def points(num_clips: int, levels: int = 2) -> PointPredictions:
    """Points 1, 2, ... clips apart, all with the same span and logit."""
    centres, strides = [], []
    for level in range(levels):
        first = torch.arange(0, num_clips, 2**level)
        centres.append((first + torch.clamp(first + 2**level, max=num_clips)) / 2)
        strides.append(torch.full_like(first, 2**level))
    middle = torch.cat(centres)[None]
    count = middle.shape[1]
    spans = torch.tensor([0.0, 4.0]).expand(1, count, 2)
    mask = torch.ones(1, count, dtype=torch.bool)
    return PointPredictions(spans, torch.zeros(1, count), mask, middle, torch.cat(strides)[None])


def test_points_near_the_middle_stand_for_the_target() -> None:
    found = points(8, levels=3)  # 8 points 1 apart, 4 points 2 apart, 2 points 4 apart
    assert found.centres[0].tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 1, 3, 5, 7, 2, 6]
    # Target (2, 6), middle 4: at most 1.5 strides away are 2.5 to 5.5 of the first level and 3, 5
    # of the second (its reach is 3, and 1 and 7 lie outside the target). The coarsest level takes
    # targets of 8 clips and more.
    chosen = assign(found, torch.tensor([[2.0, 6.0]]))[0]
    assert found.centres[0, chosen].tolist() == [2.5, 3.5, 4.5, 5.5, 3, 5]
    # A target between the points: the nearest of the finest level.
    between = assign(found, torch.tensor([[3.6, 4.4]]))[0]
    assert found.centres[0, between].tolist() in ([3.5], [4.5])


def test_dense_loss_by_hand() -> None:
    found = points(2, levels=1)  # centres 0.5 and 1.5
    # Target (1, 2): the second point stands for it. Probability 1/2 everywhere: entropy ln 2,
    # missed 1/2; focal 0.25 (1/2)^2 ln 2 and 0.75 (1/2)^2 ln 2. Span (0, 4) has an IoU of 1/4.
    loss = dense_loss(found, torch.tensor([[1.0, 2.0]]))
    assert loss.item() == pytest.approx(math.log(2) / 4 + 3 / 4, rel=1e-5)


def slots(spans: list[list[int]], logits: list[float], length: int = 10) -> SlotPredictions:
    places = torch.tensor([spans], dtype=torch.float32)
    return SlotPredictions(places, torch.tensor([logits]), torch.tensor([length]))


def test_every_target_gets_its_nearest_slot() -> None:
    found = slots([[0, 2], [4, 8], [5, 9]], [0.0, 0.0, 0.0])
    targets = torch.tensor([[[4.0, 9.0], [0.0, 1.0], [4.0, 9.0]]])  # the last repeats the first
    assert match(found, targets).tolist() == [[1, 0, -1]]
    # Both targets want the same slot; the second best is taken for the other.
    crowded = torch.tensor([[[4.0, 8.0], [4.0, 9.0]]])
    assert match(found, crowded).tolist() == [[1, 2]]
    few = slots([[0, 2]], [0.0])
    assert match(few, crowded).tolist() in ([[0, -1]], [[-1, 0]])


def test_set_loss_by_hand() -> None:
    # Slot 0 is the target (2, 6) but one clip late: L1 (1 + 1)/10, IoU 3/5. Presence 1/2 each:
    # (1 ln 2 + 0.1 ln 2) / 1.1 = ln 2.
    loss = set_loss(slots([[3, 7], [9, 10]], [0.0, 0.0]), torch.tensor([[[2.0, 6.0]]]))
    assert loss.item() == pytest.approx(10 * 0.2 + (1 - 3 / 5) + 4 * math.log(2), rel=1e-5)
    # A gap of 3 in a hull of 8: the generalised IoU is -3/8, where the plain one is 0.
    far = set_loss(slots([[0, 1]], [0.0]), torch.tensor([[[4.0, 8.0]]]))
    assert far.item() == pytest.approx(10 * 1.1 + 1 + 3 / 8 + 4 * math.log(2), rel=1e-5)


def test_window_loss_by_hand() -> None:
    spans = torch.tensor([[[0.0, 4.0], [0.0, 8.0], [4.0, 8.0]]])
    mask = torch.tensor([[True, True, False]])
    windows = WindowScores(spans, torch.tensor([[2.0, 0.0, 5.0]]), mask)
    # Target (0, 4): IoU 1 and 1/2, scaled from (0.25, 0.75): 1 and 1/2. The third is not there.
    loss = window_loss(windows, torch.tensor([[0.0, 4.0]]), (0.25, 0.75))
    first = math.log(1 + math.exp(-2))
    assert loss.item() == pytest.approx((first + math.log(2)) / 2, rel=1e-5)


def test_pair_and_overlap_losses_by_hand() -> None:
    pairs = torch.tensor([[[0.5, 0.25], [0.0, 0.25]]]).log()
    assert pair_loss(pairs, torch.tensor([[0, 2]])).item() == pytest.approx(math.log(4))
    # Spans (0, 1), (0, 2), (1, 2) against (0, 2): IoU 1/2, 1, 1/2; at logit 0 each costs ln 2, at
    # logit 2 the second one ln(1 + e^-2).
    logits = torch.tensor([[[0.0, 2.0], [9.0, 0.0]]])
    loss = overlap_loss(logits, pairs, torch.tensor([[0.0, 2.0]]))
    assert loss.item() == pytest.approx((2 * math.log(2) + math.log(1 + math.exp(-2))) / 3)


def test_only_near_proposals_are_refined() -> None:
    spans = torch.tensor([[[0.0, 4.0], [6.0, 8.0], [0.0, 5.0]]])
    found = Proposals(spans, torch.zeros(1, 3), torch.tensor([[True, True, False]]))
    moved = spans + torch.tensor([0.5, 0.5])
    # Of (0.5, 4.5) and the target (0, 4): 3.5/4.5. The second is far, the third not there.
    loss = refinement_loss(moved, found, torch.tensor([[0.0, 4.0]]))
    assert loss.item() == pytest.approx(1 - 3.5 / 4.5)
    assert refinement_loss(moved, found, torch.tensor([[30.0, 40.0]])).item() == 0


@pytest.mark.parametrize("kind", ["dense", "set", "windows"])
def test_a_proposer_learns_where_the_frames_differ(kind: str) -> None:
    """Twelve videos, each with a stretch of other frames: the best span comes to lie on it."""
    torch.manual_seed(0)
    module: DenseProposer | SetProposer | WindowProposer
    module = {
        "dense": lambda: DenseProposer(8),
        "set": lambda: SetProposer(8, 2, 4, 0.0),
        "windows": lambda: WindowProposer(8),
    }[kind]()
    starts, lengths = torch.arange(12) * 2, torch.tensor([8, 16, 24]).repeat(4)
    targets = torch.stack([starts, starts + lengths], dim=1).float()
    places = torch.arange(48)
    inside = (places >= targets[:, :1]) & (places < targets[:, 1:])
    frames = torch.randn(12, 48, 8) * 0.1 + inside[..., None]
    frames = torch.cat([frames[..., :7], (places / 48).expand(12, 48)[..., None]], dim=-1)
    mask = torch.ones(12, 48, dtype=torch.bool)
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)

    def loss_of(found: object) -> Tensor:
        match_kind = {
            "dense": lambda: dense_loss(found, targets),
            "set": lambda: set_loss(found, targets[:, None]),
            "windows": lambda: window_loss(found, targets, (0.3, 0.7)),
        }
        return match_kind[kind]()

    for _ in range(120):
        optimizer.zero_grad()
        loss_of(module(frames, mask)).backward()
        optimizer.step()
    assert all(p.grad is not None for p in module.parameters())
    found = module(frames, mask)
    best = found.logits.masked_fill(
        ~getattr(found, "mask", torch.ones(1, 1, dtype=torch.bool)), -99
    )
    chosen = found.spans[torch.arange(12), best.argmax(dim=1)]
    left = torch.maximum(chosen[:, 0], targets[:, 0])
    right = torch.minimum(chosen[:, 1], targets[:, 1])
    overlap = (right - left).clamp(min=0) / (
        torch.maximum(chosen[:, 1], targets[:, 1]) - torch.minimum(chosen[:, 0], targets[:, 0])
    )
    assert overlap.mean() > 0.6
