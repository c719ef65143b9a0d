"""FeatureStore and FeatureWriter: one HDF5 file of clip features, in and out.

The format is described in ``features/README.md``.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from bpnet_features.atomic import part_of, put_in_place
from bpnet_features.errors import FeatureError, MissingVideoError
from bpnet_features.grid import ClipGrid
from bpnet_features.spec import FeatureSpec

FORMAT_NAME = "bpnet-features"
FORMAT_VERSION = 1


class FeatureStore:
    """Reads the features of one video at a time; memory does not grow with the file.

    The file is opened at the first read, once in each process: a store can be handed to worker
    processes, forked or spawned, and no open handle is ever shared or pickled.

    Args:
        path: The HDF5 file: our own format, or a plain file that holds per video a (T, C) dataset,
            or a group with exactly one such dataset (``f[video_id]["c3d_features"]``).
        spec: How the features were made. Needed for a plain file; for our own format it must agree
            with what the file says.
        default_spec: Stands in for ``spec`` in a plain file, and is not compared otherwise.

    Raises:
        FeatureError: The file is missing, truncated, not HDF5, of an unknown version, or does not
            agree with ``spec``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        spec: FeatureSpec | None = None,
        *,
        default_spec: FeatureSpec | None = None,
    ) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._pid = -1
        self.is_plain = "format" not in self._handle().attrs
        self.spec = self._read_spec(spec or (default_spec if self.is_plain else None))

    def _handle(self) -> h5py.File:
        if self._file is not None and self._pid != os.getpid():
            # Inherited through a fork. HDF5 would hand out the parent's file descriptor again, and
            # with it the position that it shares with the parent, if this stayed open.
            self._file.close()
            self._file = None
        if self._file is None:
            self._file, self._pid = self._open(), os.getpid()
        return self._file

    def _open(self) -> h5py.File:
        if not self.path.is_file():
            raise FeatureError(f"feature file {str(self.path)!r}: no such file")
        try:
            # Stores are replaced whole, never written in place, so reading needs no lock; a lock
            # would fail on read-only and network file systems.
            return h5py.File(self.path, "r", locking=False)
        except OSError as err:
            with self.path.open("rb") as file:
                is_hdf5 = file.read(8) == b"\x89HDF\r\n\x1a\n"
            fault = "a truncated or damaged HDF5 file" if is_hdf5 else "not an HDF5 file"
            raise FeatureError(
                f"feature file {str(self.path)!r} ({self.path.stat().st_size} bytes): {fault}; "
                "download or extract it again"
            ) from err

    def _read_spec(self, given: FeatureSpec | None) -> FeatureSpec:
        if self.is_plain:
            if given is None:
                raise FeatureError(
                    f"feature file {str(self.path)!r} carries no feature spec: say how it was made "
                    "with the setting data.feature_spec (at least backbone and feature_dim)"
                )
            return given
        attributes = self._handle().attrs
        name, version = attributes["format"], attributes.get("format_version")
        if name != FORMAT_NAME or version != FORMAT_VERSION:
            raise FeatureError(
                f"feature file {str(self.path)!r} has format {name!r} version {version}: "
                f"expected {FORMAT_NAME!r} version {FORMAT_VERSION}; update bpnet, or write the "
                "file anew"
            )
        stored = FeatureSpec.from_json(str(attributes.get("spec", "")), str(self.path))
        differences = stored.differences(given) if given is not None else []
        if differences:
            raise FeatureError(
                f"feature file {str(self.path)!r} does not fit the given feature spec "
                f"(file != given): {'; '.join(differences)}"
            )
        return stored

    def video_ids(self) -> list[str]:
        """Ids of all videos, sorted."""
        return sorted(self._handle().keys())

    def __len__(self) -> int:
        return len(self._handle())

    def __contains__(self, video_id: str) -> bool:
        return self._key(video_id) is not None

    def _key(self, video_id: str) -> str | None:
        # 2D-TAN writes TACoS ids with ".avi", everybody else without.
        file = self._handle()
        for key in (video_id, f"{video_id}.avi"):
            if key and key in file:
                return key
        return None

    def dataset(self, video_id: str) -> h5py.Dataset:
        """The stored array of one video, not read yet.

        Args:
            video_id: Id of the video.

        Returns:
            The HDF5 dataset.

        Raises:
            MissingVideoError: The video is not in the file.
            FeatureError: The entry is not one dataset.
        """
        key = self._key(video_id)
        if key is None:
            raise MissingVideoError(
                f"video {video_id!r} is not in {self.path} ({len(self)} videos); run `bpnet "
                "features check` to list all gaps, or set data.missing=drop"
            )
        entry = self._handle()[key]
        if isinstance(entry, h5py.Group):
            datasets = [value for value in entry.values() if isinstance(value, h5py.Dataset)]
            if len(datasets) != 1:
                raise FeatureError(
                    f"video {video_id!r} in {self.path} is a group of {len(datasets)} datasets "
                    f"{list(entry)}: expected exactly one"
                )
            entry = datasets[0]
        return entry

    def duration_seconds(self, video_id: str) -> float | None:
        """Length of a video in seconds, or None where the file does not say."""
        value = self.dataset(video_id).attrs.get("duration_seconds")
        return None if value is None else float(value)

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
        dataset = self.dataset(video_id)
        return self._grid(dataset, duration_seconds, f"video {video_id!r} in {self.path}")

    def read(
        self, video_id: str, duration_seconds: float | None = None
    ) -> tuple[npt.NDArray[np.float32], ClipGrid]:
        """Read one video.

        Args:
            video_id: Id of the video.
            duration_seconds: Length of the video, from an annotation file; used where the store
                does not say, as in plain files.

        Returns:
            Features (T, C) float32 with T >= 1, and the grid that says where they lie in time.

        Raises:
            MissingVideoError: The video is not in the file.
            FeatureError: The features have another width than the spec says, no clips, NaN or
                infinite values, or no known duration or time base.
        """
        dataset = self.dataset(video_id)
        where = f"video {video_id!r} in {self.path}"
        if dataset.ndim != 2 or dataset.dtype.kind != "f":
            raise FeatureError(
                f"{where}: {dataset.dtype} of shape {dataset.shape}: expected floats (T, C)"
            )
        if dataset.shape[1] != self.spec.feature_dim:
            raise FeatureError(
                f"{where}: features have width {dataset.shape[1]}, the feature spec says "
                f"{self.spec.feature_dim} (feature_dim)"
            )
        if dataset.shape[0] == 0:
            raise FeatureError(f"{where}: zero clips; extract this video again")
        try:
            clips = dataset[:].astype(np.float32, copy=False)
        except OSError as err:
            raise FeatureError(f"{where}: damaged data ({err}); extract it again") from err
        if not np.isfinite(clips).all():
            bad = np.flatnonzero(~np.isfinite(clips).all(axis=1))
            raise FeatureError(
                f"{where}: NaN or infinite values in {len(bad)} of {len(clips)} clips, first in "
                f"clip {bad[0]}; extract this video again"
            )
        return clips, self._grid(dataset, duration_seconds, where)

    def _grid(self, dataset: h5py.Dataset, duration: float | None, where: str) -> ClipGrid:
        attributes: Any = dataset.attrs
        duration = attributes.get("duration_seconds", duration)
        stride = attributes.get("stride_seconds", self.spec.stride_seconds)
        num_clips = dataset.shape[0]
        if duration is None:
            if stride is None:
                raise FeatureError(
                    f"{where}: neither a duration nor a time base is known; give "
                    "seconds_per_clip in data.feature_spec, or the duration of the video"
                )
            duration = float(stride) * num_clips
        try:
            return ClipGrid.uniform(
                num_clips, float(duration), stride, float(attributes.get("start_seconds", 0.0))
            )
        except FeatureError as err:
            raise FeatureError(f"{where}: {err}") from err

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._file is not None and self._pid == os.getpid():
            self._file.close()
        self._file = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_pid": -1}

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FeatureWriter:
    """Writes a store. The file appears, whole, when the writer is closed, and not before.

    Use it in a ``with`` statement: where the body fails, or the process is killed, what stood under
    the path before is untouched.

    Args:
        path: The file to write; its folder must exist.
        spec: How the features were made.
        dtype: ``"float16"`` or ``"float32"``, as stored; reading always gives float32.

    Raises:
        FeatureError: The folder is missing, or the dtype is another one.
    """

    def __init__(
        self, path: str | os.PathLike[str], spec: FeatureSpec, dtype: str = "float32"
    ) -> None:
        self.path = Path(path)
        self.spec = spec
        if dtype not in ("float16", "float32"):
            raise FeatureError(f"dtype={dtype!r}: expected 'float16' or 'float32'")
        if not self.path.parent.is_dir():
            raise FeatureError(f"folder {str(self.path.parent)!r}: no such folder; create it first")
        self._dtype = np.dtype(dtype)
        self._part = part_of(self.path)
        self._file = h5py.File(self._part, "w")
        self._file.attrs["format"] = FORMAT_NAME
        self._file.attrs["format_version"] = FORMAT_VERSION
        self._file.attrs["spec"] = spec.to_json()

    def add(
        self,
        video_id: str,
        clips: npt.ArrayLike,
        duration_seconds: float,
        *,
        stride_seconds: float | None = None,
        start_seconds: float = 0.0,
    ) -> None:
        """Add one video.

        Args:
            video_id: Its id; not empty, without "/".
            clips: Features (T, C), T >= 1.
            duration_seconds: Length of the video, > 0.
            stride_seconds: Seconds between neighbouring clips; None: as the spec says.
            start_seconds: Where the first clip begins.

        Raises:
            FeatureError: The id is taken or not allowed, the features have another width than the
                spec says, or are not finite (as stored), or do not fit the duration.
        """
        where = f"video {video_id!r}"
        if not video_id or "/" in video_id:
            raise FeatureError(f"{where}: expected an id that is not empty and has no '/'")
        if video_id in self._file:
            raise FeatureError(f"{where}: is in {self.path} already; ids must differ")
        array = np.asarray(clips)
        if array.ndim != 2 or array.shape[1] != self.spec.feature_dim or len(array) == 0:
            raise FeatureError(
                f"{where}: features of shape {array.shape}: expected (T, {self.spec.feature_dim}) "
                "with T >= 1"
            )
        with np.errstate(over="ignore"):
            stored = array.astype(self._dtype)
        if not np.isfinite(stored).all():
            raise FeatureError(f"{where}: NaN, or values that {self._dtype} cannot hold")
        stride = self.spec.stride_seconds if stride_seconds is None else stride_seconds
        try:
            ClipGrid.uniform(len(array), duration_seconds, stride, start_seconds)
        except FeatureError as err:
            raise FeatureError(f"{where}: {err}") from err
        dataset = self._file.create_dataset(video_id, data=stored)
        dataset.attrs["duration_seconds"] = float(duration_seconds)
        dataset.attrs["start_seconds"] = float(start_seconds)
        if stride is not None:
            dataset.attrs["stride_seconds"] = float(stride)

    def close(self) -> None:
        """Finish the file and put it in its place; where that fails, nothing is left behind."""
        try:
            self._file.close()
            put_in_place(self._part, self.path)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Give up: nothing is left behind, and what stood under the path stays."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()
