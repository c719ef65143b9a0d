"""Random damage to the files of a subject: to their bytes, their text, or the folder."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from pathlib import Path

# Where containers say what they hold: npy, zip and HDF5 begin with it, zip files end with it.
HEADER_BYTES = 600
PLACES = (0, 1, 6, 8, 10, 64, 100, 128, 512, 800, 1024, 2048)

_PIECES = (
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\r",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-1",
    b"1e308",
    b"9" * 400,
    b"9" * 5000,
    b"null",
    b"true",
    b'"',
    b"{}",
    b"[]",
    b"\\ud800",
    b"../../x",
    b"\n",
    b",",
    b"#",
    b"\xe2\x80\xa8",
    b"a" * 10**6,
)
_DEPTHS = (100, 300, 900, 985, 1000, 3000, 100_000)
_VALUE = re.compile(rb'-?\d+(?:\.\d+)?|"[^"\n]*"|\[[^][]*\]')
_KEY = re.compile(rb'"[^"\n]*": *(?:-?\d+(?:\.\d+)?|"[^"\n]*")(?:, *)?')


def mutate(folder: Path, rng: random.Random) -> str:
    """Damage one file, or the folder itself.

    Args:
        folder: All files of a subject lie below it.
        rng: Says what and where.

    Returns:
        What was done.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(files)
    if rng.random() < 0.04:
        return f"{_to_folder(path, files, rng)}: {path.relative_to(folder)}"
    is_text = path.suffix in (".json", ".jsonl", ".csv", ".txt")
    operations = [*BYTES, *TEXT] if is_text else BYTES
    operation = rng.choice(operations)
    data = path.read_bytes()
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        data = operation(data or b" ", rng)
    path.write_bytes(data)
    return f"{operation.__name__}: {path.relative_to(folder)}"


