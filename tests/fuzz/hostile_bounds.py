"""The largest that is read: files that claim as much as they may, and hold it."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from hostile_arrays import SPEC, npy, raw_zip, zeros
from hostile_tensors import PROTO, tensor
from subject import Subject

from bpnet_features.bounds import (
    MAX_ARRAY_BYTES,
    MAX_JSON_BYTES,
    MAX_READ_BYTES,
    MAX_TEXT_BYTES,
)
from bpnet_features.hdf5 import MAX_CHUNK_BYTES

WIDTH = 4096
CLIPS = MAX_ARRAY_BYTES // 4 // WIDTH
SHAPE = f"({CLIPS}, {WIDTH})"
NUM_BYTES = 2 * MAX_ARRAY_BYTES  # as float64
SECONDS = 120.0
# JSON takes up to forty times its size; more than this takes too long.
SAMPLE_BYTES = 2**23


def _subject(path: Path, layout: str, streams: tuple[str, ...] = ()) -> Subject:
    return Subject(
        "largest", path, layout, SPEC, streams, most_bytes=MAX_READ_BYTES, seconds=SECONDS
    )


def _sparse(path: Path, start: bytes, size: int) -> None:
    """``start``, then zeros that take no place on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(start)
        file.truncate(len(start) + size)


def _npy(fortran: bool = False, shape: str = SHAPE) -> Callable[[Path], Subject]:
    def make(folder: Path) -> Subject:
        start = npy(shape, "<f8", b"")
        if fortran:
            start = start.replace(b"'fortran_order': False", b"'fortran_order': True ")
        _sparse(folder / "release" / "a.npy", start, NUM_BYTES)
        return _subject(folder / "release", "npy" if shape == SHAPE else "lgi")

    return make


def _npz(folder: Path) -> Subject:
    start = npy(SHAPE, "<f8", b"")
    data, checksum = zeros(len(start) + NUM_BYTES, start)
    size = len(start) + NUM_BYTES
    (folder / "release").mkdir()
    path = folder / "release" / "a.npz"
    path.write_bytes(raw_zip(b"features.npy", data, size, checksum=checksum))
    return _subject(folder / "release", "npz")


def _streams(folder: Path) -> Subject:
    for name in ("a", "b"):
        start = npy(f"({CLIPS}, {WIDTH // 2})", "<f8", b"")
        _sparse(folder / "release" / name / "v.npy", start, NUM_BYTES // 2)
    return _subject(folder / "release", "npy", ("a", "b"))


def _tensor(folder: Path) -> Subject:
    """One stored record, as PyTorch writes it, but sparse."""
    pickled = PROTO + tensor(
        f"{CLIPS} {WIDTH}", f"{WIDTH} 1", CLIPS * WIDTH, storage="torch DoubleStorage"
    )
    checksum = 0
    for _ in range(NUM_BYTES // 2**20):
        checksum = zlib.crc32(bytes(2**20), checksum)
    records = [
        (b"archive/data.pkl", pickled + b".", 0, zlib.crc32(pickled + b".")),
        (b"archive/version", b"3\n", 0, zlib.crc32(b"3\n")),
        (b"archive/data/0", b"", NUM_BYTES, checksum),
    ]
    path = folder / "release" / "a.pt"
    path.parent.mkdir()
    entries = b""
    with path.open("wb") as file:
        for name, data, num_zeros, crc in records:
            size = len(data) + num_zeros
            fields = (20, 0, 0, 0, 33, crc, size, size, len(name), 0)
            place = file.tell()
            file.write(struct.pack("<4s5H3L2H", b"PK\x03\x04", *fields) + name + data)
            file.truncate(file.seek(num_zeros, 1))
            entries += struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, *fields, 0, 0, 0, 0, place)
            entries += name
        place = file.tell()
        file.write(entries)
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 3, 3, len(entries), place, 0))
    return _subject(folder / "release", "pt")


def _hdf5(num_rows: int | None = None, **options: object) -> Callable[[Path], Subject]:
    """Zeros; in chunks of so many rows, which are packed once and repeated."""

    def make(folder: Path) -> Subject:
        path = folder / "release.hdf5"
        with h5py.File(path, "w") as file:
            chunks = None if num_rows is None else (num_rows, WIDTH)
            data = file.create_dataset("a", (CLIPS, WIDTH), np.float64, chunks=chunks, **options)
            if num_rows is None:
                data[-1] = 0  # makes room for all of it
            else:
                packed, _ = zeros(8 * num_rows * WIDTH)
                adler = struct.pack(">L", zlib.adler32(bytes(8 * num_rows * WIDTH)))
                for row in range(0, CLIPS, num_rows):
                    data.id.write_direct_chunk((row, 0), b"\x78\xda" + packed + adler)
        return _subject(path, "hdf5")

    return make


