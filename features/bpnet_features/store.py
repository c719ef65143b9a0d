"""FeatureStore: one HDF5 file of clip features, read.

The format is described in ``features/README.md``.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bpnet_features.apart import ApartVideos
from bpnet_features.grid import ClipGrid
from bpnet_features.hdf5 import HDF5File
from bpnet_features.header import PACKED, read_header
from bpnet_features.ids import VideoIndex
from bpnet_features.packed import PackedVideos
from bpnet_features.source import Entry, check_clips, entry_grid, missing_video
from bpnet_features.spec import FeatureSpec
from bpnet_features.timebase import TimeBaseWatch


class FeatureStore:
    """Reads the features of one video at a time; memory does not grow with the file.

    A store can be handed to worker processes, forked or spawned. Files of other projects are opened
    by `bpnet_features.open_features`.

    Args:
        path: The HDF5 file, in our own format.
        spec: What the file must agree with.

    Raises:
        FeatureError: The file is missing, truncated, not HDF5, in another format, of an unknown
            version, or does not agree with ``spec``.
    """

    layout = "bpnet"

    def __init__(self, path: str | os.PathLike[str], spec: FeatureSpec | None = None) -> None:
        self.path = Path(path)
        file = HDF5File(self.path)
        self.spec, version = read_header(file, spec)
        self.notes: tuple[str, ...] = ("layout bpnet: our own format, it carries its spec",)
        self._videos: ApartVideos | PackedVideos
        if version == PACKED:
            self._videos = PackedVideos(file, self.spec.feature_dim)
        else:
            self._videos = ApartVideos(file)
            self.notes += (
                "format version 1: `bpnet features convert` makes it version 2, which is mapped "
                "into memory and read faster",
            )
        where = f"feature file {str(self.path)!r}"
        self._index = VideoIndex(self._videos.names(), where, exact=True)
        self._watch = TimeBaseWatch(str(self.path))

    def video_ids(self) -> list[str]:
        """Ids of all videos, sorted."""
        return self._index.ids()

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, video_id: str) -> bool:
        return self._index.find(video_id) is not None

    def files(self, video_id: str) -> tuple[Path, ...]:
        """The files that a video is read from."""
        return (self.path,)

    def entry(self, video_id: str) -> Entry:
        """What is known of a video; reads no numbers.

        Args:
            video_id: Id of the video.

        Returns:
            The entry.

        Raises:
            MissingVideoError: The video is not in the file.
            FeatureError: What is there is not one array (T, C), or claims an impossible size.
        """
        return self._videos.entry(self._find(video_id), self._place(video_id))

    def read_clips(self, video_id: str) -> npt.NDArray[np.float32]:
        """Features of a video.

        Args:
            video_id: Id of the video.

        Returns:
            Features (T, C) float32, T >= 1, finite; those of a float32 store may be mapped from the
            file, and cannot be written to.

        Raises:
            MissingVideoError: The video is not in the file.
            FeatureError: The features are damaged, have another width than the spec says, no clips,
                or NaN or infinite values.
        """
        where = self._place(video_id)
        clips, _ = self._videos.read(self._find(video_id), where)
        return check_clips(clips, self.spec, where)

    def grid(self, video_id: str, duration_seconds: float | None = None) -> ClipGrid:
        """Where the clips of one video lie in time; reads no features.

        Args:
            video_id: Id of the video.
            duration_seconds: As in `read`.

        Returns:
            The grid.

        Raises:
            MissingVideoError: The video is not in the file.
            FeatureError: It has no clips, or no known duration or time base.
        """
        return self._grid(video_id, self.entry(video_id), duration_seconds)

    def read(
        self, video_id: str, duration_seconds: float | None = None
    ) -> tuple[npt.NDArray[np.float32], ClipGrid]:
        """Read one video.

        Args:
            video_id: Id of the video.
            duration_seconds: Length of the video, from an annotation file; used where the store
                does not say.

        Returns:
            Features (T, C) float32 with T >= 1, and the grid that says where they lie in time.

        Raises:
            MissingVideoError: The video is not in the file.
            FeatureError: As `read_clips`, or there is no known duration or time base.
        """
        where = self._place(video_id)
        stored, entry = self._videos.read(self._find(video_id), where)
        clips = check_clips(stored, self.spec, where)
        return clips, self._grid(video_id, entry, duration_seconds)

    def _place(self, video_id: str) -> str:
        return f"video {video_id!r} in {self.path}"

    def _find(self, video_id: str) -> str:
        name = self._index.find(video_id)
        if name is None:
            raise missing_video(video_id, self)
        return name

    def _grid(self, video_id: str, entry: Entry, duration: float | None) -> ClipGrid:
        self._watch.look(video_id, entry, self.spec, duration)
        return entry_grid(entry, self.spec, duration, self._place(video_id))

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        self._watch.report()
        self._videos.close()

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
