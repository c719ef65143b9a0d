"""Hostile HDF5 files: of a release, of our own format and of query features."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hostile_arrays import CLIPS, SPEC
from subject import Subject

from bpnet_features import FeatureSpec

TB = 10**13
Write = Callable[[h5py.Group, Path], object]


def _created(
    file: h5py.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: Any = np.float32,
    chunks: tuple[int, ...] | None = None,
    **filters: int,
) -> h5py.Dataset:
    """A dataset of any size, of which nothing is written."""
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if chunks is not None:
        how.set_chunk(chunks)
    else:
        how.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    if "gzip" in filters:
        how.set_deflate(filters["gzip"])
    if "code" in filters:
        how.set_filter(filters["code"], h5py.h5z.FLAG_OPTIONAL, (1, 2, 3))
    most = (h5py.h5s.UNLIMITED,) * len(shape) if chunks else None
    space = h5py.h5s.create_simple(shape, most)
    kind = h5py.h5t.py_create(np.dtype(dtype))
    return h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, how))


def _external(file: h5py.Group, folder: Path, where: str) -> None:
    shape, kind = h5py.h5s.create_simple((4, 3)), h5py.h5t.IEEE_F32LE
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_external(where.encode(), 0, 48)
    h5py.h5d.create(file.id, b"a", kind, shape, how)


def _virtual(file: h5py.Group, folder: Path, path: str) -> None:
    layout = h5py.VirtualLayout((4, 3), np.float32)
    layout[:] = h5py.VirtualSource(path, "b", (4, 3))
    file.create_virtual_dataset("a", layout)


def _raw_chunk(file: h5py.Group, shape: tuple[int, ...], chunk: bytes, mask: int = 0) -> None:
    dataset = _created(file, "a", shape, chunks=shape, gzip=4)
    dataset.id.write_direct_chunk((0, 0), chunk, mask)


def _inflating(megabytes: int) -> bytes:
    return zlib.compress(bytes(megabytes * 2**20), 9)


def _cycle(file: h5py.Group, _: Path) -> None:
    group = file.create_group("a")
    group["self"] = group
    group["root"] = file["/"]
    file["a/self/again"] = group


def _vlen(file: h5py.Group, _: Path) -> None:
    dataset = file.create_dataset("a", (4, 3), h5py.vlen_dtype(np.float32))
    dataset[0, 0] = np.ones(1000, np.float32)


def _enum(file: h5py.Group, _: Path) -> None:
    file.create_dataset("a", (4, 3), h5py.enum_dtype({"x": 1}, np.int32))


def _references(file: h5py.Group, _: Path) -> None:
    dataset = file.create_dataset("a", (1, 1), h5py.ref_dtype)
    dataset[0, 0] = file["b"].ref


def _regions(file: h5py.Group, _: Path) -> None:
    dataset = file.create_dataset("a", (1, 1), h5py.regionref_dtype)
    dataset[0, 0] = file["b"].regionref[:2, :2]


def _custom_float(size: int, precision: int, mantissa: int) -> h5py.h5t.TypeFloatID:
    kind = h5py.h5t.IEEE_F64LE.copy()
    kind.set_fields(precision - 1, mantissa, precision - 1 - mantissa, 0, mantissa)
    kind.set_precision(precision)
    kind.set_size(size)
    return kind


def _typed(file: h5py.Group, kind: h5py.h5t.TypeID) -> None:
    h5py.h5d.create(file.id, b"a", kind, h5py.h5s.create_simple((4, 3)))


# Each makes ``a`` in a file with the sound dataset ``b``.
RELEASE: dict[str, Write] = {
    "10 TB": lambda f, _: _created(f, "a", (TB // 4000, 1000)),
    "10 TB in chunks": lambda f, _: _created(f, "a", (TB // 4000, 1000), chunks=(1, 1000)),
    "10 TB, packed": lambda f, _: _created(f, "a", (TB // 4000, 1000), chunks=(1, 1000), gzip=9),
    "2**63 bytes": lambda f, _: _created(f, "a", (2**31, 2**30)),
    "1 GB of which nothing is there": lambda f, _: _created(f, "a", (2**28, 1)),
    "1 GB in chunks, nothing there": lambda f, _: _created(f, "a", (2**18, 2**10), chunks=(1, 9)),
    "chunks of 4 GB": lambda f, _: _created(f, "a", (1, 3), chunks=(2**20, 1023)),
    "a billion chunks": lambda f, _: _created(f, "a", (10**9, 1), chunks=(1, 1)),
    "no clips": lambda f, _: f.create_dataset("a", (0, 3), np.float32),
    "no width": lambda f, _: f.create_dataset("a", (4, 0), np.float32),
    "2**62 clips of no width": lambda f, _: _created(f, "a", (2**62, 0), chunks=(1, 1)),
    "no shape": lambda f, _: f.create_dataset("a", data=h5py.Empty(np.float32)),
    "a number": lambda f, _: f.create_dataset("a", data=1.5),
    "one axis": lambda f, _: f.create_dataset("a", data=np.ones(12, np.float32)),
    "32 axes": lambda f, _: f.create_dataset("a", (1,) * 32, np.float32),
    "NaN": lambda f, _: f.create_dataset("a", data=np.full((4, 3), np.nan, np.float32)),
    "too large for float32": lambda f, _: f.create_dataset("a", data=np.full((4, 3), 1e300)),
    "long doubles": lambda f, _: f.create_dataset("a", (4, 3), np.longdouble),
    "integers": lambda f, _: f.create_dataset("a", (4, 3), np.int64),
    "booleans": lambda f, _: f.create_dataset("a", (4, 3), np.bool_),
    "complex numbers": lambda f, _: f.create_dataset("a", (4, 3), np.complex64),
    "strings": lambda f, _: f.create_dataset("a", (4, 3), "S2000000"),
    "strings of any length": lambda f, _: f.create_dataset("a", (4, 3), h5py.string_dtype()),
    "arrays of any length": _vlen,
    "a compound": lambda f, _: f.create_dataset("a", (4, 3), [("x", "f4"), ("y", "O", 0)][:1]),
    "arrays": lambda f, _: f.create_dataset("a", (4,), np.dtype("(3,)f4")),
    "arrays of 2 GB": lambda f, _: _created(f, "a", (4, 3), np.dtype("(536870911,)f4")),
    "an enumeration": _enum,
    "opaque": lambda f, _: f.create_dataset("a", (4, 3), np.void(7).dtype),
    "references": _references,
    "regions": _regions,
    "big endian": lambda f, _: f.create_dataset("a", data=CLIPS.astype(">f4")),
    "floats of 24 bits": lambda f, _: _typed(f, _custom_float(4, 24, 16)),
    "floats of 63 bits": lambda f, _: _typed(f, _custom_float(8, 63, 52)),
    "an outside file": lambda f, p: _external(f, p, str(p.parent / "outside" / "secret.npy")),
    "an outside file above": lambda f, p: _external(f, p, "../../outside/secret.npy"),
    "an outside system file": lambda f, p: _external(f, p, "/etc/hostname"),
    "an outside device": lambda f, p: _external(f, p, "/dev/zero"),
    "virtual, itself": lambda f, p: _virtual(f, p, "."),
    "virtual, another file": lambda f, p: _virtual(f, p, str(p.parent / "outside" / "secret.h5")),
    "virtual, itself in itself": lambda f, p: _virtual(f, p, f.file.filename),
    "an external link": lambda f, p: f.__setitem__(
        "a", h5py.ExternalLink(str(p.parent / "outside" / "secret.h5"), "/b")
    ),
    "an external link to a text": lambda f, _: f.__setitem__(
        "a", h5py.ExternalLink("/etc/passwd", "/b")
    ),
    "a soft link": lambda f, _: f.__setitem__("a", h5py.SoftLink("/b")),
    "a soft link to itself": lambda f, _: f.__setitem__("a", h5py.SoftLink("/a")),
    "a soft link to nothing": lambda f, _: f.__setitem__("a", h5py.SoftLink("/../x")),
    "the same dataset": lambda f, _: f.__setitem__("a", f["b"]),
    "the root": lambda f, _: f.__setitem__("a", f["/"]),
    "a named type": lambda f, _: f.__setitem__("a", np.dtype("f4")),
    "groups in a circle": _cycle,
    "an empty group": lambda f, _: f.create_group("a"),
    "a group of 5,000": lambda f, _: [f.create_group(f"a/{n}") for n in range(5000)],
    "groups, 500 deep": lambda f, _: f.create_group("a" + "/a" * 500),
    "20,000 names": lambda f, _: [f.create_group(f"n{n}") for n in range(20_000)],
    "a name of 60,000 letters": lambda f, _: f.__setitem__("a" * 60_000, f["b"]),
    "a name ..": lambda f, _: f.__setitem__("..", f["b"]),
    "a name of no text": lambda f, _: f.id.links.create_hard(b"\xff\xfe", f.id, b"b"),
    "a name with signs": lambda f, _: f.__setitem__("a\n\x1b[2J", f["b"]),
    "another name of the same": lambda f, _: f.__setitem__("v_b", f["b"]),
    "filter 32,000": lambda f, _: _created(f, "a", (4, 3), chunks=(4, 3), code=32_000),
    "filter 307": lambda f, _: _created(f, "a", (4, 3), chunks=(4, 3), code=307),
    "packed twice": lambda f, _: f.create_dataset(
        "a", data=CLIPS, chunks=True, compression="gzip", shuffle=True, fletcher32=True
    ),
    "scaled": lambda f, _: f.create_dataset("a", data=CLIPS, scaleoffset=2),
    "lzf": lambda f, _: f.create_dataset("a", data=CLIPS, compression="lzf"),
    "a chunk of zeros, 256 MB": lambda f, _: _raw_chunk(f, (4, 3), _inflating(256)),
    "a chunk too short": lambda f, _: _raw_chunk(f, (4, 3), _inflating(0)),
    "a large chunk too short": lambda f, _: _raw_chunk(
        f, (4096, 4096), zlib.compress(bytes(10)) + bytes(2**17)
    ),
    "a large chunk of one byte": lambda f, _: _raw_chunk(f, (4096, 4096), b"x", mask=1),
    "a large chunk, said to be whole": lambda f, _: _raw_chunk(
        f, (4096, 4096), bytes(2**17), mask=1
    ),
    "a chunk that is no zlib": lambda f, _: _raw_chunk(f, (4, 3), bytes(100)),
    "a chunk of one byte": lambda f, _: _raw_chunk(f, (4, 3), b"x", mask=1),
    "an attribute of 60 kB": lambda f, _: f["b"].attrs.create("x", np.ones(7500)),
}

SPEC_TEXT = FeatureSpec(backbone="tiny", feature_dim=3, seconds_per_clip=1.0).to_json()


def _spec(**changes: object) -> str:
    return json.dumps({**json.loads(SPEC_TEXT), **changes})


OWN: dict[str, object] = {"format": "bpnet-features", "format_version": 1, "spec": SPEC_TEXT}

# What stands in the attribute ``spec`` of our own format.
SPECS: dict[str, object] = {
    "empty": "",
    "a number": 7,
    "a list": "[]",
    "an array": np.ones((2, 2)),
    "no text": b"\xff\xfe",
    "2 MB": "x" * 2 * 10**6,
    "lists, 900 deep": _spec().replace('"tiny"', "[" * 900 + "]" * 900),
    "lists, 990 deep": _spec().replace('"tiny"', "[" * 990 + "]" * 990),
    "lists, 100,000 deep": "[" * 100_000,
    "unknown, 900 deep": '{"x": ' * 900 + "1" + "}" * 900,
    "unknown names": _spec(**{"x" * 1000 + str(n): 1 for n in range(100)}),
    "integers of 5,000 digits": _spec().replace("3", "9" * 5000),
    "integers of 400 digits": _spec(clip_stride_frames=10**400, fps=1.0, seconds_per_clip=None),
    "width of 10**18": _spec(feature_dim=10**18),
    "width of 1.5": _spec(feature_dim=1.5),
    "width of a string": _spec(feature_dim="3"),
    "width of NaN": _spec(feature_dim=float("nan")),
    "width of infinity": _spec(feature_dim=float("inf")),
    "width true": _spec(feature_dim=True),
    "a backbone of 10**6 letters": _spec(backbone="x" * 10**6),
    "a backbone of a list": _spec(backbone=[[]]),
    "a backbone of half a letter": _spec(backbone="\ud800"),
    "streams of numbers": _spec(streams=[1, None, {}]),
    "streams of a number": _spec(streams=5),
    "seconds of a string": _spec(seconds_per_clip="1"),
    "seconds of 1e-320": _spec(seconds_per_clip=1e-320),
    "seconds of 1e308": _spec(seconds_per_clip=1e308),
    "fps of 1e-320": _spec(seconds_per_clip=None, fps=1e-320, clip_stride_frames=10**9),
    "version of a list": _spec(version=[1]),
    "a name twice": '{"backbone": "a", "backbone": "b", "feature_dim": 3}',
}
# Attributes of a video in our own format.
TIMES: dict[str, dict[str, object]] = {
    f"{name} {value!r:.30}": {name: value}
    for name in ("duration_seconds", "stride_seconds", "start_seconds", "resampled_from")
    for value in (
        float("nan"),
        float("inf"),
        -1.0,
        0.0,
        1e-320,
        1e308,
        2**62,
        -(2**62),
        5,
        2**22,
        "4.0",
        b"\xff",
        True,
        np.ones(2),
        np.ones((1, 1)),
        h5py.Empty(np.float64),
        np.array((1.5, 2), dtype="f4,i4"),
        "x" * 2 * 10**6,
    )
}
FORMATS: dict[str, dict[str, object]] = {
    "version 2": {"format_version": 2},
    "version NaN": {"format_version": float("nan")},
    "version a string": {"format_version": "1"},
    "version 2**62": {"format_version": 2**62},
    "format a number": {"format": 1},
    "format an array": {"format": np.ones(3)},
    "format of no text": {"format": b"\xff"},
    "format of a megabyte": {"format": "x" * 10**6},
    "format of a string of any length": {"format": np.array(["x" * 10**6], dtype=object)},
}


def _file(folder: Path, name: str, **options: Any) -> h5py.File:
    return h5py.File(folder / name, "w", **options)


def _release(write: Write, layout: str) -> Callable[[Path], Subject]:
    def make(folder: Path) -> Subject:
        with _file(folder, "release.hdf5") as file:
            file["b"] = CLIPS
            write(file, folder)
        return Subject("features", folder / "release.hdf5", layout, SPEC)

    return make


def _grouped(write: Write) -> Callable[[Path], Subject]:
    """The same below a group, as ActivityNet's official file and its kin have it."""

    def make(folder: Path) -> Subject:
        with _file(folder, "release.hdf5") as file:
            file["v/c3d_features"] = file["w/b"] = CLIPS
            write(file["w"], folder)
            if "a" in file["w"].keys():
                file["w"].move("a", "c3d_features")
        return Subject("features", folder / "release.hdf5", "hdf5-group", SPEC)

    return make