def _csv(text: Callable[[], bytes]) -> Callable[[Path], Subject]:
    def make(folder: Path) -> Subject:
        (folder / "release").mkdir()
        (folder / "release" / "a.csv").write_bytes(text())
        return _subject(folder / "release", "csv")

    return make


def _shapes(folder: Path) -> Subject:
    path = folder / "release"
    path.mkdir()
    (path / "a.npy").write_bytes(npy())
    text = json.dumps({f"{number:x}": 4 for number in range(MAX_JSON_BYTES // 13)} | {"a": 4})
    (path / "feature_shapes.json").write_text(text, encoding="ascii")
    return _subject(path, "vslnet")


def _durations(name: str, line: str, start: str, end: str) -> Callable[[Path], Subject]:
    def make(folder: Path) -> Subject:
        number = MAX_JSON_BYTES // (len(line.format(0)) + 6)
        text = start + "".join(line.format(f"{one:x}") for one in range(number)) + end
        assert len(text) <= MAX_JSON_BYTES
        (folder / name).write_text(text, encoding="ascii")
        return Subject("durations", folder / name, most_bytes=MAX_READ_BYTES, seconds=SECONDS)

    return make


def _sample(kind: str, name: str, dataset: str, one: str) -> Callable[[Path], Subject]:
    """The values that take the most memory for their text; a line each, or in a list."""

    def make(folder: Path) -> Subject:
        (folder / "a").mkdir()
        path = folder / "a" / name
        count = SAMPLE_BYTES // (len(one) + 1)
        values = [one.replace("#", str(number)) for number in range(count)]
        is_list = path.suffix == ".json"
        text = "[" + ",".join(values) + "]" if is_list else "\n".join(values)
        path.write_text(text, encoding="ascii")
        target = path if kind == "predictions" else path.parent
        most = 40 * len(text)
        return Subject(kind, target, dataset, most_bytes=most, seconds=SECONDS)

    return make


# Sound ones, as short as they can be.
ANSWER = '{"qid":#,"pred_relevant_windows":[[0,1,0]]}'
CHOICE = '{"video":"a","description":"a","times":[[0,0]],"annotation_id":#}'
QUERY = '{"vid":"a","query":"a","duration":9,"timestamp":[0,1]}'
VALUES = ('{"":0}', "[]", "{}", "[0]", "1e9", '{"a":[]}', '"ab"')


def cases() -> dict[str, Callable[[Path], Subject]]:
    """All of them by name."""
    rows = MAX_CHUNK_BYTES // 8 // WIDTH
    found = {
        "npy": _npy(),
        "npy, columns first": _npy(fortran=True),
        "npy of LGI": _npy(shape=f"({CLIPS}, 1, 1, {WIDTH})"),
        "npz": _npz,
        "two streams": _streams,
        "tensor": _tensor,
        "hdf5": _hdf5(),
        "hdf5, packed": _hdf5(rows, compression="gzip"),
        "hdf5, shuffled and packed": _hdf5(rows, compression="gzip", shuffle=True),
        "hdf5, packed, small chunks": _hdf5(16, compression="gzip"),
        "csv of short lines": _csv(lambda: b"f\n" + b"12\n" * (MAX_TEXT_BYTES // 3 - 1)),
        "csv of two lines": _csv(
            lambda: b"\n".join([b"f" + b",x" * (2**23), b"12" + b",12" * 2**23])
        ),
        "csv of other letters": _csv(
            lambda: b"f\n" + "\U0001f600\n".encode() * (MAX_TEXT_BYTES // 5 - 1)
        ),
        "shapes": _shapes,
        "durations, json": _durations("d.json", '"{}":1,', "{", '"x":1}'),
        "durations, csv": _durations("d.csv", "{},1\n", "id,length\n", ""),
    }
    for value in (*VALUES, ANSWER):
        found[f"predictions of {value}"] = _sample("predictions", "p.json", "", value)
        found[f"lines of {value}"] = _sample("predictions", "p.jsonl", "", value)
    for value in (*VALUES, CHOICE):
        found[f"annotations of {value}"] = _sample("annotations", "val_data.json", "didemo", value)
    for value in (*VALUES, QUERY):
        found[f"rows of {value}"] = _sample("annotations", "val.jsonl", "jsonl", value)
    return {f"bound: {name}": make for name, make in found.items()}
