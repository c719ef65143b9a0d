"""CI-CAM's maps in time: means of activations over relative time."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bpnet.contexts.class_maps import ClassMaps

ONE = torch.tensor([[True, False]])


def test_a_map_is_the_standardized_activation() -> None:
    maps = ClassMaps(2, 8, rate=1.0)
    activation = torch.rand(1, 8)
    maps.update(activation, torch.ones(1, 8, dtype=torch.bool), ONE)
    # S(0 + S(M)) = S(M), nearly, as S adds a small number to the variance.
    assert torch.allclose(maps.maps[0], F.layer_norm(activation, (8,))[0], atol=1e-3)
    assert maps.maps[1].tolist() == [0.0] * 8
    assert abs(float(maps.maps[0].mean())) < 1e-5


def test_a_batch_counts_as_much_as_the_rate_says() -> None:
    maps = ClassMaps(1, 4, rate=0.5)
    mask = torch.ones(1, 4, dtype=torch.bool)
    first, second = torch.tensor([[0.0, 0, 0, 1]]), torch.tensor([[1.0, 0, 0, 0]])
    concepts = torch.ones(1, 1, dtype=torch.bool)
    maps.update(first, mask, concepts)
    held = maps.maps.clone()
    maps.update(second, mask, concepts)
    expected = F.layer_norm(held + 0.5 * F.layer_norm(second, (4,)), (4,))
    assert torch.allclose(maps.maps, expected)


def test_nothing_right_changes_an_empty_map_not_at_all() -> None:
    maps = ClassMaps(2, 4, rate=0.5)
    none = torch.zeros(0, 6)
    maps.update(none, none.bool(), torch.zeros(0, 2, dtype=torch.bool))
    assert not maps.maps.any()


def test_time_is_relative_and_padding_changes_nothing() -> None:
    maps = ClassMaps(1, 4, rate=1.0)
    maps.maps.copy_(torch.tensor([[0.0, 1, 2, 3]]))
    mask = torch.tensor([[True] * 4 + [False] * 4, [True] * 8])
    read = maps(mask)[..., 0]
    assert read[0].tolist() == [0, 1, 2, 3, 0, 0, 0, 0]
    assert torch.allclose(read[1], torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]))
    assert torch.equal(maps(mask[:1, None])[:, 0], maps(mask[:1]))

    def learned(activation: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        fresh = ClassMaps(1, 4, rate=1.0)
        fresh.update(activation, mask, torch.ones(1, 1, dtype=torch.bool))
        return fresh.maps

    short = torch.tensor([[5.0, 1, 2, 0]])
    padded = torch.cat([short, torch.full((1, 3), 9.0)], dim=1)
    alone = learned(short, torch.ones(1, 4, dtype=torch.bool))
    assert torch.equal(learned(padded, torch.arange(7)[None] < 4), alone)
