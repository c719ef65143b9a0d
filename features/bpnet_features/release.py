"""Release: features as another project published them, read without converting them first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bpnet_features.bounds import check_claim
from bpnet_features.errors import FeatureError
from bpnet_features.grid import ClipGrid
from bpnet_features.readers import Reader
from bpnet_features.source import Entry, check_clips, entry_grid, missing_video
from bpnet_features.spec import FeatureSpec
from bpnet_features.timebase import TimeBaseWatch

NORMALISATIONS = ("none", "l2")
# Moment-DETR adds it to each norm.
_EPSILON = 1e-5


class Release:
    """Features in a foreign layout, one or several streams of them; see `open_features`.

    It can be handed to worker processes, forked or spawned.

    Args:
        path: What the user named: the file or folder, or the folder of the streams.
        readers: A reader for each stream, in the order of their columns.
        spec: How the features were made.
        normalise: ``"none"``, or ``"l2"``: each stream of each clip is divided by its norm.
        notes: What was recognised, and why.
    """

    def __init__(
        self,
        path: Path,
        readers: Sequence[Reader],
        spec: FeatureSpec,
        normalise: str = "none",
        notes: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.layout = "+".join(dict.fromkeys(reader.layout for reader in readers))
        self.spec = spec
        self.notes = tuple(notes)
        self._readers = tuple(readers)
        self._normalise = normalise
        self._watch = TimeBaseWatch(str(path))

    def video_ids(self) -> list[str]:
        """Ids of the videos that every stream has, sorted, as annotation files write them."""
        first, *others = self._readers
        ids = first.index.ids()
        return [name for name in ids if all(other.index.find(name) for other in others)]

    def __len__(self) -> int:
        return len(self.video_ids() if len(self._readers) > 1 else self._readers[0].index)

    def __contains__(self, video_id: str) -> bool:
        return all(reader.index.find(video_id) is not None for reader in self._readers)

    def _places(self, video_id: str) -> list[tuple[Reader, str, str]]:
        """The reader, listed name and name for messages of each stream of a video."""
        places = []
        for reader in self._readers:
            name = reader.index.find(video_id)
            if name is None:
                raise missing_video(video_id, self)
            where = f"video {video_id!r} in {reader.path}"
            places.append((reader, name, where))
        return places

    def files(self, video_id: str) -> tuple[Path, ...]:
        """The files, or folders, that a video is read from."""
        places = self._places(video_id)
        return tuple(file for reader, name, _ in places for file in reader.files(name))

    def entry(self, video_id: str) -> Entry:
        """What is known of a video; reads no numbers where the layout allows it.

        Args:
            video_id: Id of the video.

        Returns:
            The entry; the width is that of all streams.

        Raises:
            MissingVideoError: The video is not there.
            FeatureError: What is there is not one array (T, C), claims an impossible size, or the
                streams do not belong together.
        """
        entries = [reader.entry(name, where) for reader, name, where in self._places(video_id)]
        return Entry(
            num_clips=self._common_length(video_id, [entry.num_clips for entry in entries]),
            feature_dim=sum(entry.feature_dim for entry in entries),
            dtype="+".join(dict.fromkeys(entry.dtype for entry in entries)),
        )

    def _common_length(self, video_id: str, lengths: list[int]) -> int:
        if max(lengths) - min(lengths) > 1:
            streams = [
                f"{reader.path.name} has {n}"
                for reader, n in zip(self._readers, lengths, strict=True)
            ]
            raise FeatureError(
                f"video {video_id!r} in {self.path}: the streams differ in their number of clips: "
                f"{', '.join(streams)}: expected a difference of 1 at most; download them again",
                kind="streams differ",
            )
        return min(lengths)

    def read_clips(self, video_id: str) -> npt.NDArray[np.float32]:
        """Features of a video.

        Args:
            video_id: Id of the video.

        Returns:
            Features (T, C) float32, T >= 1, finite; the streams stand side by side, cut to the
            shorter one.

        Raises:
            MissingVideoError: The video is not there.
            FeatureError: Its features are damaged, of another width than the spec says, or NaN or
                infinite.
        """
        where = f"video {video_id!r} in {self.path}"
        places = self._places(video_id)
        if len(places) > 1:  # all streams together may take what one may
            entry = self.entry(video_id)
            check_claim((entry.num_clips, entry.feature_dim), np.float32, where)
        elif self._normalise == "none":
            ((reader, name, place),) = places
            return check_clips(reader.read(name, place), self.spec, where)
        with np.errstate(over="ignore"):
            parts = [reader.read(name, place).astype(np.float32) for reader, name, place in places]
        length = self._common_length(video_id, [len(part) for part in parts])
        parts = [part[:length] for part in parts]
        if self._normalise == "l2":
            parts = [_divided_by_norm(part) for part in parts]
        return check_clips(np.concatenate(parts, axis=1), self.spec, where)

    def grid(self, video_id: str, duration_seconds: float | None = None) -> ClipGrid:
        """Where the clips of a video lie in time.

        Args:
            video_id: Id of the video.
            duration_seconds: Length of the video, from an annotation file.

        Returns:
            The grid.

        Raises:
            MissingVideoError: The video is not there.
            FeatureError: As `entry`, or neither the length nor a time base is known.
        """
        return self._grid(video_id, self.entry(video_id), duration_seconds)

    def read(
        self, video_id: str, duration_seconds: float | None = None
    ) -> tuple[npt.NDArray[np.float32], ClipGrid]:
        """Features and grid of a video.

        Args:
            video_id: Id of the video.
            duration_seconds: Length of the video, from an annotation file.

        Returns:
            Features (T, C) float32, and the grid that says where they lie in time.

        Raises:
            MissingVideoError: The video is not there.
            FeatureError: As `read_clips`, or neither the length nor a time base is known.
        """
        clips = self.read_clips(video_id)
        entry = Entry(len(clips), clips.shape[1], "float32")
        return clips, self._grid(video_id, entry, duration_seconds)

    def _grid(self, video_id: str, entry: Entry, duration: float | None) -> ClipGrid:
        self._watch.look(video_id, entry, self.spec, duration)
        return entry_grid(entry, self.spec, duration, f"video {video_id!r} in {self.path}")

    def close(self) -> None:
        """Close what is open; the next read opens it again."""
        self._watch.report()
        for reader in self._readers:
            reader.close()

    def __enter__(self) -> Release:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _divided_by_norm(part: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(part, axis=1, keepdims=True) + np.float32(_EPSILON)
        norms[np.isinf(norms)] = np.nan  # too large for float32: reported, not turned into zeros
        divided: npt.NDArray[np.float32] = part / norms
        return divided