def flip(data: bytes, rng: random.Random) -> bytes:
    """Flip up to four bits."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        changed[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    """Leave the end out; sometimes only a byte of it."""
    places = [*PLACES, len(data) - 1, len(data) - 22, len(data) // 2, rng.randrange(len(data))]
    return data[: max(0, min(rng.choice(places), len(data) - 1))]


def behead(data: bytes, rng: random.Random) -> bytes:
    """Leave the beginning out."""
    return data[rng.choice((1, 4, 8, 64, rng.randrange(len(data)))) :]


def insert(data: bytes, rng: random.Random) -> bytes:
    """Put something in, in place of up to three bytes."""
    place = _place(data, rng)
    return data[:place] + rng.choice(_PIECES) + data[place + rng.randint(0, 3) :]


def delete(data: bytes, rng: random.Random) -> bytes:
    """Take some bytes out."""
    place = _place(data, rng)
    return data[:place] + data[place + rng.choice((1, 2, 4, 8, 100)) :]


def swap(data: bytes, rng: random.Random) -> bytes:
    """Exchange two neighbouring blocks."""
    place, size = _place(data, rng), rng.choice((1, 4, 8, 64, 512))
    one, other = data[place : place + size], data[place + size : place + 2 * size]
    return data[:place] + other + one + data[place + 2 * size :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    """Say something twice."""
    start = _place(data, rng)
    end = start + rng.choice((1, 8, 64, 512, 4096))
    return data[:end] + data[start:end] + data[end:]


def overwrite(data: bytes, rng: random.Random) -> bytes:
    """Zeros, ones, or a number that is large, in place of what was there."""
    size = rng.choice((1, 2, 4, 8, 8, 64, 512))
    value = rng.choice((b"\0" * size, b"\xff" * size, b"\xff" * (size - 1) + b"\x7f"))
    place = _place(data, rng)
    place -= place % size if rng.random() < 0.5 else 0
    return data[:place] + value + data[place + size :]


def append(data: bytes, rng: random.Random) -> bytes:
    """Add something behind the end."""
    return data + rng.choice((b"\0", bytes(4096), b"PK\x05\x06" + bytes(18), data))


def empty(data: bytes, rng: random.Random) -> bytes:
    """A file of no bytes, or of zeros."""
    return b"" if rng.random() < 0.5 else bytes(len(data))


def change_value(data: bytes, rng: random.Random) -> bytes:
    """Another number, string or list in place of one."""
    values = (*_PIECES, b"{}", b'[[1, "a"]]', b'{"a": 1}', b"1e-320", b"0", b'""', b"-0.0", b"1_0")
    return _replaced(data, _VALUE, rng.choice(values), rng)


def nest(data: bytes, rng: random.Random) -> bytes:
    """A value nested deeply in place of one."""
    depth = rng.choice(_DEPTHS)
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"[1,", b"]"), (b"[", b"")))
    return _replaced(data, _VALUE, opening * depth + b"0" + closing * depth, rng)


def drop_key(data: bytes, rng: random.Random) -> bytes:
    """Take an entry out of an object."""
    return _replaced(data, _KEY, b"", rng)


def double_key(data: bytes, rng: random.Random) -> bytes:
    """Give an entry of an object twice."""
    found = list(_KEY.finditer(data))
    if not found:
        return data
    one = rng.choice(found)
    return data[: one.start()] + one[0].rstrip(b", ") + b", " + data[one.start() :]


def re_encode(data: bytes, rng: random.Random) -> bytes:
    """Another encoding or other line ends."""
    text = data.decode("utf-8", "replace")
    return rng.choice(
        (
            data.replace(b"\n", b"\r\n"),
            data.replace(b"\n", b"\r"),
            b"\xef\xbb\xbf" + data,
            text.encode("utf-16"),
            text.encode("utf-32-le"),
            data.replace(b"a", b"\xe9"),
        )
    )


BYTES: list[Callable[[bytes, random.Random], bytes]] = [
    flip,
    flip,
    flip,
    cut,
    behead,
    insert,
    delete,
    swap,
    repeat,
    overwrite,
    overwrite,
    append,
    empty,
]
TEXT: list[Callable[[bytes, random.Random], bytes]] = [
    change_value,
    change_value,
    change_value,
    nest,
    nest,
    drop_key,
    double_key,
    re_encode,
]


def _place(data: bytes, rng: random.Random) -> int:
    """Somewhere, mostly where a container says what it holds."""
    match rng.randrange(4):
        case 0:
            return rng.randrange(len(data))
        case 1:
            return max(0, len(data) - 1 - rng.randrange(HEADER_BYTES))
        case 2:
            return rng.randrange(min(len(data), 128))
        case _:
            return rng.randrange(min(len(data), 10 * HEADER_BYTES))


def _replaced(data: bytes, pattern: re.Pattern[bytes], value: bytes, rng: random.Random) -> bytes:
    found = list(pattern.finditer(data))
    if not found:
        return data
    one = rng.choice(found)
    return data[: one.start()] + value + data[one.end() :]


def _to_folder(path: Path, files: list[Path], rng: random.Random) -> str:
    """What can happen to a file without a byte of it changing."""
    match rng.randrange(8):
        case 0:
            path.unlink()
            path.mkdir()
            return "a folder of that name"
        case 1:
            path.unlink()
            os.mkfifo(path)
            return "a pipe of that name"
        case 2:
            path.unlink()
            path.symlink_to(path.name)
            return "a link to itself"
        case 3:
            path.unlink()
            path.symlink_to("/dev/zero")
            return "a link to a device"
        case 4:
            path.unlink()
            return "gone"
        case 5:
            path.write_bytes(rng.choice(files).read_bytes())
            return "the content of another file"
        case 6:
            path.rename(path.with_name(f"v_{path.name}"))
            return "another name"
        case _:
            path.with_name(f"{path.stem}\n\x1b[2J\udcff{path.suffix}").write_bytes(
                path.read_bytes()
            )
            return "beside a name that is no text"
