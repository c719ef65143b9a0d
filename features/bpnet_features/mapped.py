"""MappedRows: rows of one array of a file, mapped into memory."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bpnet_features.bounds import reading
from bpnet_features.errors import FeatureError

# Pages that were read count as memory of the process, though the system may take them back at any
# time. Letting go of them now and then keeps that count small; they stay in the system's cache.
KEPT_BYTES = 2**25


class MappedRows:
    """An array (N, C) in a file; rows of it are read from the disk when they are looked at.

    It can be handed to worker processes, forked or spawned: all of them share the same pages.

    Args:
        path: The file; it may be replaced by another one, but not be written to.
        offset: Where the array begins, in bytes.
        shape: N and C; N >= 1.
        dtype: Type of its numbers.
    """

    def __init__(
        self, path: Path, offset: int, shape: tuple[int, int], dtype: np.dtype[np.floating]
    ) -> None:
        self._path = path
        self._offset = offset
        self._shape = shape
        self._dtype = dtype
        self._stamp = _stamp(path.stat())
        self._map: mmap.mmap | None = None
        self._array: npt.NDArray[np.floating] | None = None
        self._kept_bytes = 0

    def rows(self, first: int, count: int) -> npt.NDArray[np.floating]:
        """Some rows, not copied; they can be read only.

        Args:
            first: Number of the first one.
            count: How many, >= 1.

        Returns:
            They (count, C).

        Raises:
            FeatureError: The file cannot be read, or is another one than it was.
        """
        array = self._open() if self._array is None else self._array
        found = array[first : first + count]
        self._kept_bytes += found.nbytes
        if self._kept_bytes > KEPT_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            assert self._map is not None
            self._map.madvise(mmap.MADV_DONTNEED)
            self._kept_bytes = found.nbytes
        return found

    def _open(self) -> npt.NDArray[np.floating]:
        where = f"feature file {str(self._path)!r}"
        with reading(where), self._path.open("rb") as file:
            if _stamp(os.fstat(file.fileno())) != self._stamp:
                raise FeatureError(f"{where}: has changed since it was opened; open it again")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._array = np.ndarray(self._shape, self._dtype, self._map, self._offset)
        return self._array

    def close(self) -> None:
        """Let go of the file, once nobody holds rows of it; the next read opens it again."""
        self._map = self._array = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None, "_array": None, "_kept_bytes": 0}


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
