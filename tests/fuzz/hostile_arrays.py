"""Hostile npy files, and npz files made of them."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from subject import Subject

SPEC = {"backbone": "tiny", "seconds_per_clip": 1.0}
CLIPS = np.arange(12, dtype=np.float32).reshape(4, 3)


class Runs:
    """Makes a folder when it is unpickled, in one of the ways in which a pickle can run code."""

    def __init__(self, folder: Path, way: str = "os") -> None:
        self._path = str(folder.parent / "outside" / "ran")
        self._way = way

    def __reduce__(self) -> Any:
        match self._way:
            case "eval":
                return eval, (f"__import__('os').mkdir({self._path!r})",)
            case "system":
                return os.system, (f"mkdir {self._path}",)
            case _:
                return os.mkdir, (self._path,)


def npy(shape: object = (4, 3), descr: object = "<f4", numbers: bytes | None = None) -> bytes:
    """An npy file that says what it likes; sound by default."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}"
    return with_header(text, CLIPS.tobytes() if numbers is None else numbers)


def with_header(text: str, numbers: bytes = b"", version: int = 1) -> bytes:
    """An npy file with any text as its header."""
    head = text.encode("latin1")
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    length = struct.pack("<H" if version == 1 else "<L", len(head))
    return b"\x93NUMPY" + bytes((version, 0)) + length + head + numbers


def pickled(folder: Path, way: str) -> bytes:
    """An npy file of Python objects."""
    text = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    return with_header(text, pickle.dumps([Runs(folder, way)]))


