"""FeatureWriter: one HDF5 file of clip features, written.

The format is described in ``features/README.md``.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from bpnet_features.atomic import part_of, write_atomically
from bpnet_features.errors import FeatureError
from bpnet_features.header import check_dtype
from bpnet_features.ids import check_id
from bpnet_features.places import Place, lay_out, on_disk
from bpnet_features.source import Entry, entry_grid
from bpnet_features.spec import FeatureSpec

COPIED_BYTES = 2**20  # at a time


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
        self._dtype = dtype
        self._places: dict[str, Place] = {}
        # The array of all clips has its size from the beginning, which is not known yet.
        self._clips_path = part_of(self.path)
        self._clips = self._clips_path.open("wb")

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
        if video_id in self._places:
            raise FeatureError(f"{where}: is in {self.path} already; ids must differ")
        array = np.asarray(clips)
        if array.ndim != 2 or array.shape[1] != self.spec.feature_dim or len(array) == 0:
            raise FeatureError(
                f"{where}: features of shape {array.shape}: expected (T, {self.spec.feature_dim}) "
                "with T >= 1"
            )
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(array, dtype=on_disk(self._dtype))
        if not np.isfinite(stored).all():
            raise FeatureError(f"{where}: NaN, or values that {self._dtype} cannot hold")
        stride = self.spec.stride_seconds if stride_seconds is None else stride_seconds
        entry = Entry(
            len(array),
            array.shape[1],
            stored.dtype.name,
            duration_seconds,
            stride,
            start_seconds,
        )
        if duration_seconds is not None or stride is not None:
            entry_grid(entry, self.spec, None, where)
        self._clips.write(stored.data)
        self._places[video_id] = Place(video_id, entry, entry.num_clips)

    def close(self) -> None:
        """Finish the file and put it in its place; where that fails, nothing is left behind."""
        try:
            self._clips.close()
            write_atomically(self.path, self._write)
        finally:
            self.discard()

    def _write(self, path: Path) -> None:
        places = list(self._places.values())
        offset = lay_out(path, self.spec, places, self._dtype)
        with self._clips_path.open("rb") as clips, path.open("r+b") as file:
            file.seek(offset)
            shutil.copyfileobj(clips, file, COPIED_BYTES)

    def discard(self) -> None:
        """Give up: nothing is left behind, and what stood under the path stays."""
        self._clips.close()
        self._clips_path.unlink(missing_ok=True)

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
