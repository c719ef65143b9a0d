"""Zip containers from strangers (npz, pt): sizes are checked before a member is unpacked."""

from __future__ import annotations

import contextlib
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bpnet_features.bounds import MAX_ARRAY_BYTES, reading
from bpnet_features.errors import FeatureError

MAGIC = b"PK\x03\x04"
# Far more than any release has: one or two arrays in an npz, about ten records in a pt.
MAX_MEMBERS = 1000
MAX_LIST_BYTES = 2**19
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")


@contextlib.contextmanager
def open_zip(path: Path, where: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip file whose list of members is short and whose members have sizes within bounds.

    Args:
        path: The file.
        where: Names it, for the message.

    Yields:
        The open file. What its parser raises inside the ``with`` becomes a FeatureError.

    Raises:
        FeatureError: It is damaged, or claims too much.
    """
    with reading(where), path.open("rb") as file:
        _check_list(file, where)
        with zipfile.ZipFile(file) as members:
            _check_members(members, where)
            yield members


def _check_list(file: BinaryIO, where: str) -> None:
    """Refuse a list of members by what the end of the file says, before it takes memory.

    Only an end that all zip libraries read alike is let through: PyTorch has another than Python.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - _END.size - _LOCATOR.size - _END64.size))
    tail = file.read()
    end, locator = tail[-_END.size :], tail[: -_END.size][-_LOCATOR.size :]
    if end.rfind(b"PK\x05\x06") != 0 or len(end) < _END.size:
        raise FeatureError(
            f"{where}: no end of a zip file ({size} bytes): truncated or damaged data; "
            "download it again",
            kind="damaged data",
        )
    num_members, num_bytes, place, comment = _END.unpack(end)[4:]
    list_end = size - _END.size
    is_sound = comment == 0
    if locator.startswith(b"PK\x06\x07"):  # a zip64 file, as PyTorch always writes
        signature, *_, num_members, num_bytes, place = _END64.unpack_from(tail)
        list_end -= _LOCATOR.size + _END64.size
        is_sound &= signature == b"PK\x06\x06" and _LOCATOR.unpack(locator)[2] == list_end
    if num_members > MAX_MEMBERS or num_bytes > MAX_LIST_BYTES:
        raise FeatureError(
            f"{where}: a zip file of {num_members} members, their names in {num_bytes} bytes: at "
            f"most {MAX_MEMBERS} in {MAX_LIST_BYTES} bytes are read",
            kind="too large",
        )
    if not is_sound or place + num_bytes != list_end:
        raise FeatureError(
            f"{where}: the list of members of the zip file is not where its end says: damaged "
            "data; download it again",
            kind="damaged data",
        )


def _check_members(members: zipfile.ZipFile, where: str) -> None:
    names = members.namelist()
    if len(set(names)) != len(names) or len(names) > MAX_MEMBERS:
        raise FeatureError(f"{where}: two members of the zip file have one name; download it again")
    for info in members.infolist():
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FeatureError(
                f"{where}: member {info.filename!r} is packed by method {info.compress_type}: "
                "expected none or deflate; save it again with numpy.savez"
            )
        if info.file_size > 2 * MAX_ARRAY_BYTES + 2**16:  # float64, and a header
            raise FeatureError(
                f"{where}: member {info.filename!r} claims {info.file_size} bytes: more than one "
                f"video may take ({MAX_ARRAY_BYTES} bytes as float32)",
                kind="too large",
            )