# Each stands under ``a.npy``, beside a sound ``b.npy``.
NPY: dict[str, Callable[[Path], bytes]] = {
    **{
        f"shape {shape:.40}": lambda _, shape=shape: npy(shape)  # type: ignore[misc]
        for shape in (
            "(1152921504606846976,)",
            "(2147483648, 2147483648)",
            "(4294967296, 4294967296)",
            "(268435456, 1)",
            "(1, 268435456)",
            "(-4, -3)",
            "(4, -3)",
            "()",
            "12",
            "(12,)",
            "(True, 12)",
            "(4.0, 3)",
            "('4', 3)",
            "(None, 3)",
            "[4, 3]",
            "(4, 3, 1)",
            "(2, 2, 3)",
            "(4, 1, 1, 3)",
            "(4, (3,))",
            "(4, 3" + ", 1" * 2500 + ")",
            "(10**9, 10**9)",
            "(9" + "9" * 4000 + ", 1)",
            "(-0, 3)",
        )
    },
    **{
        f"no numbers, shape {shape}": lambda _, shape=shape: npy(shape, numbers=b"")  # type: ignore[misc]
        for shape in (
            "(0, 3)",
            "(4, 0)",
            "(0, 0)",
            "(1099511627776, 0)",
            "(0, 4611686018427387904)",
        )
    },
    **{
        f"type {descr!s:.40}": lambda _, descr=descr: npy(descr=descr)  # type: ignore[misc]
        for descr in (
            "|O",
            "O8",
            "<f16",
            ">f4",
            "<f2",
            "<i4",
            "|b1",
            "<c8",
            "|S12",
            "|S2000000000",
            "<U500000000",
            "|V2147483647",
            "<M8[s]",
            "f4,f4",
            "(1000000,1000000)f4",
            [("x", "<f4")],
            [("x", "<f4", (100_000, 100_000, 100_000))],
            [("x", "|O")],
            [("x", "<f4")] * 2,
            {"names": ["x"], "formats": ["<f4"], "offsets": [2**31 - 8]},
            {"names": ["x"], "formats": ["<f4"], "offsets": [-8]},
            ("<f4", (2**30, 2**30)),
            "numpy.ndarray",
            "a" * 5000,
            None,
            17,
        )
    },
    **{
        f"header {text!a:.40}": lambda _, text=text: with_header(text, CLIPS.tobytes())  # type: ignore[misc]
        for text in (
            "",
            "{}",
            "__import__('os').mkdir('ran')",
            "{'descr': __import__('os').mkdir('ran'), 'fortran_order': False, 'shape': (4, 3)}",
            "{'fortran_order': 1, 'descr': '<f4', 'shape': (4, 3)}",
            "{'fortran_order': None, 'descr': '<f4', 'shape': (4, 3)}",
            "{'more': 1, 'descr': '<f4', 'fortran_order': False, 'shape': (4, 3)}",
            "{'shape': (4, 3), 'descr': '<f4'}",
            "{'shape': (4, 3), 'descr': '<f4', 'fortran_order': False}" * 2,
            "{**{}, 'descr': '<f4'}",
            "[" * 9000,
            "(" * 9000,
            "{" * 9000,
            "-" * 9000 + "1",
            "not " * 2000 + "1",
            "1+" * 4900 + "1",
            "1j-" * 3000 + "1",
            "a" + ".a" * 4900,
            "a" + "(" * 150,
            "lambda:" * 1200 + "1",
            "'" + "\\x00" * 2000 + "'",
            "9" * 9000,
            "1e" + "9" * 5000,
            "'''" + "a" * 20_000,
            "\0\xff\xfe",
            "b'" + "\xff" * 100 + "'",
        )
    },
    "header of 60,000 bytes": lambda _: with_header(" " * 60_000, CLIPS.tobytes()),
    "header longer than the file": lambda _: b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}",
    "version 2": lambda _: with_header("{'descr': '<f4'}", b"", 2),
    "version 3": lambda _: with_header("{'descr': '<f4'}", b"", 3),
    "version 255": lambda _: b"\x93NUMPY\xff\xff" + bytes(100),
    "magic alone": lambda _: b"\x93NUMPY",
    "nothing": lambda _: b"",
    "a byte missing": lambda _: npy()[:-1],
    "a byte too many": lambda _: npy() + b"\0",
    "NaN": lambda _: npy(numbers=np.full(12, np.nan, np.float32).tobytes()),
    "too large for float32": lambda _: npy(descr="<f8", numbers=np.full(12, 1e300).tobytes()),
    "smallest numbers": lambda _: npy(descr="<f8", numbers=np.full(12, 5e-324).tobytes()),
    "pickle, mkdir": lambda folder: pickled(folder, "os"),
    "pickle, system": lambda folder: pickled(folder, "system"),
    "pickle, eval": lambda folder: pickled(folder, "eval"),
    "a pickle and nothing else": lambda folder: pickle.dumps(Runs(folder)),
}


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file; names may occur twice."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            # writestr warns of names that are there already.
            archive.NameToInfo.pop(name, None)
            archive.writestr(info, data)
    return file.getvalue()


