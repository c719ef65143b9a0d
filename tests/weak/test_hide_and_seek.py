"""Hide-and-seek: whole pieces go, and nothing else changes."""

from __future__ import annotations

import torch

from bpnet.weak.hide_and_seek import hide_pieces


def test_hidden_pieces_are_filled() -> None:
    torch.manual_seed(0)
    mask = torch.arange(16) < torch.full((50, 1), 12)
    video = torch.randn(50, 16, 3) * mask[..., None]
    filling = torch.randn(50, 1, 3)
    hidden = hide_pieces(video, mask, filling, 0.3, 4)
    changed = (hidden != video).any(dim=2)
    assert not changed[:, 12:].any()
    pieces = changed[:, :12].reshape(50, 4, 3)
    assert bool((pieces.all(dim=2) == pieces.any(dim=2)).all())
    assert 0.2 < float(pieces.any(dim=2).float().mean()) < 0.4
    assert torch.equal(hidden[changed], filling.expand_as(video)[changed])
    assert torch.equal(hide_pieces(video, mask, filling, 0.0, 4), video)
