"""Feature files from strangers: no code is run, no memory taken beyond the bound, no path built."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bpnet_features import (
    FeatureError,
    FeatureSpec,
    FeatureStore,
    FeatureWriter,
    MissingVideoError,
    open_features,
)
from bpnet_features.bounds import MAX_ARRAY_BYTES
from bpnet_features.header import APART, write_header

CLIPS = np.ones((4, 3), np.float32)
TINY = {"backbone": "tiny", "feature_dim": 3}
ENOUGH = 20_000_000  # bytes; far below what any of the files claims


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Python and NumPy together may take no more than `ENOUGH` meanwhile."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < ENOUGH
    finally:
        tracemalloc.stop()


def refused(path: Path, layout: str, match: str) -> None:
    """By name, ``entry`` and ``read_clips`` refuse the video ``a``; with ``auto`` too."""
    with little_memory():
        with pytest.raises(FeatureError, match=match):
            open_features(path, layout=layout, spec=TINY).entry("a")
        with pytest.raises(FeatureError, match=match):
            open_features(path, layout=layout, spec=TINY).read_clips("a")
        with pytest.raises(FeatureError):
            open_features(path, spec=TINY).read_clips("a")


def npy_bytes(header: str, numbers: bytes = b"") -> bytes:
    text = header.encode("latin1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + numbers


def header(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


TEN_TB = "(2500000000, 1000)"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (npy_bytes(header(TEN_TB), bytes(48)), r"claims float32 of shape \(2500000000, 1000\)"),
        (npy_bytes(header("(4, 3)"), bytes(47)), r"47 bytes of numbers.*\(4, 3\), 48 bytes"),
        (npy_bytes(header("(4, 3)"), bytes(49)), r"49 bytes of numbers"),
        (npy_bytes(header("(-4, -3)"), bytes(48)), r"claims float32 of shape \(-4, -3\)"),
        (npy_bytes(header("(4, 3)", "'|O'"), bytes(48)), "pickled Python objects"),
        (npy_bytes(header("(4,)", "[('x', '<f4')]"), bytes(16)), "expected floats"),
        (npy_bytes(header("(4, 3)", "'<i4'"), bytes(48)), r"int32 of shape \(4, 3\): expected f"),
        (npy_bytes(header("(4, 3)", "'<c8'"), bytes(96)), "complex64"),
        (npy_bytes(header("(" * 3000)), "damaged data"),
        (npy_bytes("{'shape': __import__('os')}"), "damaged data"),
        (npy_bytes(header("('4', 3)")), "damaged data"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "damaged data"),
        (b"\x93NUMPY\x03\x00\x10\x00\x00\x00" + bytes(16), r"npy version \(3, 0\)"),
        (b"\x93NUMPY", "damaged data"),
        (b"", "not an npy file"),
    ],
)
def test_npy(tmp_path: Path, content: bytes, match: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    refused(tmp_path, "npy", rf"(?s)'a'.*{match}")


def test_a_pickle_in_an_npy(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    np.save(folder / "a.npy", np.array([Bomb(tmp_path / "ran")], dtype=object), allow_pickle=True)
    refused(folder, "npy", r"'a'.*pickled Python objects")
    assert not (tmp_path / "ran").exists()


def test_a_header_that_python_2_wrote(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy_bytes(header("(4L, 3L)"), CLIPS.tobytes()))
    assert open_features(tmp_path, spec=TINY).read_clips("a").tolist() == CLIPS.tolist()


def npz(folder: Path, member: bytes, **options: Any) -> Path:
    with zipfile.ZipFile(folder / "a.npz", "w", **options) as file:
        file.writestr("features.npy", member)
    return folder


def good_npy() -> bytes:
    file = io.BytesIO()
    np.save(file, CLIPS)
    return file.getvalue()


def lying_bomb(folder: Path) -> Path:
    """A member that unpacks to more than the list of members says."""
    npz(folder, good_npy() + bytes(10**7), compression=zipfile.ZIP_DEFLATED)
    data = (folder / "a.npz").read_bytes()
    size = struct.pack("<L", len(good_npy()) + 10**7)
    (folder / "a.npz").write_bytes(data.replace(size, struct.pack("<L", len(good_npy()))))
    return folder


def bit_flip(folder: Path) -> Path:
    npz(folder, good_npy())
    data = bytearray((folder / "a.npz").read_bytes())
    data[data.index(CLIPS.tobytes()) + 3] ^= 1
    (folder / "a.npz").write_bytes(data)
    return folder


def many_members(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.npz", "w") as file:
        for number in range(3000):
            file.writestr(f"{number}.npy", b"")
    return folder


def pickled_member(folder: Path) -> Path:
    array = np.array([Bomb(folder / "ran")], dtype=object)
    np.savez(folder / "a.npz", features=array)
    return folder


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (lambda f: npz(f, npy_bytes(header(TEN_TB))), r"claims float32 of shape \(25000"),
        (lambda f: npz(f, good_npy()[:-1]), r"47 bytes of numbers"),
        (lambda f: npz(f, b""), r"not an npy file"),
        (lambda f: npz(f, good_npy(), compression=zipfile.ZIP_LZMA), r"packed by method 14"),
        (lying_bomb, r"damaged data"),
        (bit_flip, r"damaged data \(BadZipFile: Bad CRC"),
        (many_members, r"a zip file of 3000 members"),
        (pickled_member, r"pickled Python objects"),
    ],
)
def test_npz(tmp_path: Path, write: Callable[[Path], Path], match: str) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    write(folder)
    refused(folder, "npz", rf"'a'.*{match}")
    assert not (folder / "ran").exists()


def test_a_zip_bomb(tmp_path: Path) -> None:
    """Zeros, 1000 to 1, behind a header that says so: 2.2 GB."""
    rows = (2 * MAX_ARRAY_BYTES + 2**27) // 4000
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = npy_bytes(header(f"({rows}, 1000)"))
    size = len(start) + 4000 * rows
    megabyte = bytes(2**20)
    with (tmp_path / "a.npz").open("wb") as file:
        file.write(struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 33, 0, 0, size, 12, 0))
        file.write(b"features.npy" + packer.compress(start))
        for _ in range(4):  # enough to begin with
            file.write(packer.compress(megabyte))
        file.write(packer.flush(zlib.Z_SYNC_FLUSH))
        packed = file.tell() - 42
        place = file.tell()
        entry = (20, 20, 0, 8, 0, 33, 0, packed, size, 12, 0, 0, 0, 0, 0, 0)
        file.write(struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *entry) + b"features.npy")
        end = (0, 0, 1, 1, file.tell() - place, place, 0)
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", *end))
    refused(tmp_path, "npz", r"'a'.*member 'features\.npy' claims 22\d+ bytes")


def pt(folder: Path, value: Any, **options: Any) -> Path:
    import torch

    torch.save(value, folder / "a.pt", **options)
    return folder


def rewritten(folder: Path, compress_type: int, **replace: tuple[bytes, bytes]) -> Path:
    """A tensor file with other bytes in its pickle."""
    import torch

    pt(folder, torch.ones(4, 3))
    with zipfile.ZipFile(folder / "a.pt") as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(folder / "a.pt", "w", compress_type) as file:
        for name, data in members.items():
            if name.endswith("data.pkl"):
                for old, new in replace.values():
                    assert old in data
                    data = data.replace(old, new, 1)
            file.writestr(name, data)
    return folder


def plain_pickle(folder: Path) -> Path:
    (folder / "a.pt").write_bytes(pickle.dumps(Bomb(folder / "ran")))
    return folder


def expanded(folder: Path) -> Path:
    """One number that is claimed to be 40 GB of them."""
    import torch

    return pt(folder, torch.ones(1).expand(10**7, 1000))


def legacy_claim(folder: Path) -> Path:
    """Four numbers, then the claim of 2^40: it would be allocated before anything is read."""
    import torch

    pt(folder, torch.ones(4, 1), _use_new_zipfile_serialization=False)
    data = (folder / "a.pt").read_bytes()
    place = data.index(b"FloatStorage")
    start = data.index(b"K\x04", place)
    claim = b"\x8a\x06" + (2**40).to_bytes(6, "little")
    (folder / "a.pt").write_bytes(data[:start] + claim + data[start + 2 :])
    return folder


LEGACY = {"_use_new_zipfile_serialization": False}


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (lambda f: pt(f, Bomb(f / "ran")), r"refers to '\w+ mkdir'.*could run any code"),
        (lambda f: pt(f, Bomb(f / "ran"), **LEGACY), r"refers to '\w+ mkdir'.*could run any code"),
        (plain_pickle, r"not a PyTorch file"),
        (expanded, r"claims a size of 10000000 in a file of \d+ bytes"),
        (legacy_claim, r"claims a size of 1099511627776"),
        (lambda f: rewritten(f, 0, numel=(b"K\x0c", b"K\xff")), r"damaged data"),
        (lambda f: rewritten(f, 0, shape=(b"K\x04K\x03", b"K\xffK\x03")), r"damaged data"),
        (lambda f: rewritten(f, 0, kind=(b"Float", b"Quant")), r"'torch QuantStorage'"),
        (lambda f: rewritten(f, zipfile.ZIP_DEFLATED), r"is compressed, as PyTorch never writes"),
        (lambda f: pt(f, [[1.0, 2.0, 3.0]]), r"list with 1 tensors: expected one"),
        (lambda f: pt(f, "os.system('ls')"), r"expected one"),
        (many_members, None),
    ],
)
def test_pt(tmp_path: Path, write: Callable[[Path], Path], match: str | None) -> None:
    import torch  # noqa: F401  # takes more memory than is allowed below

    folder = tmp_path / "f"
    folder.mkdir()
    write(folder)
    if match is None:
        (folder / "a.npz").rename(folder / "a.pt")
        match = r"a zip file of 3000 members"
    refused(folder, "pt", rf"'a'.*{match}")
    assert not (folder / "ran").exists()


def test_tensors_cut_off_anywhere(tmp_path: Path) -> None:
    import torch

    for number, options in enumerate(({}, LEGACY)):
        folder = tmp_path / str(number)
        folder.mkdir()
        data = (pt(folder, torch.ones(4, 3), **options) / "a.pt").read_bytes()
        for size in range(0, len(data) - 1, 7):
            (folder / "a.pt").write_bytes(data[:size])
            refused(folder, "pt", r"'a'")


def claim_without_storage(file: h5py.File) -> None:
    file.create_dataset("a", (2_500_000_000, 1000), "<f4", chunks=(1000, 1000))


def smaller_claim_without_storage(file: h5py.File) -> None:
    file.create_dataset("a", (250_000, 1000), "<f4", chunks=(1000, 1000), compression="gzip")


def contiguous_without_storage(file: h5py.File) -> None:
    file.create_dataset("a", (250_000, 1000), "<f4")


def packed_bomb(file: h5py.File) -> None:
    """A chunk of 48 bytes that unpacks to 350 MB, and in 1.5 MB could be 1.5 GB."""
    dataset = file.create_dataset("a", (4, 3), "<f4", chunks=(4, 3), compression="gzip")
    packer = zlib.compressobj(1)
    megabyte = bytes(2**20)
    data = b"".join(packer.compress(megabyte) for _ in range(350)) + packer.flush()
    dataset.id.write_direct_chunk((0, 0), data)


def packed_twice(file: h5py.File) -> None:
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_chunk((4, 3))
    how.set_deflate(9)
    how.set_shuffle()
    how.set_deflate(9)
    space = h5py.h5s.create_simple((4, 3))
    dataset = h5py.h5d.create(file.id, b"a", h5py.h5t.IEEE_F32LE, space, how)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, CLIPS)


def soft_link(file: h5py.File) -> None:
    file["z/b"] = CLIPS
    file["a"] = h5py.SoftLink("/z/b")


def external_link(file: h5py.File) -> None:
    file["a"] = h5py.ExternalLink("other.h5", "/a")


def kept_elsewhere(file: h5py.File) -> None:
    file.create_dataset("a", (4, 3), "<f4", external=[("other.h5", 0, 48)])


def put_together(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4, 3), "<f4")
    layout[:] = h5py.VirtualSource("other.h5", "a", (4, 3))
    file.create_virtual_dataset("a", layout)


def numbers_that_are_none(file: h5py.File) -> None:
    file["a"] = np.zeros((4, 3), dtype=[("x", "<f4")])


def text(file: h5py.File) -> None:
    file["a"] = ["one", "two"]


def references(file: h5py.File) -> None:
    file["z"] = CLIPS
    file.create_dataset("a", (4, 3), h5py.ref_dtype)


def nothing(file: h5py.File) -> None:
    file["a"] = h5py.Empty("<f4")


def type_alone(file: h5py.File) -> None:
    file["a"] = np.dtype("<f4")


@pytest.mark.parametrize("own", [False, True], ids=["plain", "own"])
@pytest.mark.parametrize(
    ("write", "match"),
    [
        (claim_without_storage, r"claims float32 of shape \(2500000000, 1000\)"),
        (smaller_claim_without_storage, r"1000000000 bytes, but no more than 0 are stored"),
        (contiguous_without_storage, r"1000000000 bytes, but no more than 0 are stored"),
        (packed_bomb, r"chunks \(0, 0\) unpack to more than their claimed 48 bytes"),
        (packed_twice, r"packed by the HDF5 filters \[1, 2, 1\]"),
        (soft_link, r"'a' is a link to elsewhere"),
        (external_link, r"'a' is a link to elsewhere"),
        (kept_elsewhere, r"kept in other files"),
        (put_together, r"kept in other files"),
        (numbers_that_are_none, r"expected floats"),
        (text, r"object of shape \(2,\): expected floats"),
        (references, r"expected floats"),
        (nothing, r"an empty dataset"),
        (type_alone, r"'?a'?"),
    ],
)
def test_hdf5(tmp_path: Path, write: Callable[[h5py.File], None], match: str, own: bool) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = CLIPS
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as file:
        if own:
            write_header(file, FeatureSpec("tiny", 3), APART)
        write(file)
    if not own:
        refused(path, "hdf5", rf"'a'.*{match}")
        return
    if write is put_together:  # what it is put together from stands among the texts
        with pytest.raises(FeatureError, match="damaged heap of texts"):
            FeatureStore(path)
        return
    store = FeatureStore(path)
    assert store.video_ids()[0] == "a"
    with little_memory():
        for read in (store.entry, store.read_clips, store.grid):
            with pytest.raises(FeatureError, match=rf"'a'.*{match}"):
                read("a")


@pytest.mark.parametrize("size", [0, 8, 2**40, 2**64 - 16])
def test_a_heap_of_texts_that_has_no_end(tmp_path: Path, size: int) -> None:
    """HDF5 itself would walk in it for ever."""
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as file:
        write_header(file, FeatureSpec("tiny", 3), APART)
        file["a"] = CLIPS
    data = bytearray(path.read_bytes())
    place = data.index(b"GCOL") + 16  # the first object: number, references, size
    data[place : place + 16] = struct.pack("<HH4xQ", 0 if size < 16 else 1, 1, size)
    path.write_bytes(data)
    for layout in ("auto", "bpnet"):
        with pytest.raises(FeatureError, match=r"a damaged heap of texts at byte \d+"):
            open_features(path, layout=layout)


def test_a_text_longer_than_what_is_there(tmp_path: Path) -> None:
    """HDF5 itself would take 4 GB for it."""
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as file:
        write_header(file, FeatureSpec("tiny", 3), APART)
    data = path.read_bytes()
    spec = FeatureSpec("tiny", 3).to_json().encode()
    text = struct.pack("<LQ", len(spec), data.index(b"GCOL"))
    assert data.count(text) == 1
    path.write_bytes(data.replace(text, b"\x7f\xff\xff\xff" + text[4:]))
    with pytest.raises(FeatureError, match=r"a damaged heap of texts"):
        open_features(path)


def write_apart(path: Path) -> None:
    """Format version 1: an array a video."""
    with h5py.File(path, "w") as file:
        write_header(file, FeatureSpec("tiny", 3), APART)
        for name in "abc":
            file.create_dataset(name, data=CLIPS, compression="gzip")
            file[name].attrs["duration_seconds"] = 8.0


def write_packed(path: Path) -> None:
    """Version 2: all videos in one array."""
    with FeatureWriter(path, FeatureSpec("tiny", 3)) as writer:
        for name in "abc":
            writer.add(name, CLIPS, 8.0)


@pytest.mark.parametrize("write", [write_apart, write_packed])
def test_an_hdf5_file_cut_off_or_flipped_anywhere(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    """Whatever comes is an error of ours, or features."""
    path = tmp_path / "f.h5"
    write(path)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for number in range(300):
        damaged = bytearray(data)
        if number % 3:
            for place in rng.integers(0, len(data), size=3):
                damaged[place] ^= 1 << int(rng.integers(8))
        else:
            damaged = damaged[: int(rng.integers(len(data)))]
        path.write_bytes(damaged)
        try:
            with open_features(path) as source:  # type: ignore[attr-defined]
                for video_id in source.video_ids():
                    assert source.read(video_id, 8.0)[0].shape[1] == 3
        except FeatureError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"f0,f1,f2\n1,2,x\n", r"line 2: could not convert string to float: 'x'"),
        (b"f0,f1,f2\n1,2,3\n1,2\n", r"line 3: 2 numbers under 3 column names"),
        (b"f0,f1,f2\n1,2,3,4\n", r"line 2: 4 numbers"),
        (b"f0,f1,f2\n\xff\n", "damaged data"),
        (b"", "an empty file"),
        (b"1,2,3\n4,5,6\n", "line 1.*expected a row of column names"),
        (b"f" + b"," * 300_000 + b"\n" * 1000 + b"1", "the most that one video may take"),
        (b"f0,f1,f2\n1,2,1e999", "NaN or infinite"),
        (b"f0,f1,f2\n", "zero clips"),
    ],
)
def test_csv(tmp_path: Path, content: bytes, match: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with little_memory(), pytest.raises(FeatureError, match=rf"'a'.*{match}"):
        open_features(tmp_path, layout="csv", spec=TINY).read_clips("a")


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({}, "no .txt file"),
        ({"a-1.txt": b"1 2 3", "a-2.txt": b"1 2"}, r"'a-2\.txt' has 2 numbers, 'a-1\.txt' has 3"),
        ({"a-1.txt": b"1 2 3", "a-2.txt": b""}, r"'a-2\.txt': an empty file"),
        ({"a-1.txt": b"1 2 three"}, r"'a-1\.txt': could not convert string to float: 'three'"),
        ({"a-1.txt": b"\xff\xfe"}, r"damaged data \(UnicodeDecodeError"),
        ({"a-1.txt": b"1 " * 3_000_000}, "more than 4194304 bytes of text"),
    ],
)
def test_text_vectors(tmp_path: Path, files: dict[str, bytes], match: str) -> None:
    (tmp_path / "a").mkdir()
    for name, content in files.items():
        (tmp_path / "a" / name).write_bytes(content)
    with pytest.raises(FeatureError, match=rf"'a'.*{match}"):
        open_features(tmp_path, layout="text-vectors", spec=TINY).read_clips("a")


TRICKS = (
    "../secret",
    "/etc/hostname",
    "b/../a",
    "a/",
    "./a",
    "",
    ".",
    "..",
    "a\0",
    "a.npy",
    "\udcff",
)


@pytest.mark.parametrize("trick", TRICKS)
def test_ids_are_no_paths(tmp_path: Path, trick: str) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    np.save(tmp_path / "secret.npy", CLIPS)
    np.save(folder / "a.npy", CLIPS)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        write_header(file, FeatureSpec("tiny", 3), APART)
        file["a"] = CLIPS
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file["a/clips"] = CLIPS
    for path in (folder, tmp_path / "f.h5", tmp_path / "g.h5"):
        source = open_features(path, spec=TINY)
        assert "a" in source and trick not in source
        for read in (source.entry, source.read_clips, source.grid, source.read, source.files):
            if read == source.files and source.layout == "bpnet":
                continue
            with pytest.raises(MissingVideoError, match="is not in"):
                read(trick)


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    """Opening a pipe would wait for ever."""
    os.mkfifo(tmp_path / "b.npy")
    (tmp_path / "c.npy").mkdir()
    (tmp_path / "d.npy").symlink_to(tmp_path / "gone")
    np.save(tmp_path / "a.npy", CLIPS)
    assert open_features(tmp_path, layout="npy", spec=TINY).video_ids() == ["a"]


def test_what_the_system_refuses_is_not_called_damaged(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", CLIPS)
    source = open_features(tmp_path, spec=TINY)
    (tmp_path / "a.npy").unlink()
    with pytest.raises(FeatureError, match=r"'a'.*cannot be read \(FileNotFoundError"):
        source.read_clips("a")
