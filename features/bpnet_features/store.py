"""FeatureStore and FeatureWriter: one HDF5 file of clip features, in and out.

The format is described in ``features/README.md``.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np
import numpy.typing as npt

from bpnet_features.atomic import part_of, put_in_place
from bpnet_features.bounds import check_axes
from bpnet_features.errors import FeatureError
from bpnet_features.grid import ClipGrid
from bpnet_features.hdf5 import (
    HDF5File,
    attribute,
    check_dataset,
    number_attribute,
    read_dataset,
)
from bpnet_features.ids import VideoIndex
from bpnet_features.source import Entry, check_clips, entry_grid, missing_video
from bpnet_features.spec import FeatureSpec
from bpnet_features.timebase import TimeBaseWatch

FORMAT_NAME = "bpnet-features"
FORMAT_VERSION = 1
MAX_ID_BYTES = 255
_TIMES = ("duration_seconds", "stride_seconds", "start_seconds", "resampled_from")


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
        self._where = f"feature file {str(self.path)!r}"
        self._file = HDF5File(self.path)
        self.spec = self._read_spec(spec)
        self.notes: tuple[str, ...] = ("layout bpnet: our own format, it carries its spec",)
        self._index = VideoIndex(self._file.names(), self._where, exact=True)
        self._watch = TimeBaseWatch(str(self.path))

    def _read_spec(self, given: FeatureSpec | None) -> FeatureSpec:
        root = self._file.root
        name = attribute(root, "format", self._where)
        version = attribute(root, "format_version", self._where)
        if name is None:
            raise FeatureError(
                f"{self._where} is not in our own format: it carries no feature spec; open it as "
                "another layout (data.features.layout, --layout)"
            )
        if name != FORMAT_NAME or version != FORMAT_VERSION:
            raise FeatureError(
                f"{self._where} has format {name!r} version {version}: expected {FORMAT_NAME!r} "
                f"version {FORMAT_VERSION}; update bpnet, or write the file anew"
            )
        text = attribute(root, "spec", self._where)
        stored = FeatureSpec.from_json(str(text or ""), str(self.path))
        differences = stored.differences(given) if given is not None else []
        if differences:
            raise FeatureError(
                f"{self._where} does not fit the given feature spec (file != given): "
                f"{'; '.join(differences)}"
            )
        return stored

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
        return self._entry(self._dataset(video_id), self._place(video_id))

    def read_clips(self, video_id: str) -> npt.NDArray[np.float32]:
        """Features of a video.

        Args:
            video_id: Id of the video.

        Returns:
            Features (T, C) float32, T >= 1, finite.

        Raises:
            MissingVideoError: The video is not in the file.
            FeatureError: The features are damaged, have another width than the spec says, no clips,
                or NaN or infinite values.
        """
        where = self._place(video_id)
        return check_clips(read_dataset(self._dataset(video_id), where), self.spec, where)

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
        dataset = self._dataset(video_id)
        entry = self._entry(dataset, where)
        clips = check_clips(read_dataset(dataset, where), self.spec, where)
        return clips, self._grid(video_id, entry, duration_seconds)

    def _place(self, video_id: str) -> str:
        return f"video {video_id!r} in {self.path}"

    def _dataset(self, video_id: str) -> h5py.Dataset:
        name = self._index.find(video_id)
        if name is None:
            raise missing_video(video_id, self)
        where = self._place(video_id)
        found = self._file.find(name, where)
        if not isinstance(found, h5py.Dataset):
            raise FeatureError(
                f"{where}: a group, expected one dataset (T, C)", kind="not one array"
            )
        check_dataset(found, where)
        check_axes(found.shape, where)
        return found

    def _entry(self, dataset: h5py.Dataset, where: str) -> Entry:
        times = {name: number_attribute(dataset, name, where) for name in _TIMES}
        resampled_from = times["resampled_from"]
        return Entry(
            num_clips=dataset.shape[0],
            feature_dim=dataset.shape[1],
            dtype=dataset.dtype.name,
            duration_seconds=times["duration_seconds"],
            stride_seconds=times["stride_seconds"],
            start_seconds=times["start_seconds"] or 0.0,
            resampled_from=None if resampled_from is None else int(resampled_from),
        )

    def _grid(self, video_id: str, entry: Entry, duration: float | None) -> ClipGrid:
        self._watch.look(video_id, entry, self.spec, duration)
        return entry_grid(entry, self.spec, duration, self._place(video_id))

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        self._watch.report()
        self._file.close()

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_id(video_id: str) -> None:
    """Make sure that an id can stand in a store.

    Args:
        video_id: The id; it may come from a file of a stranger.

    Raises:
        FeatureError: It is empty, ``"."``, has a ``"/"``, NUL or half of a surrogate pair, or is
            longer than `MAX_ID_BYTES`.
    """
    try:
        num_bytes = len(video_id.encode())
    except UnicodeEncodeError:
        num_bytes = 0
    bad = video_id == "." or "/" in video_id or "\0" in video_id
    if bad or not 0 < num_bytes <= MAX_ID_BYTES:
        shown = video_id if len(video_id) <= MAX_ID_BYTES else video_id[:40] + "..."
        raise FeatureError(
            f"video {shown!r}: expected an id that is not empty, not '.', has no '/' and no NUL, "
            f"and at most {MAX_ID_BYTES} bytes of UTF-8; rename it"
        )


def check_dtype(dtype: str) -> None:
    """Raise a `FeatureError` where a store cannot hold numbers of this type."""
    if dtype not in ("float16", "float32"):
        raise FeatureError(f"dtype={dtype!r}: expected 'float16' or 'float32'")


def write_header(file: h5py.File, spec: FeatureSpec) -> None:
    """Write what makes a file a store: its format, version and spec.

    Args:
        file: The file, open for writing.
        spec: How the features were made.
    """
    file.attrs["format"] = FORMAT_NAME
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["spec"] = spec.to_json()


def write_times(
    dataset: h5py.Dataset,
    duration_seconds: float | None,
    stride_seconds: float | None,
    start_seconds: float,
    resampled_from: int | None = None,
) -> None:
    """Write where the clips of one video lie in time.

    Args:
        dataset: Its clips.
        duration_seconds: Length of the video, or None where nobody knows.
        stride_seconds: Seconds between neighbouring clips, or None: duration / clips.
        start_seconds: Where the first clip begins.
        resampled_from: Number of clips before pooling, where they were pooled; the stride is that
            of the clips before.
    """
    _write_number(dataset, "duration_seconds", duration_seconds)
    _write_number(dataset, "start_seconds", start_seconds)
    _write_number(dataset, "stride_seconds", stride_seconds)
    _write_number(dataset, "resampled_from", resampled_from)


def _write_number(dataset: h5py.Dataset, name: str, value: float | None) -> None:
    """``dataset.attrs[name] = value``, in a fifth of the time."""
    if value is not None:
        whole = name == "resampled_from"
        kind = h5py.h5t.STD_I64LE if whole else h5py.h5t.IEEE_F64LE
        scalar = h5py.h5s.create(h5py.h5s.SCALAR)
        attribute = h5py.h5a.create(dataset.id, name.encode(), kind, scalar)
        attribute.write(np.array(value, np.int64 if whole else np.float64))


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
        check_dtype(dtype)
        if not self.path.parent.is_dir():
            raise FeatureError(f"folder {str(self.path.parent)!r}: no such folder; create it first")
        self._dtype = np.dtype(dtype)
        self._part = part_of(self.path)
        self._file = h5py.File(self._part, "w")
        write_header(self._file, spec)

    def add(
        self,
        video_id: str,
        clips: npt.ArrayLike,
        duration_seconds: float | None,
        *,
        stride_seconds: float | None = None,
        start_seconds: float = 0.0,
    ) -> None:
        """Add one video.

        Args:
            video_id: Its id; not empty, without "/".
            clips: Features (T, C), T >= 1.
            duration_seconds: Length of the video, > 0; None: whoever reads it must know it.
            stride_seconds: Seconds between neighbouring clips; None: as the spec says.
            start_seconds: Where the first clip begins.

        Raises:
            FeatureError: The id is taken or not allowed, the features have another width than the
                spec says, or are not finite (as stored), or do not fit the duration.
        """
        where = f"video {video_id!r}"
        check_id(video_id)
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
        if duration_seconds is not None or stride is not None:
            entry = Entry(
                len(array),
                array.shape[1],
                stored.dtype.name,
                duration_seconds,
                stride,
                start_seconds,
            )
            entry_grid(entry, self.spec, None, where)
        dataset = self._file.create_dataset(video_id, data=stored)
        write_times(dataset, duration_seconds, stride, start_seconds)

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
