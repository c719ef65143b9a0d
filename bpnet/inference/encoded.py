"""A video as a model reads it, and what is computed of it once, which depends on no query."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bpnet.data.collate import clip_seconds
from bpnet.data.dataset import fit_clips
from bpnet.errors import CheckpointError
from bpnet.inference.windows import Window, cut
from bpnet.models.encoder import Encoded, joined
from bpnet.models.grounder import Grounder
from bpnet_features import ClipGrid, FeatureSpec

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


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """A window of a video, as a model reads it.

    Attributes:
        window: Which clips it is made of.
        clips: Features (P, C) float32, pooled where there are too many.
        grid: Where those lie in time.
    """

    window: Window
    clips: npt.NDArray[np.float32]
    grid: ClipGrid


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a model reads videos.

    Attributes:
        feature_spec: Clip features that it reads.
        max_clips: Positions of the model; a longer video, or window, is pooled to as many.
        window_seconds: Longest time that is read at once; a longer video of more clips than the
            model has positions is cut into windows.
    """

    feature_spec: FeatureSpec
    max_clips: int
    window_seconds: float

    def pieces(
        self, clips: npt.NDArray[np.floating], grid: ClipGrid, what: str = "the array"
    ) -> list[Piece]:
        """Check a video, and cut it.

        Args:
            clips: Features (T, C), as stored.
            grid: Where they lie in time.
            what: What messages call them.

        Returns:
            Its windows, all of one length.

        Raises:
            CheckpointError: The features are not what the checkpoint reads.
        """
        width = self.feature_spec.feature_dim
        if clips.ndim != 2 or clips.shape[1] != width or len(clips) != grid.num_clips:
            raise CheckpointError(
                f"{what}: features of shape {clips.shape}: the checkpoint expects "
                f"({grid.num_clips}, {width}), from {self.feature_spec.backbone!r}"
            )
        if not np.isfinite(clips).all():
            raise CheckpointError(f"{what}: NaN or infinite features; extract them again")
        single = clips.astype(np.float32)
        pieces = []
        for window in cut(grid, self._window_clips(grid)):
            part = single[window.first : window.first + window.grid.num_clips]
            pieces.append(Piece(window, *fit_clips(part, window.grid, self.max_clips)))
        return pieces

    def _window_clips(self, grid: ClipGrid) -> int:
        """Clips of a window: all, where there are few or the model knows videos so long."""
        short = grid.duration_seconds <= self.window_seconds * LONGER
        if grid.num_clips <= self.max_clips or short:
            return grid.num_clips
        seconds = float(np.median(np.diff(grid.edges_seconds)))
        return min(grid.num_clips, max(2, self.max_clips, int(self.window_seconds / seconds)))


def encode_pieces(model: Grounder, pieces: Sequence[Piece], grid: ClipGrid) -> EncodedVideo:
    """Compute what does not depend on a query.

    Args:
        model: The network, in evaluation mode.
        pieces: The windows of a video.
        grid: Where its stored clips lie in time.

    Returns:
        The encoded video, on the model's device.
    """
    with torch.inference_mode():
        parts = [
            model.encode_video(*as_input(model, piece.clips, clip_seconds(piece.grid)))
            for piece in pieces
        ]
    windows = tuple(piece.window for piece in pieces)
    return EncodedVideo(grid, windows, tuple(piece.grid for piece in pieces), joined(parts))


def as_input(
    model: Grounder, clips: npt.NDArray[np.float32], seconds: npt.NDArray[np.float32]
) -> tuple[Tensor, Tensor, Tensor]:
    """What ``encode_video`` of a network takes.

    Args:
        model: The network.
        clips: Features of one window (N, C).
        seconds: Where they begin and end (N, 2).

    Returns:
        Clips (1, N, C) in the network's type and on its device, their mask (1, N), and where they
        begin and end (1, N, 2).
    """
    weight = model.encoder.video_projection.weight
    video, times = (torch.from_numpy(array)[None].to(weight) for array in (clips, seconds))
    return video, torch.ones(video.shape[:2], dtype=torch.bool, device=weight.device), times
