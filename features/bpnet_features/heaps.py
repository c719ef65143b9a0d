"""HDF5's heaps of texts, looked at before the library reads them.

An attribute that holds a text points into such a heap, and the library never comes back from one
whose objects have no size.
"""

from __future__ import annotations

import struct
from pathlib import Path

from bpnet_features.bounds import reading
from bpnet_features.errors import FeatureError

_MAGIC = b"GCOL\x01"  # the name, and the only version that there is
_HEADER = struct.Struct("<8xQ")  # its size in bytes
_OBJECT = struct.Struct("<HH4xQ")  # number, references, size
# Our own header, and the heap of its texts, stand at the beginning of a file.
_SEARCHED_BYTES = 2**20


def check_heaps(path: Path, where: str) -> None:
    """Refuse a file whose heaps are damaged, as far as they are at its beginning.

    Args:
        path: An HDF5 file.
        where: Names it, for the message.

    Raises:
        FeatureError: An object in a heap ends before it begins, or after its heap.
    """
    with reading(where), path.open("rb") as file:
        data = file.read(_SEARCHED_BYTES)
    start = data.find(_MAGIC)
    while start >= 0:
        if not _is_sound(data, start):
            raise FeatureError(
                f"{where}: a damaged heap of texts at byte {start}; download or extract it again",
                kind="damaged data",
            )
        start = data.find(_MAGIC, start + len(_MAGIC))


def _is_sound(data: bytes, start: int) -> bool:
    place = start + _HEADER.size
    if place > len(data):
        return True  # not all of it was read
    end = start + _HEADER.unpack_from(data, start)[0]
    while place + _OBJECT.size <= min(end, len(data)):
        number, _, size = _OBJECT.unpack_from(data, place)
        # Object 0 is the free space at the end; its size counts its own header.
        place += _OBJECT.size + -(-size // 8) * 8 if number else size
        if place > end or (number == 0 and size < _OBJECT.size):
            return False
    return True
