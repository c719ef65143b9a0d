"""Combined maps by hand; the heads' maps and scores; the causal pool."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from bpnet.errors import ConfigError
from bpnet.images.combine import combined_map
from bpnet.images.heads import AdjustedHead, CamHead, CausalHead

MAPS = torch.tensor([[10.0, 20.0, 30.0]]).view(1, 3, 1, 1)  # a picture of one cell, three classes
SCORES = torch.tensor([[0.0, 2.0, 1.0]])  # class 1, then 2, then 0


def combined(weighting: str, first: int | None = None) -> float:
    given = None if first is None else torch.tensor([first])
    return combined_map(MAPS, SCORES, weighting, given).item()


def test_combined_maps_by_hand() -> None:
    assert combined("top") == 20
    assert combined("top", first=0) == 10
    # Weights 0, -1/4 and -1 of the classes 1, 2 and 0.
    assert combined("quadratic") == -30 / 4 - 10
    assert combined("quadratic", first=0) == -20 / 4 - 30
    # 1, and -1/5 and -4/5, which sum to -1.
    assert combined("sum_1") == pytest.approx(20 - 30 / 5 - 4 * 10 / 5)
    with pytest.raises(
        ConfigError, match="weighting='cubic': expected one of top, quadratic, sum_1"
    ):
        combined("cubic")


def test_sum_1_takes_the_last_twenty() -> None:
    scores = torch.arange(30, 0, -1.0)[None]
    maps = torch.zeros(1, 30, 1, 1)
    maps[0, 1:10] = 7.0  # places 1 to 9 of 0 to 29 are not among the last 20
    assert combined_map(maps, scores, "sum_1").item() == 0
    maps[0, 10:] = 1.0
    assert combined_map(maps, scores, "sum_1").item() == pytest.approx(-1)


def test_two_classes() -> None:
    maps, scores = MAPS[:, :2], SCORES[:, :2]
    assert combined_map(maps, scores, "quadratic").item() == -10
    assert combined_map(maps, scores, "sum_1").item() == 20 - 10


def test_a_score_is_the_mean_of_its_map() -> None:
    torch.manual_seed(0)
    output = CamHead(5, 3)(torch.randn(2, 4, 6, 5))
    assert output.maps.shape == (2, 3, 4, 6)
    torch.testing.assert_close(output.maps.mean(dim=(2, 3)), output.scores)


def test_one_context_changes_nothing() -> None:
    torch.manual_seed(0)
    head = AdjustedHead(5, 3, 1)
    features = torch.randn(2, 4, 4, 5)
    plain = head.cam(features)
    torch.testing.assert_close(head(features).maps, plain.maps)
    torch.testing.assert_close(head(features).scores, plain.scores)


def test_contexts_are_summed_by_their_rates() -> None:
    torch.manual_seed(0)
    head = AdjustedHead(5, 3, 2)
    torch.nn.init.normal_(head.contexts)
    head.prior.copy_(torch.tensor([0.25, 0.75]))
    head.told.copy_(torch.randn(2, 3))
    features = torch.randn(4, 2, 2, 5)
    told = [head(features, torch.full((4,), one)) for one in range(2)]
    summed = head(features)
    torch.testing.assert_close(summed.maps, 0.25 * told[0].maps + 0.75 * told[1].maps)
    torch.testing.assert_close(summed.scores, 0.25 * told[0].scores + 0.75 * told[1].scores)


def test_an_empty_causal_pool_adds_the_bias_alone() -> None:
    torch.manual_seed(0)
    head = CausalHead(5, 3, (2, 3), rate=0.01)
    features = torch.randn(4, 2, 3, 5)
    hidden = F.relu(head.cam.hidden(features))
    expected = head.cam.read(hidden + hidden * head.enhance.bias)
    torch.testing.assert_close(head(features).maps, expected.maps)
    torch.testing.assert_close(head(features).plain_scores, head.cam(features).scores)


def test_the_likeliest_class_sees_its_own_map() -> None:
    torch.manual_seed(0)
    head = CausalHead(5, 3, (2, 3), rate=0.01)
    head.pool.maps.copy_(torch.randn(3, 6))
    features = torch.randn(4, 2, 3, 5)
    best = head(features).plain_scores.argmax(dim=1)
    channels = torch.zeros(4, 2, 3, 3)
    for picture, one in enumerate(best.tolist()):
        channels[picture, :, :, one] = head.pool.maps[one].view(2, 3)
    hidden = F.relu(head.cam.hidden(features))
    expected = head.cam.read(hidden + hidden * head.enhance(channels))
    torch.testing.assert_close(head(features).maps, expected.maps)


def test_the_pool_takes_in_what_is_classified_rightly() -> None:
    torch.manual_seed(0)
    head = CausalHead(5, 3, (2, 3), rate=0.1)
    output = head(torch.randn(6, 2, 3, 5))
    labels = output.plain_scores.argmax(dim=1)
    labels[0] = (labels[0] + 1) % 3  # wrong: left out
    head.update(output, labels)
    summed = torch.zeros(3, 6)
    for picture in range(1, 6):
        summed[labels[picture]] += output.maps[picture, labels[picture]].flatten()
    expected = F.layer_norm(0.1 * F.layer_norm(summed, (6,)), (6,))  # Q was 0
    torch.testing.assert_close(head.pool.maps, expected)
    assert not head.pool.maps.requires_grad
    assert "pool.maps" in head.state_dict()  # it is saved with the weights
