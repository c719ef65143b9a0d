"""npz files from strangers: one array of the file is read, after its sizes have been checked."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bpnet_features.bounds import check_axes
from bpnet_features.errors import FeatureError
from bpnet_features.npy import HEADER_BYTES, NpyHeader, parse_header
from bpnet_features.source import Entry
from bpnet_features.zips import open_zip

# What Moment-DETR, Lighthouse and UniVTG call the features of a video, and those of a query.
VIDEO_KEY = "features"
QUERY_KEYS = ("last_hidden_state", "pooler_output")
_BLOCK_BYTES = 2**20


def entry(path: Path, where: str) -> Entry:
    """What the array ``features`` (T, C) of an npz file says of itself."""
    with open_zip(path, where) as members:
        header = _header(members, VIDEO_KEY, where)
    check_axes(header.shape, where)
    return Entry(header.shape[0], header.shape[1], header.dtype.name)


def read(path: Path, where: str) -> npt.NDArray[np.floating]:
    """The array ``features`` (T, C) of an npz file, as stored."""
    array = read_array(path, VIDEO_KEY, where)
    check_axes(array.shape, where)
    return array


def read_array(path: Path, key: str, where: str) -> npt.NDArray[np.floating]:
    """One array of an npz file.

    Args:
        path: The file.
        key: Name of the array.
        where: Names the file, for the message.

    Returns:
        The array, of any shape, as stored.

    Raises:
        FeatureError: The file is damaged, lacks the array, or claims too much.
    """
    with open_zip(path, where) as members:
        header = _header(members, key, where)
        numbers = np.empty(math.prod(header.shape), header.dtype)
        left = numbers.view(np.uint8)
        with members.open(f"{key}.npy") as file:
            file.read(header.offset)
            while len(left):
                block = file.read(min(len(left), _BLOCK_BYTES))
                if not block:
                    raise EOFError(f"{len(left)} bytes are missing")
                left[: len(block)] = np.frombuffer(block, np.uint8)
                left = left[len(block) :]
            file.read(1)  # reaching the end compares the checksum
        return header.array(numbers)


def array_shape(path: Path, key: str, where: str) -> tuple[int, ...]:
    """Shape of one array of an npz file; see `read_array`."""
    with open_zip(path, where) as members:
        return _header(members, key, where).shape


def array_names(path: Path, where: str) -> list[str]:
    """Names of the arrays in an npz file."""
    with open_zip(path, where) as members:
        return [name.removesuffix(".npy") for name in members.namelist()]


def _header(members: zipfile.ZipFile, key: str, where: str) -> NpyHeader:
    names = members.namelist()
    if f"{key}.npy" not in names:
        arrays = [name.removesuffix(".npy") for name in names[:5]]
        hint = "; these are features of queries" if set(arrays) & set(QUERY_KEYS) else ""
        raise FeatureError(
            f"{where}: arrays {arrays}: expected one named {key!r}{hint}", kind="not one array"
        )
    info = members.getinfo(f"{key}.npy")
    with members.open(info) as file:
        head = file.read(HEADER_BYTES)
    return parse_header(head, info.file_size, where)
