"""FeatureSource: what our own store and every foreign release answer alike."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bpnet_features.errors import FeatureError
from bpnet_features.grid import ClipGrid
from bpnet_features.spec import FeatureSpec


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is known of one video before its numbers are read.

    Attributes:
        num_clips: Number of clips T.
        feature_dim: Width C.
        dtype: Name of the stored type.
        duration_seconds: Length of the video, or None where the file does not say.
        stride_seconds: Seconds between neighbouring clips, or None: as the spec says.
        start_seconds: Where the first clip begins.
    """

    num_clips: int
    feature_dim: int
    dtype: str
    duration_seconds: float | None = None
    stride_seconds: float | None = None
    start_seconds: float = 0.0


class FeatureSource(Protocol):
    """Clip features of many videos, read one video at a time; can be handed to worker processes.

    Attributes:
        path: The file or folder.
        layout: Name of its layout; ``"bpnet"`` is our own.
        spec: How the features were made.
    """

    path: Path
    layout: str
    spec: FeatureSpec

    def video_ids(self) -> list[str]:
        """Ids of all videos, sorted, as annotation files write them."""
        ...

    def __len__(self) -> int:
        """Number of videos."""
        ...

    def __contains__(self, video_id: str) -> bool:
        """Whether a video is there."""
        ...

    def entry(self, video_id: str) -> Entry:
        """What is known of a video; reads no numbers where the layout allows it.

        Raises:
            MissingVideoError: The video is not there.
            FeatureError: What is there is not one array (T, C), or claims an impossible size.
        """
        ...

    def read_clips(self, video_id: str) -> npt.NDArray[np.float32]:
        """Features (T, C) float32 of a video, T >= 1, finite, of the width of the spec.

        Raises:
            MissingVideoError: The video is not there.
            FeatureError: Its features are damaged, or not what they must be.
        """
        ...

    def grid(self, video_id: str, duration_seconds: float | None = None) -> ClipGrid:
        """Where the clips of a video lie in time, see `entry_grid`."""
        ...

    def read(
        self, video_id: str, duration_seconds: float | None = None
    ) -> tuple[npt.NDArray[np.float32], ClipGrid]:
        """Features and grid of a video; ``duration_seconds`` counts where the file says none."""
        ...

    def close(self) -> None:
        """Close what is open; the next read opens it again."""
        ...


def entry_grid(
    entry: Entry, spec: FeatureSpec, duration_seconds: float | None, where: str
) -> ClipGrid:
    """Where the clips of a video lie in time.

    Args:
        entry: What the file says.
        spec: How the features were made; its stride counts where the entry has none.
        duration_seconds: Length of the video, from an annotation file; counts where the entry has
            none. Without either, the clips' stride gives the length.
        where: Names the video and its file, for the message.

    Returns:
        The grid.

    Raises:
        FeatureError: There are no clips, or neither a duration nor a time base is known, or the two
            do not fit.
    """
    duration = entry.duration_seconds
    if duration is None:
        duration = duration_seconds
    stride = entry.stride_seconds
    if stride is None:
        stride = spec.stride_seconds
    if duration is None:
        if stride is None:
            raise FeatureError(
                f"{where}: neither a duration nor a time base is known; give seconds_per_clip in "
                "data.features.spec, or the duration of the video"
            )
        duration = stride * entry.num_clips
    try:
        return ClipGrid.uniform(entry.num_clips, duration, stride, entry.start_seconds)
    except FeatureError as err:
        raise FeatureError(f"{where}: {err}") from err


def check_clips(
    clips: npt.NDArray[np.floating], spec: FeatureSpec, where: str
) -> npt.NDArray[np.float32]:
    """Make sure that an array is what a model can read.

    Args:
        clips: What was read (T, C).
        spec: How it was made.
        where: Names the video and its file, for the message.

    Returns:
        The same numbers as float32.

    Raises:
        FeatureError: The shape is not (T >= 1, C of the spec), or values are NaN or infinite, also
            where float32 cannot hold them.
    """
    if clips.ndim != 2 or clips.shape[1] != spec.feature_dim:
        raise FeatureError(
            f"{where}: features of shape {clips.shape}: expected (T, {spec.feature_dim}), as the "
            "feature spec says (feature_dim)"
        )
    if len(clips) == 0:
        raise FeatureError(f"{where}: zero clips; extract this video again")
    with np.errstate(over="ignore"):
        single = clips.astype(np.float32, copy=False)
    finite = np.isfinite(single).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise FeatureError(
            f"{where}: NaN or infinite values in {len(bad)} of {len(clips)} clips, first in clip "
            f"{bad[0]}; extract this video again"
        )
    return single
