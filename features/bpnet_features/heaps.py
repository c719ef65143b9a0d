"""HDF5's heaps of texts, looked at before the library reads them.

An attribute that holds a text is a length, and the place of an object in such a heap. The library
walks for ever in a heap whose objects have no size, and takes as much memory as the length says.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from bpnet_features.bounds import reading
from bpnet_features.errors import FeatureError

_MAGIC = b"GCOL\x01"  # the name, and the only version that there is
_HEADER = struct.Struct("<8xQ")  # size of the heap
_OBJECT = struct.Struct("<HH4xQ")  # number, references, size
_TEXT = struct.Struct("<LQL")  # length, place of the heap, number of the object
# Our own header, and the heap of its texts, stand at the beginning of a file.
_SEARCHED_BYTES = 2**20


def check_heaps(path: Path, where: str) -> None:
    """Refuse a file with a damaged heap of texts, or texts longer than what is in it.

    Args:
        path: An HDF5 file; its beginning is looked at.
        where: Names it, for the message.

    Raises:
        FeatureError: An object of a heap ends before it begins, or after its heap; or a text is
            longer than its object.
    """
    with reading(where), path.open("rb") as file:
        data = file.read(_SEARCHED_BYTES)
    for start in _places(data, _MAGIC):
        sizes = _object_sizes(data, start)
        if sizes is None or not _texts_fit(data, start, sizes):
            raise FeatureError(
                f"{where}: a damaged heap of texts at byte {start}; download or extract it again",
                kind="damaged data",
            )


def _places(data: bytes, pattern: bytes) -> Iterator[int]:
    place = data.find(pattern)
    while place >= 0:
        yield place
        place = data.find(pattern, place + 1)


def _object_sizes(data: bytes, start: int) -> dict[int, int] | None:
    """Sizes of the objects of a heap by their number, or None where it is damaged."""
    place = start + _HEADER.size
    if place > len(data):
        return {}  # not all of it was read
    sizes = {}
    end = start + _HEADER.unpack_from(data, start)[0]
    while place + _OBJECT.size <= min(end, len(data)):
        number, _, size = _OBJECT.unpack_from(data, place)
        # Object 0 is the free space at the end; its size counts its own header.
        place += _OBJECT.size + -(-size // 8) * 8 if number else size
        if place > end or (number == 0 and size < _OBJECT.size):
            return None
        sizes[number] = size
    return sizes


def _texts_fit(data: bytes, start: int, sizes: dict[int, int]) -> bool:
    for place in _places(data, struct.pack("<Q", start)):
        if 4 <= place <= len(data) - 12:
            length, _, number = _TEXT.unpack_from(data, place - 4)
            if number and length > sizes.get(number, length):
                return False
    return True
