"""Spherical k-means finds planted directions, and those that stand for one are joined."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bpnet.contexts.clusters import merged, spherical_kmeans


def planted(num: int, each: int = 50, noise: float = 0.05) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    directions = F.normalize(torch.randn(num, 32, generator=generator), dim=1)
    points = directions.repeat_interleave(each, dim=0)
    lengths = torch.rand(len(points), 1, generator=generator) + 0.5
    return directions, (points + noise * torch.randn(points.shape, generator=generator)) * lengths


def test_planted_directions_are_found() -> None:
    directions, points = planted(6)
    centres = spherical_kmeans(points, 6)
    assert torch.allclose(centres.norm(dim=1), torch.ones(6), atol=1e-5)
    found = directions @ centres.T
    assert (found.amax(dim=1) > 0.99).all() and len(set(found.argmax(dim=1).tolist())) == 6


def test_only_directions_count_and_the_seed_decides() -> None:
    _, points = planted(4)
    scaled = points * torch.linspace(0.1, 9, len(points))[:, None]
    assert torch.allclose(spherical_kmeans(points, 4), spherical_kmeans(scaled, 4), atol=1e-4)
    assert torch.equal(spherical_kmeans(points, 4, 3), spherical_kmeans(points, 4, 3))


def test_there_are_no_more_centres_than_directions() -> None:
    points = torch.eye(3).repeat(5, 1)
    zeros = torch.zeros(2, 3)
    assert len(spherical_kmeans(torch.cat([points, zeros]), 8)) == 3
    assert len(spherical_kmeans(zeros, 8)) == 0


def test_centres_of_one_direction_are_joined() -> None:
    directions, points = planted(3)
    centres = spherical_kmeans(points, 24)
    joined = merged(centres, points, 0.5)
    assert len(centres) > 3 and len(joined) == 3
    assert ((joined @ directions.T).amax(dim=1) > 0.98).all()
    assert len(merged(centres, points, 1.1)) == len(centres)