def _query(write: Write) -> Callable[[Path], Subject]:
    def make(folder: Path) -> Subject:
        with _file(folder, "text.h5") as file:
            file["b"] = CLIPS
            file["12"] = CLIPS
            write(file, folder)
            if "a" in file and isinstance(file.get("a", getlink=True), h5py.HardLink):
                file.move("a", "7")
        return Subject("queries", folder / "text.h5", spec=SPEC)

    return make


def _own(
    attributes: dict[str, object], times: dict[str, object] | None = None
) -> Callable[[Path], Subject]:
    def make(folder: Path) -> Subject:
        # The later format lets attributes have any size.
        with _file(folder, "store.h5", libver="latest") as file:
            for name, value in (OWN | attributes).items():
                file.attrs[name] = value
            for name in "ab":
                file[name] = CLIPS
                file[name].attrs["duration_seconds"] = 4.0
            for name, value in (times or {}).items():
                file["a"].attrs[name] = value
        return Subject("features", folder / "store.h5", "bpnet")

    return make


def _patched(old: bytes, new: bytes, count: int = -1, **options: Any) -> Callable[[Path], Subject]:
    """A sound file in which bytes are replaced."""

    def make(folder: Path) -> Subject:
        path = folder / "release.hdf5"
        with h5py.File(path, "w", **options) as file:
            for name in "ab":
                file.create_dataset(name, data=CLIPS, chunks=(1, 3), compression="gzip")
        data = path.read_bytes()
        assert old in data
        path.write_bytes(data.replace(old, new, count))
        return Subject("features", path, "hdf5", SPEC)

    return make


