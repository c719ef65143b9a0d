"""Hide-and-seek (Singh, Lee, 2017): what is not always there cannot be all that a teacher needs."""

from __future__ import annotations

import torch
from torch import Tensor


def hide_pieces(
    video: Tensor, mask: Tensor, filling: Tensor, share: float, num_pieces: int
) -> Tensor:
    """Videos of which some of the equal pieces are hidden.

    Args:
        video: (V, T, C).
        mask: (V, T).
        filling: What stands in the place of a hidden clip; broadcasts with ``video``.
        share: Chance that a piece is hidden.
        num_pieces: Pieces of a video.

    Returns:
        (V, T, C).
    """
    places = torch.arange(mask.shape[1], device=mask.device)
    piece = places * num_pieces // mask.sum(dim=1, keepdim=True)
    chance = torch.rand(len(video), num_pieces, device=video.device)
    hidden = (chance < share).gather(1, piece.clamp(max=num_pieces - 1)) & mask
    return torch.where(hidden[..., None], filling, video)
