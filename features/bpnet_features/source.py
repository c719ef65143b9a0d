"""FeatureSource: what our own store and every foreign release answer alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bpnet_features.errors import FeatureError, MissingVideoError
from bpnet_features.grid import ClipGrid
from bpnet_features.halves import to_single
from bpnet_features.spec import FeatureSpec

# Bounds the memory that a damaged file can ask for: as many clips as two days have frames.
MAX_CLIPS = 2**22


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
        resampled_from: Number of clips before pooling, where they were pooled (`ClipGrid.resample`)
            to ``num_clips``; stride and start are those before. None: never pooled.
    """

    num_clips: int
    feature_dim: int
    dtype: str
    duration_seconds: float | None = None
    stride_seconds: float | None = None
    start_seconds: float = 0.0
    resampled_from: int | None = None


class FeatureSource(Protocol):
    """Clip features of many videos, read one video at a time; can be handed to worker processes.

    Attributes:
        path: The file or folder.
        layout: Name of its layout; ``"bpnet"`` is our own.
        spec: How the features were made.
        notes: What was recognised, and why, for people.
    """

    path: Path
    layout: str
    spec: FeatureSpec
    notes: tuple[str, ...]

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

        Args:
            video_id: Id of the video.

        Returns:
            The entry.

        Raises:
            MissingVideoError: The video is not there.
            FeatureError: What is there is not one array (T, C), or claims an impossible size.
        """
        ...

    def read_clips(self, video_id: str) -> npt.NDArray[np.float32]:
        """Features of a video.

        Args:
            video_id: Id of the video.

        Returns:
            Features (T, C) float32, T >= 1, finite, of the width of the spec.

        Raises:
            MissingVideoError: The video is not there.
            FeatureError: Its features are damaged, or not what they must be.
        """
        ...

    def files(self, video_id: str) -> Sequence[Path]:
        """The files, or folders of files, that a video is read from."""
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


def missing_video(video_id: str, source: FeatureSource) -> MissingVideoError:
    """The error for a video that a source lacks."""
    return MissingVideoError(
        f"video {video_id!r} is not in {source.path} ({len(source)} videos), read with the layout "
        f"{source.layout!r}; run `bpnet features check` to list all gaps, or set data.missing=drop"
    )


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
    num_clips = entry.num_clips if entry.resampled_from is None else entry.resampled_from
    if not entry.num_clips <= num_clips <= MAX_CLIPS:
        raise FeatureError(
            f"{where}: {entry.num_clips} clips, resampled_from={entry.resampled_from}: expected a "
            f"number from {entry.num_clips} to {MAX_CLIPS}; convert or extract this video again"
        )
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
                "data.features.spec, or the duration of the video",
                kind="wrong time base",
            )
        duration = stride * num_clips
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # the grid itself refuses what overflows
            grid = ClipGrid.uniform(num_clips, duration, stride, entry.start_seconds)
            return grid if entry.resampled_from is None else grid.coarsen(entry.num_clips)
    except FeatureError as err:
        raise FeatureError(f"{where}: {err}", kind="wrong time base") from err


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
    if clips.ndim != 2:
        raise FeatureError(
            f"{where}: features of shape {clips.shape}: expected (T, {spec.feature_dim})",
            kind="wrong type",
        )
    if clips.shape[1] != spec.feature_dim:
        raise FeatureError(
            f"{where}: features have width {clips.shape[1]}, the feature spec says "
            f"{spec.feature_dim} (feature_dim)",
            kind="wrong width",
        )
    if len(clips) == 0:
        raise FeatureError(f"{where}: zero clips; extract this video again", kind="zero clips")
    single, finite = to_single(clips)
    if not finite:
        with np.errstate(over="ignore"):
            bad = np.flatnonzero(~np.isfinite(clips.astype(np.float32)).all(axis=1))
        raise FeatureError(
            f"{where}: NaN or infinite values in {len(bad)} of {len(clips)} clips, first in clip "
            f"{bad[0]}; extract this video again",
            kind="NaN or infinite",
        )
    return single
