"""npy arrays from strangers: the header is parsed and checked before anything else is read."""

from __future__ import annotations

import dataclasses
import io
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.lib.format as npy_format
import numpy.typing as npt

from bpnet_features.bounds import check_axes, check_claim, reading
from bpnet_features.errors import FeatureError
from bpnet_features.source import Entry

HEADER_BYTES = 2**14  # more than NumPy itself accepts
_READ_HEADER = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


@dataclasses.dataclass(frozen=True)
class NpyHeader:
    """What the header of an npy file says.

    Attributes:
        shape: Shape of the array.
        dtype: Its type, a plain float.
        fortran: Whether the first axis runs fastest.
        offset: Bytes before the numbers.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    def array(self, numbers: npt.NDArray[Any]) -> npt.NDArray[np.floating]:
        """The flat numbers in the shape of the header."""
        return numbers.reshape(self.shape, order="F" if self.fortran else "C")


def parse_header(head: bytes, num_bytes: int, where: str) -> NpyHeader:
    """Parse and check a header.

    Args:
        head: The first `HEADER_BYTES` of the file, or all of a shorter one.
        num_bytes: Size of the whole file.
        where: Names the file, for the message.

    Returns:
        The header.

    Raises:
        FeatureError: It is no npy file, holds no plain floats, is too large, or its size is not
            what the header says.
    """
    if not head.startswith(b"\x93NUMPY"):
        raise FeatureError(f"{where}: not an npy file, it begins with {head[:6]!r}; download again")
    with reading(where), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 wrote, and of damaged ones
        file = io.BytesIO(head)
        version = npy_format.read_magic(file)
        if version not in _READ_HEADER:
            raise FeatureError(f"{where}: npy version {version}: expected (1, 0) or (2, 0)")
        shape, fortran, dtype = _READ_HEADER[version](file)
        shape = tuple(map(int, shape))  # True is a number as well
    if dtype.hasobject:
        raise FeatureError(
            f"{where}: holds pickled Python objects, which could run any code: not read; save "
            "plain float arrays",
            kind="wrong type",
        )
    check_claim(shape, dtype, where)
    claimed = math.prod(shape) * dtype.itemsize
    found = num_bytes - file.tell()
    if claimed != found:
        raise FeatureError(
            f"{where}: {found} bytes of numbers where the header says {dtype} of shape {shape}, "
            f"{claimed} bytes: truncated or damaged data; download or extract it again",
            kind="damaged data",
        )
    return NpyHeader(shape, dtype, fortran, file.tell())


def entry(path: Path, where: str) -> Entry:
    """What an npy file (T, C) says of itself."""
    header = _file_header(path, where)
    check_axes(header.shape, where, axes_hint(header.shape))
    return Entry(header.shape[0], header.shape[1], header.dtype.name)


def read(path: Path, where: str) -> npt.NDArray[np.floating]:
    """The array (T, C) of an npy file, as stored."""
    header = _file_header(path, where)
    check_axes(header.shape, where, axes_hint(header.shape))
    return _read(path, header, where)


def squeezed_entry(path: Path, where: str) -> Entry:
    """As `entry`, of an array (T, 1, 1, C)."""
    shape = _squeezed(header := _file_header(path, where), where)
    return Entry(shape[0], shape[1], header.dtype.name)


def squeezed_read(path: Path, where: str) -> npt.NDArray[np.floating]:
    """As `read`, of an array (T, 1, 1, C)."""
    shape = _squeezed(header := _file_header(path, where), where)
    return _read(path, header, where).reshape(shape)


def vector_entry(path: Path, where: str) -> Entry:
    """As `entry`, of a single vector (C,): one clip."""
    header = _file_header(path, where)
    if len(header.shape) != 1:
        raise FeatureError(
            f"{where}: an array of shape {header.shape}: expected one vector (C,)",
            kind="wrong type",
        )
    return Entry(1, header.shape[0], header.dtype.name)


def vector_read(path: Path, where: str) -> npt.NDArray[np.floating]:
    """As `read`, of a single vector (C,)."""
    vector_entry(path, where)
    return _read(path, _file_header(path, where), where)


def axes_hint(shape: tuple[int, ...]) -> str:
    """What an array of another number of axes probably is, for a message."""
    if len(shape) == 4 and shape[1:3] == (1, 1):
        return "; arrays (T, 1, 1, C) are read with the layout 'lgi'"
    if len(shape) == 4:
        return (
            "; four axes are patch features as R2-Tuning publishes them (T, layers, patches, C), "
            "which no model here reads: pool them to (T, C) first"
        )
    if len(shape) == 1:
        return "; single vectors {id}_{start}_{end}.npy are read with the layout 'tall'"
    return ""


def file_shape(path: Path, where: str) -> tuple[int, ...]:
    """Shape of the array in an npy file; any number of axes."""
    return _file_header(path, where).shape


def _squeezed(header: NpyHeader, where: str) -> tuple[int, int]:
    shape = header.shape
    if len(shape) != 4 or shape[1:3] != (1, 1):
        raise FeatureError(
            f"{where}: an array of shape {shape}: expected (T, 1, 1, C)", kind="wrong type"
        )
    return shape[0], shape[3]


def _file_header(path: Path, where: str) -> NpyHeader:
    with reading(where):
        num_bytes = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
    return parse_header(head, num_bytes, where)


def _read(path: Path, header: NpyHeader, where: str) -> npt.NDArray[np.floating]:
    # Not mapped into memory: a file that shrinks under a mapping kills the process.
    with reading(where):
        count = math.prod(header.shape)
        numbers = np.fromfile(path, header.dtype, count, offset=header.offset)
        return header.array(numbers)