def _far_heap(zeros: bool) -> Callable[[Path], Subject]:
    """Our own format with the heap of its texts far from the beginning, and damaged."""

    def make(folder: Path) -> Subject:
        path = folder / "store.h5"
        with h5py.File(path, "w") as file:
            file["a"] = np.ones((2**19, 3), np.float32)
            file.flush()
            for name, value in OWN.items():
                file.attrs[name] = value
        data = bytearray(path.read_bytes())
        place = data.index(b"GCOL")
        assert place > 2**22
        if zeros:  # number, references, size of the first object
            struct.pack_into("<HH4xQ", data, place + 16, 0, 1, 0)
        else:  # the length of the spec, in front of the place of its heap
            said = data.index(struct.pack("<LQ", len(SPEC_TEXT), place))
            struct.pack_into("<L", data, said, 2**32 - 1)
        path.write_bytes(data)
        return Subject("features", path, "bpnet")

    return make


def _virtual_heap(folder: Path) -> Subject:
    """A virtual dataset, which is read from a heap as soon as it is opened."""
    path = folder / "release.hdf5"
    with h5py.File(path, "w") as file:
        file["b"] = CLIPS
        _virtual(file, folder, ".")
    data = bytearray(path.read_bytes())
    struct.pack_into("<HH4xQ", data, data.index(b"GCOL") + 16, 0, 1, 0)
    path.write_bytes(data)
    return Subject("features", path, "hdf5", SPEC)


