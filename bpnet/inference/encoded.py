"""What is computed of a video once, and does not depend on any query."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bpnet.data.dataset import fit_clips
from bpnet.inference.windows import Window, cut
from bpnet.models.bpnet import BPNet
from bpnet.models.encoder import Encoded, joined
from bpnet_features import ClipGrid

LONGER = 2.0  # than the longest video of training: up to here a video is pooled, as evaluation does


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedVideo:
    """A video, encoded window by window; a short one is one window.

    Attributes:
        grid: Where the stored clips lie in time.
        windows: The windows (W).
        grids: Where the positions of each window lie in time (W); all have P of them.
        states: Of the windows: (W, P, D), with keys (W, P, M) or None.
    """

    grid: ClipGrid
    windows: tuple[Window, ...]
    grids: tuple[ClipGrid, ...]
    states: Encoded

    @property
    def num_positions(self) -> int:
        """Positions P of each window."""
        return self.grids[0].num_clips


def encode_video(
    model: BPNet,
    clips: npt.NDArray[np.float32],
    grid: ClipGrid,
    max_clips: int,
    window_seconds: float,
) -> EncodedVideo:
    """Compute what does not depend on a query.

    Args:
        model: The network, in evaluation mode.
        clips: Features (T, C), as stored.
        grid: Where they lie in time.
        max_clips: Positions of the model; a longer video, or window, is pooled to as many.
        window_seconds: Longest time that is read at once; a longer video of more clips than the
            model has positions is cut into windows.

    Returns:
        The encoded video, on the model's device.
    """
    windows = cut(grid, _window_clips(grid, max_clips, window_seconds))
    device = next(model.parameters()).device
    parts, grids = [], []
    for window in windows:
        part = clips[window.first : window.first + window.grid.num_clips]
        pooled, coarse = fit_clips(part, window.grid, max_clips)
        video = torch.from_numpy(pooled).to(device)[None]
        mask = torch.ones(video.shape[:2], dtype=torch.bool, device=device)
        with torch.inference_mode():
            parts.append(model.encode_video(video, mask))
        grids.append(coarse)
    return EncodedVideo(grid, tuple(windows), tuple(grids), joined(parts))


def _window_clips(grid: ClipGrid, max_clips: int, window_seconds: float) -> int:
    """Clips of a window: all, where the model has as many positions or knows videos so long."""
    if grid.num_clips <= max_clips or grid.duration_seconds <= window_seconds * LONGER:
        return grid.num_clips
    seconds = float(np.median(np.diff(grid.edges_seconds)))
    return min(grid.num_clips, max(2, max_clips, int(window_seconds / seconds)))


def to_tensors(video: EncodedVideo) -> dict[str, Tensor]:
    """All of it as tensors, for a file."""
    window_clips = video.windows[0].grid.num_clips
    tensors = {
        "states": video.states.states.cpu(),
        "edges_seconds": torch.from_numpy(video.grid.edges_seconds),
        "duration_seconds": torch.tensor(video.grid.duration_seconds, dtype=torch.float64),
        "window_clips": torch.tensor(window_clips),
    }
    if video.states.keys is not None:
        tensors["keys"] = video.states.keys.cpu()
    return tensors


def from_tensors(tensors: dict[str, Tensor], device: torch.device) -> EncodedVideo:
    """What `to_tensors` gave.

    Args:
        tensors: The tensors.
        device: Where the model is.

    Returns:
        The same video.

    Raises:
        KeyError: A tensor is missing.
    """
    states, keys = tensors["states"].to(device), tensors.get("keys")
    grid = ClipGrid(tensors["edges_seconds"].numpy(), float(tensors["duration_seconds"]))
    windows = cut(grid, int(tensors["window_clips"]))
    positions = states.shape[1]
    grids = [
        one.grid if one.grid.num_clips <= positions else one.grid.coarsen(positions)
        for one in windows
    ]
    encoded = Encoded(states, None if keys is None else keys.to(device))
    return EncodedVideo(grid, tuple(windows), tuple(grids), encoded)
