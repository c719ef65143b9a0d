"""The videos of a library: features of a store, or video files whose features are extracted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bpnet.build import check_spec
from bpnet.errors import FeatureError
from bpnet.inference.localizer import Localizer
from bpnet_features import ClipGrid, FeatureSource, open_features
from bpnet_features.video import video_files

_BLOCK_BYTES = 2**20


class Collection(Protocol):
    """Videos that a library encodes.

    Attributes:
        path: Where they are, for messages.
    """

    path: Path

    def video_ids(self) -> Sequence[str]:
        """Ids of the videos, each once."""
        ...

    def content(self, video_id: str) -> str:
        """A digest of what a video holds: equal where its features are."""
        ...

    def read(self, video_id: str) -> tuple[npt.NDArray[np.float32], ClipGrid]:
        """Features (T, C) of a video, and where they lie in time."""
        ...


class StoredVideos:
    """Videos of a feature store.

    Args:
        source: The store, of features that the model reads.
        durations: Seconds of the videos that are taken of it, by id, for features that do not say;
            None: all, and the features say.
    """

    def __init__(self, source: FeatureSource, durations: Mapping[str, float] | None = None) -> None:
        self.path = source.path
        self._source = source
        self._durations = durations
        self._last: tuple[str, npt.NDArray[np.float32], ClipGrid] | None = None

    def video_ids(self) -> Sequence[str]:
        """See `Collection`."""
        return self._source.video_ids() if self._durations is None else list(self._durations)

    def content(self, video_id: str) -> str:
        """See `Collection`."""
        clips, grid = self.read(video_id)
        digest = hashlib.sha256(np.ascontiguousarray(clips).tobytes())
        digest.update(grid.edges_seconds.tobytes() + np.float64(grid.duration_seconds).tobytes())
        return digest.hexdigest()

    def read(self, video_id: str) -> tuple[npt.NDArray[np.float32], ClipGrid]:
        """See `Collection`; what was read for its digest is not read again."""
        if self._last is None or self._last[0] != video_id:
            duration = (self._durations or {}).get(video_id)
            self._last = (video_id, *self._source.read(video_id, duration))
        return self._last[1:]


class VideoFiles:
    """Video files; a video's id is the name of its file.

    Args:
        localizer: What extracts their features, as its checkpoint's spec says.
        folder: The folder that they are in.
    """

    def __init__(self, localizer: Localizer, folder: Path) -> None:
        self.path = folder
        self._localizer = localizer
        self._spec = localizer.feature_spec.to_json().encode()

    def video_ids(self) -> Sequence[str]:
        """See `Collection`."""
        return [file.name for file in video_files(self.path)]

    def content(self, video_id: str) -> str:
        """See `Collection`: of the bytes of the file, and of how its features are made."""
        digest = hashlib.sha256(self._spec)
        try:
            with (self.path / video_id).open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    digest.update(block)
        except OSError as err:
            raise FeatureError(f"video {str(self.path / video_id)!r}: {err.strerror}") from err
        return digest.hexdigest()

    def read(self, video_id: str) -> tuple[npt.NDArray[np.float32], ClipGrid]:
        """See `Collection`."""
        return self._localizer.extract(self.path / video_id)


def open_collection(localizer: Localizer, path: Path) -> Collection:
    """The videos at a path.

    Args:
        localizer: The model.
        path: A feature store of any layout, or a folder with video files.

    Returns:
        The videos.

    Raises:
        FeatureError: There is neither.
        CheckpointError: The features are of another kind than the checkpoint was trained on.
    """
    if path.is_dir() and video_files(path):
        return VideoFiles(localizer, path)
    source = open_features(path, default_spec=localizer.feature_spec)
    check_spec(localizer.feature_spec, source.spec, str(source.path))
    return StoredVideos(source)