def _user_block(folder: Path) -> Subject:
    with _file(folder, "release.hdf5", userblock_size=512) as file:
        file["b"] = CLIPS
    return Subject("features", folder / "release.hdf5", "hdf5", SPEC)


def write_outside(folder: Path, value: float) -> None:
    """What links and virtual datasets would like to reach."""
    with h5py.File(folder / "secret.h5", "w") as file:
        file["b"] = np.full((4, 3), value, np.float32)


_MANY = ("20,000 names", "a group of 5,000")


def cases() -> dict[str, Callable[[Path], Subject]]:
    """All of them by name."""
    found = {f"hdf5: {name}": _release(write, "hdf5") for name, write in RELEASE.items()}
    found |= {f"group: {n}": _grouped(write) for n, write in RELEASE.items() if n not in _MANY}
    found |= {f"query hdf5: {n}": _query(write) for n, write in RELEASE.items() if n not in _MANY}
    found |= {f"store: spec {name}": _own({"spec": value}) for name, value in SPECS.items()}
    found |= {f"store: {name}": _own(values) for name, values in FORMATS.items()}
    found |= {f"store: {name}": _own({}, times) for name, times in TIMES.items()}
    size, last = struct.pack("<Q", 3), struct.pack("<Q", 2**40)
    found |= {
        "bytes: sizes of 2**40": _patched(size, last),
        "bytes: sizes of 2**40, new form": _patched(size, last, libver="latest"),
        "bytes: no trees": _patched(b"TREE", b"\0\0\0\0"),
        "bytes: no heaps": _patched(b"HEAP", b"HEAQ"),
        "bytes: no nodes": _patched(b"SNOD", b"SNOE"),
        "bytes: no objects": _patched(b"OHDR", b"\0\0\0\0", libver="latest"),
        "bytes: a tree that is a leaf of itself": _patched(b"TREE\1\0", b"TREE\1\1"),
        "bytes: no address": _patched(b"\xff" * 8, bytes(8)),
        "user block": _user_block,
    }
    return found


def beyond_us() -> dict[str, Callable[[Path], Subject]]:
    """What hangs the HDF5 library itself, or lets it take gigabytes, in a place we do not check.

    Its heaps of texts are checked in the first megabyte of a file only.
    """
    return {
        "bytes: a far heap without an end": _far_heap(True),
        "bytes: a far text of 4 GB": _far_heap(False),
        "bytes: a virtual dataset's heap without an end": _virtual_heap,
    }
