"""Files that appear whole or not at all: written beside their place, then moved there.

A process killed at any time leaves the old file or the new one, never a part under the final name.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

NAME_BYTES = 200  # of a file's name in that of its part: file systems take 255 in all


def part_of(path: Path) -> Path:
    """A name beside a file, ``.NAME.*.part``, to write it under; new at each call."""
    name = os.fsdecode(os.fsencode(path.name)[:NAME_BYTES])
    return path.with_name(f".{name}.{secrets.token_hex(4)}.part")


def put_in_place(part: Path, path: Path) -> None:
    """Give a finished file its final name, once its bytes are on the disk.

    Args:
        part: The finished file, in the same folder.
        path: Its final name; what stood there is replaced.
    """
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let a function write a file under another name, then put it in place.

    Args:
        path: The final file; its folder must exist.
        write: Gets the path to write to. Where it fails, nothing is left behind.
    """
    part = part_of(path)
    try:
        write(part)
        put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Write a UTF-8 text file, see `write_atomically`.

    Args:
        path: The final file; its folder must exist.
        text: The text. What is no character, as in the name of a file that is not UTF-8, is written
            as an escape such as ``\\udcff``.
    """
    encoded = text.encode(errors="backslashreplace")
    write_atomically(path, lambda part: part.write_bytes(encoded))