def zeros(size: int, start: bytes = b"") -> tuple[bytes, int]:
    """Deflated ``start`` and zeros, ``size`` bytes in all, and their checksum; made in no time."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(2**20)
    count, rest = divmod(size - len(start), len(block))
    data = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    one = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)  # the same each time
    data += one * count + packer.compress(bytes(rest)) + packer.flush()
    checksum = zlib.crc32(start)
    for _ in range(count):
        checksum = zlib.crc32(block, checksum)
    return data, zlib.crc32(bytes(rest), checksum)


def raw_zip(
    name: bytes, data: bytes, size: int, *, method: int = 8, checksum: int = 0, **end: int
) -> bytes:
    """A zip file of one member that says what it likes.

    Args:
        name: Name of the member.
        data: Its packed bytes.
        size: What it is said to unpack to.
        method: How it is said to be packed.
        checksum: Of what it unpacks to.
        **end: Fields of the end: num_here, num_members, list_bytes, list_place; right by default.

    Returns:
        The file.
    """
    fields = (20, 0, method, 0, 33, checksum, len(data), size, len(name), 0)
    start = struct.pack("<4s5H3L2H", b"PK\x03\x04", *fields) + name + data
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, *fields, 0, 0, 0, 0, 0) + name
    said = {"num_here": 1, "num_members": 1, "list_bytes": len(entry), "list_place": len(start)}
    values = (said | end).values()
    return start + entry + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, *values, 0)


def with_many(count: int, said: int) -> bytes:
    """A zip file whose list of members is longer than its end says."""
    data = zipped(("features.npy", npy()))
    start = data.index(b"PK\x01\x02")
    entry = data[start : data.index(b"PK\x05\x06")]
    listed = entry.replace(b"features.npy", b"features.npx") * (count - 1) + entry
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, said, said, len(listed), start, 0)
    return data[:start] + listed + end


def changed(data: bytes, old: bytes, new: bytes) -> bytes:
    """The bytes with every ``old`` replaced; there must be one."""
    assert old in data
    return data.replace(old, new)


def bomb(size: int, shape: str) -> bytes:
    """An npz of zeros behind a header."""
    data, checksum = zeros(size, npy(shape, numbers=b""))
    return raw_zip(b"features.npy", data, size, checksum=checksum)


def _size(rows: int, width: int) -> int:
    return len(npy(f"({rows}, {width})", numbers=b"")) + 4 * rows * width


FEATURES = ("features.npy", npy())
# Each stands under ``a.npz``, beside a sound ``b.npz``.
NPZ: dict[str, Callable[[Path], bytes]] = {
    "member ../features.npy": lambda _: zipped(("../features.npy", npy())),
    "member /features.npy": lambda _: zipped(("/features.npy", npy()), FEATURES),
    "member outside": lambda _: zipped(FEATURES, ("../../outside/x.npy", npy())),
    "member with NUL": lambda _: changed(
        zipped(("features.npyX", npy())), b"features.npyX", b"features.npy\0"
    ),
    "member is a folder": lambda _: zipped(("features.npy/", b"")),
    "member without a name": lambda _: raw_zip(b"", npy(), len(npy()), method=0),
    "member of a long name": lambda _: zipped(("x" * 60_000 + ".npy", npy())),
    "two members of one name": lambda _: zipped(FEATURES, FEATURES),
    "two members of one name, one large": lambda _: zipped(
        FEATURES, ("features.npy", npy("(2147483648, 2147483648)"))
    ),
    "a member beside": lambda folder: zipped(FEATURES, ("x.npy", pickled(folder, "os"))),
    "999 members": lambda _: zipped(*((f"{n}.npy", b"") for n in range(999)), FEATURES),
    "1,001 members": lambda _: zipped(*((f"{n}.npy", b"") for n in range(1000)), FEATURES),
    "200,000 members, said 1": lambda _: with_many(200_000, 1),
    "pickle": lambda folder: zipped(("features.npy", pickled(folder, "system"))),
    "a zip in a zip": lambda _: zipped(("features.npy", zipped(FEATURES))),
    "a tenfold zip": lambda _: zipped(
        ("features.npy", zipped(("features.npy", bomb(2**26, "(4, 3)"))))
    ),
    "bomb of 3 GB": lambda _: bomb(_size(750_000, 1000), "(750000, 1000)"),
    "bomb of 64 GB, said 48 bytes": lambda _: raw_zip(
        b"features.npy", zeros(2**26, npy())[0] * 3, len(npy())
    ),
    "bomb behind a small header": lambda _: bomb(2**26, "(4, 3)"),
    "bomb in another member": lambda _: raw_zip(b"x.npy", zeros(2**26)[0], 2**26),
    "size of 4 GB": lambda _: raw_zip(b"features.npy", npy(), 2**32 - 1, method=0),
    "deflated, said stored": lambda _: raw_zip(b"features.npy", zeros(2**20)[0], 2**20, method=0),
    "stored, said deflated": lambda _: raw_zip(b"features.npy", npy(), len(npy())),
    "wrong checksum": lambda _: raw_zip(
        b"features.npy", zeros(176, npy())[0], 176, checksum=0x12345678
    ),
    **{
        f"method {method}": lambda _, method=method: raw_zip(  # type: ignore[misc]
            b"features.npy", npy(), len(npy()), method=method
        )
        for method in (1, 9, 12, 14, 93, 99, 65535)
    },
    "bzip2": lambda _: zipped(FEATURES, method=zipfile.ZIP_BZIP2),
    "lzma": lambda _: zipped(FEATURES, method=zipfile.ZIP_LZMA),
    "encrypted": lambda _: changed(
        zipped(FEATURES), b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    ),
    "name not UTF-8": lambda _: changed(
        changed(zipped(("fe\xe4tures.npy", npy())), b"\xc3\xa4", b"\xe4\xe4"), b"PK", b"PK"
    ),
    "list at a wrong place": lambda _: raw_zip(b"features.npy", npy(), 176, method=0, list_place=9),
    "list before the file": lambda _: raw_zip(
        b"features.npy", npy(), 176, method=0, list_place=2**32 - 2
    ),
    "list of 4 GB": lambda _: raw_zip(b"features.npy", npy(), 176, method=0, list_bytes=2**32 - 2),
    "list of no bytes": lambda _: raw_zip(b"features.npy", npy(), 176, method=0, list_bytes=0),
    "0 members said": lambda _: raw_zip(
        b"features.npy", npy(), len(npy()), method=0, num_members=0, num_here=0
    ),
    "65,535 members said": lambda _: raw_zip(
        b"features.npy", npy(), len(npy()), method=0, num_members=65535, num_here=65535
    ),
    "zip64 that says much": lambda _: _zip64(2**60, 2**60, 2**60),
    "zip64 that says little": lambda _: _zip64(0, 0, 0),
    "end alone": lambda _: b"PK\x05\x06" + bytes(18),
    "end cut": lambda _: zipped(FEATURES)[:-1],
    "local header cut": lambda _: changed(zipped(FEATURES), b"PK\x03\x04", b"PK\x03\x05"),
    "bytes before the zip": lambda _: bytes(1000) + zipped(FEATURES),
    "bytes after the zip": lambda _: zipped(FEATURES) + bytes(1000),
    "two zips": lambda _: zipped(FEATURES) + zipped(("x.npy", npy())),
    "an npy": lambda _: npy(),
    "nothing": lambda _: b"",
}


def _zip64(count: int, size: int, place: int) -> bytes:
    data = zipped(FEATURES)
    start = data.index(b"PK\x05\x06")
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, place)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, start, 1)
    return data[:start] + record + locator + data[start:]


def _subject(suffix: str, write: Callable[[Path], bytes], sound: bytes, layout: str) -> object:
    def make(folder: Path) -> Subject:
        path = folder / "release"
        path.mkdir()
        (path / f"a.{suffix}").write_bytes(write(folder))
        (path / f"b.{suffix}").write_bytes(sound)
        return Subject("features", path, layout, SPEC)

    return make


def _query(write: Callable[[Path], bytes]) -> object:
    """The same bytes as the token features of a query, under a name as long as that of features."""

    def make(folder: Path) -> Subject:
        path = folder / "clip_text_features"
        path.mkdir()
        (path / "qid7.npz").write_bytes(zipped(("last_hidden_state.npy", write(folder))))
        hidden = zipped(("last_hidden_state.npy", npy()), ("pooler_output.npy", npy("(12,)")))
        (path / "qid12.npz").write_bytes(hidden)
        return Subject("queries", path)

    return make


def cases() -> dict[str, Any]:
    """All of them by name."""
    found = {f"npy: {name}": _subject("npy", write, npy(), "npy") for name, write in NPY.items()}
    found |= {
        f"npz: {name}": _subject("npz", write, zipped(FEATURES), "npz")
        for name, write in NPZ.items()
    }
    found |= {
        f"npz of npy: {name}": _subject(
            "npz",
            lambda folder, write=write: zipped(("features.npy", write(folder))),  # type: ignore[misc]
            zipped(FEATURES),
            "npz",
        )
        for name, write in NPY.items()
    }
    return found | {f"query: {name}": _query(write) for name, write in NPY.items()}
