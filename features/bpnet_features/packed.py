"""Version 2 of our format: the clips of all videos in one array, and a table of the videos.

The array lies in the file as it does in memory, so it is mapped, and a video is a slice of it; the
table is read at once. So neither opening the file nor reading a video costs more where there are
more videos, but for their rows in the table.
"""

from __future__ import annotations

import math

import h5py
import numpy as np
import numpy.typing as npt

from bpnet_features.bounds import MAX_ARRAY_BYTES, reading
from bpnet_features.errors import FeatureError
from bpnet_features.hdf5 import HDF5File
from bpnet_features.ids import MAX_ID_BYTES
from bpnet_features.mapped import MappedRows
from bpnet_features.source import Entry

CLIPS, VIDEOS = "clips", "videos"
MAX_TABLE_BYTES = 2**28  # three million videos
_TYPES = (np.dtype("<f2"), np.dtype("<f4"))
NUM_SHOWN = 5


def row_type(id_bytes: int) -> np.dtype[np.void]:
    """A row of the table of videos.

    Args:
        id_bytes: Room for an id.

    Returns:
        Its type. NaN stands for a length or stride that is not known, 0 for a number of clips
        before pooling where there was none.
    """
    return np.dtype(
        [
            ("id", h5py.string_dtype("utf-8", id_bytes)),
            ("first_clip", "<i8"),
            ("num_clips", "<i8"),
            ("duration_seconds", "<f8"),
            ("start_seconds", "<f8"),
            ("stride_seconds", "<f8"),
            ("resampled_from", "<i8"),
        ]
    )


class PackedVideos:
    """The videos of such a file.

    Args:
        file: The file; it is closed.
        feature_dim: Width C that its spec says.

    Raises:
        FeatureError: The array or the table is not what it must be, or does not fit in the file.
    """

    def __init__(self, file: HDF5File, feature_dim: int) -> None:
        where = f"feature file {str(file.path)!r}"
        with reading(where):
            clips, videos = (_dataset(file, name, where) for name in (CLIPS, VIDEOS))
            _check_clips(clips, feature_dim, where)
            self._feature_dim, self._dtype = feature_dim, clips.dtype
            self._rows = _read_table(videos, where)
            self._clips: MappedRows | None = None
            if len(clips):
                offset = clips.id.get_offset()
                self._clips = MappedRows(file.path, offset, clips.shape, clips.dtype)
            num_clips = len(clips)
            file.close()
        self._places = _places(self._rows["id"], where)
        firsts, counts = self._rows["first_clip"], self._rows["num_clips"]
        most = MAX_ARRAY_BYTES // (4 * feature_dim)
        bad = (firsts < 0) | (counts < 1) | (counts > most) | (firsts > num_clips - counts)
        if bad.any():
            raise FeatureError(
                f"{where}: {bad.sum()} of {len(bad)} videos do not lie in its {num_clips} clips, "
                f"or take more than {most} (rows {_first_of(np.flatnonzero(bad))} of {VIDEOS!r}): "
                "damaged data; download or extract it again",
                kind="damaged data",
            )

    def names(self) -> list[str]:
        """Ids of all videos."""
        return list(self._places)

    def entry(self, name: str, where: str) -> Entry:
        """What is known of a video; ``where`` names it in messages."""
        return self._entry(self._rows[self._places[name]].item(), where)

    def read(self, name: str, where: str) -> tuple[npt.NDArray[np.floating], Entry]:
        """The numbers of a video (T, C), mapped and read-only, and what is known of it."""
        row = self._rows[self._places[name]].item()
        assert self._clips is not None  # there is a row
        return self._clips.rows(row[1], row[2]), self._entry(row, where)

    def _entry(self, row: tuple[bytes, int, int, float, float, float, int], where: str) -> Entry:
        _, _, num_clips, duration, start, stride, resampled_from = row
        if not math.isfinite(start) or math.isinf(duration) or math.isinf(stride):
            raise FeatureError(
                f"{where}: duration_seconds={duration}, start_seconds={start}, "
                f"stride_seconds={stride}: expected finite numbers"
            )
        return Entry(
            num_clips,
            self._feature_dim,
            self._dtype.name,
            None if math.isnan(duration) else duration,
            None if math.isnan(stride) else stride,
            start,
            resampled_from or None,
        )

    def close(self) -> None:
        """Let go of the file; the next read opens it again."""
        if self._clips is not None:
            self._clips.close()


def _dataset(file: HDF5File, name: str, where: str) -> h5py.Dataset:
    found = file.find(name, where) if name in file.root else None
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        raise FeatureError(f"{where}: no dataset {name!r}: expected one; write the file anew")
    how = found.id.get_create_plist()
    # Contiguous, here, and never filled in later: what is claimed is what is stored.
    in_one_piece = how.get_layout() == h5py.h5d.CONTIGUOUS and not how.get_external_count()
    offset = found.id.get_offset() if in_one_piece else None
    end = (offset or 0) + found.nbytes
    if found.nbytes and (offset is None or end > file.path.stat().st_size):
        raise FeatureError(
            f"{where}: dataset {name!r} of shape {found.shape} and {found.dtype} does not lie in "
            "one piece in the file: truncated or damaged data, or written by something else; "
            "download or extract it again",
            kind="damaged data",
        )
    return found


def _check_clips(clips: h5py.Dataset, feature_dim: int, where: str) -> None:
    if clips.dtype not in _TYPES or clips.ndim != 2 or clips.shape[1] != feature_dim:
        raise FeatureError(
            f"{where}: dataset {CLIPS!r} of shape {clips.shape} and {clips.dtype}: expected "
            f"float16 or float32 of shape (clips, {feature_dim}), as its spec says"
        )


def _read_table(videos: h5py.Dataset, where: str) -> npt.NDArray[np.void]:
    kind = videos.dtype
    names = kind.names or ()
    width = kind["id"].itemsize if "id" in names else 0
    expected = row_type(max(1, min(width, MAX_ID_BYTES)))
    same = names == expected.names and all(kind[name] == expected[name] for name in names)
    if not same or videos.ndim != 1 or videos.nbytes > MAX_TABLE_BYTES:
        raise FeatureError(
            f"{where}: dataset {VIDEOS!r} of shape {videos.shape} and {str(kind)[:500]}: expected "
            f"at most {MAX_TABLE_BYTES} bytes of rows of {', '.join(expected.names or ())}"
        )
    rows: npt.NDArray[np.void] = videos[()]
    return rows


def _places(ids: npt.NDArray[np.bytes_], where: str) -> dict[str, int]:
    """Row of each video by its id."""
    with reading(where):
        names = [name.decode() for name in ids.tolist()]
    places = {name: row for row, name in enumerate(names)}
    bad = [row for row, name in enumerate(names) if not name or places[name] != row]
    if bad:
        raise FeatureError(
            f"{where}: {len(bad)} of {len(names)} ids are empty or there twice (rows "
            f"{_first_of(bad)} of {VIDEOS!r}): damaged data; download or extract it again",
            kind="damaged data",
        )
    return places


def _first_of(rows: npt.ArrayLike) -> str:
    shown = np.asarray(rows).tolist()
    return ", ".join(map(str, shown[:NUM_SHOWN])) + (", ..." if len(shown) > NUM_SHOWN else "")
