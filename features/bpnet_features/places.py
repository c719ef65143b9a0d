"""What a store will hold, laid out before any number is written.

The array of all clips is allocated and the table of videos written at once. From then on the
structure of the HDF5 file stays as it is, and numbers can go straight to their places.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from bpnet_features.errors import FeatureError
from bpnet_features.header import PACKED, write_header
from bpnet_features.ids import check_id
from bpnet_features.packed import CLIPS, VIDEOS, row_type
from bpnet_features.source import Entry, FeatureSource, entry_grid
from bpnet_features.spec import FeatureSpec
from bpnet_features.timebase import TimeBaseWatch

PAGE_BYTES = 4096  # the array of all clips begins at a page, where it is as large as one


@dataclasses.dataclass(frozen=True)
class Place:
    """One video and its place in the file.

    Attributes:
        entry: What is stored: shape, type and times.
        num_read: Number of clips that the source holds; more where they are pooled.
        offset: Where its numbers begin, in bytes; -1 before the file is laid out.
    """

    video_id: str
    entry: Entry
    num_read: int
    offset: int = -1

    @property
    def num_bytes(self) -> int:
        entry = self.entry
        return entry.num_clips * entry.feature_dim * np.dtype(entry.dtype).itemsize


def plan(
    source: FeatureSource, dtype: str, max_clips: int | None, durations: Mapping[str, float]
) -> tuple[list[Place], dict[str, str]]:
    """What is to be stored of each video, in the order of ids; and what is wrong with others."""
    places, faults = [], {}
    watch = TimeBaseWatch(str(source.path))
    for video_id in source.video_ids():
        try:
            check_id(video_id)
            entry = source.entry(video_id)
            watch.look(video_id, entry, source.spec, durations.get(video_id))
            if entry.duration_seconds is None:
                entry = dataclasses.replace(entry, duration_seconds=durations.get(video_id))
            where = f"video {video_id!r} in {source.path}"
            stored = _stored(entry, source.spec, dtype, max_clips, where)
            places.append(Place(video_id, stored, entry.num_clips))
        except FeatureError as err:
            faults[video_id] = str(err)
    watch.report()
    return places, faults


def _stored(
    entry: Entry, spec: FeatureSpec, dtype: str, max_clips: int | None, where: str
) -> Entry:
    """What the store is to say of a video."""
    if entry.num_clips < 1:
        raise FeatureError(f"{where}: zero clips; extract this video again")
    if entry.feature_dim != spec.feature_dim:
        raise FeatureError(
            f"{where}: features have width {entry.feature_dim}, the feature spec says "
            f"{spec.feature_dim} (feature_dim)"
        )
    if entry.stride_seconds is None:
        entry = dataclasses.replace(entry, stride_seconds=spec.stride_seconds)
    if max_clips is not None and entry.num_clips > max_clips:
        if entry.resampled_from is not None:
            raise FeatureError(
                f"{where}: {entry.num_clips} clips, pooled from {entry.resampled_from} before: "
                f"pooling them again to {max_clips} would not give what the original gives; "
                "convert that"
            )
        entry = dataclasses.replace(entry, num_clips=max_clips, resampled_from=entry.num_clips)
    # Where neither a length nor a stride is known, any length will do to check the rest.
    entry_grid(
        entry, spec, entry.start_seconds + 1.0 if entry.stride_seconds is None else None, where
    )
    return dataclasses.replace(entry, dtype=dtype)


def digest(source: FeatureSource, places: Iterable[Place]) -> str:
    """Names the file that is to be made, and what it is made from."""
    # The notes say how the streams are normalised, which the spec alone need not.
    videos = [(place.video_id, *dataclasses.astuple(place.entry)) for place in places]
    wanted = [PACKED, str(source.path.resolve()), source.spec.to_json(), source.notes, videos]
    return hashlib.sha256(json.dumps(wanted, default=float).encode()).hexdigest()


def lay_out(path: Path, spec: FeatureSpec, places: Sequence[Place], dtype: str) -> int:
    """Write a store in which all is said but the numbers.

    Args:
        path: The file; it is replaced.
        spec: How the features were made.
        places: Its videos, in the order in which their clips are to lie.
        dtype: Name of the stored type.

    Returns:
        Where the clips of the first video begin, in bytes.

    Raises:
        FeatureError: There is no room for it.
    """
    total = sum(place.num_bytes for place in places)
    free = shutil.disk_usage(path.parent).free
    if total > free:
        raise FeatureError(
            f"{total:,} bytes to write, but only {free:,} are free in "
            f"{str(path.parent)!r}; make room, or choose dtype float16 or fewer clips"
        )
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)  # the same features give the same bytes on any day
    shape = (sum(place.entry.num_clips for place in places), spec.feature_dim)
    # The lock is ours already where there is one; HDF5 would try to take it again.
    with h5py.File(
        path,
        "w",
        locking=False,
        alignment_threshold=PAGE_BYTES,
        alignment_interval=PAGE_BYTES,
    ) as file:
        write_header(file, spec)
        space, kind = h5py.h5s.create_simple(shape), h5py.h5t.py_create(on_disk(dtype))
        clips = h5py.h5d.create(file.id, CLIPS.encode(), kind, space, creation)
        _write_table(file, _rows(places))
        return clips.get_offset() or 0


def _rows(places: Sequence[Place]) -> npt.NDArray[np.void]:
    ids = [place.video_id.encode() for place in places]
    rows = np.zeros(len(places), row_type(max(map(len, ids), default=1)))
    counts = np.array([place.entry.num_clips for place in places], dtype=np.int64)
    rows["id"] = ids
    rows["first_clip"] = np.cumsum(counts) - counts
    rows["num_clips"] = counts
    for row, place in zip(rows, places, strict=True):
        entry = place.entry
        row["duration_seconds"] = _or_nan(entry.duration_seconds)
        row["start_seconds"] = entry.start_seconds
        row["stride_seconds"] = _or_nan(entry.stride_seconds)
        row["resampled_from"] = entry.resampled_from or 0
    return rows


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _write_table(file: h5py.File, rows: npt.NDArray[np.void]) -> None:
    file.create_dataset(VIDEOS, data=rows, track_times=False)


def find_offsets(path: Path, places: Sequence[Place]) -> list[Place]:
    """The places, now that the file is laid out."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            offset = file[CLIPS].id.get_offset()
            if len(file[VIDEOS]) != len(places):
                raise ValueError(f"{len(file[VIDEOS])} of {len(places)} rows")
    except (OSError, KeyError, RuntimeError, ValueError) as err:
        raise FeatureError(
            f"{str(path)!r}: what an interrupted run left is damaged ({err}); remove it, to begin "
            "anew"
        ) from err
    found = []
    for place in places:
        found.append(dataclasses.replace(place, offset=offset))
        offset += place.num_bytes
    return found


def remove(path: Path, video_ids: Iterable[str]) -> None:
    """Take videos out of the table; the room of their clips stays empty."""
    with h5py.File(path, "r+", locking=False) as file:
        rows = file[VIDEOS][()]
        gone = np.array([video_id.encode() for video_id in video_ids])
        del file[VIDEOS]
        _write_table(file, rows[~np.isin(rows["id"], gone)])


def on_disk(dtype: str) -> np.dtype[np.floating]:
    """The type of numbers in the file, by its name."""
    return np.dtype(dtype).newbyteorder("<")
