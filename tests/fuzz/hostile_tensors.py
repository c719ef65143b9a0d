"""Hostile pt files: pickles that run code, sizes that nobody stored, zips in PyTorch's form."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import torch
from hostile_arrays import SPEC, Runs, raw_zip, zeros, zipped
from subject import Subject

# Values of opcodes that pickle.py has no writer for.
PROTO = b"\x80\x02"


def saved(value: object, legacy: bool = False) -> bytes:
    """What ``torch.save`` writes."""
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def tensor(
    size: str = "4 3",
    stride: str = "3 1",
    numel: int = 12,
    *,
    offset: int = 0,
    storage: str = "torch FloatStorage",
    key: str = "0",
    device: str = "cpu",
    old: bool = False,
) -> bytes:
    """The pickle of a tensor, as PyTorch writes it, with any numbers."""

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def number(value: int) -> bytes:
        data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
        return b"\x8a" + bytes((len(data),)) + data

    def numbers(values: str) -> bytes:
        return b"(" + b"".join(number(int(value)) for value in values.split()) + b"t"

    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(("
        + text("storage")
        + b"c"
        + storage.replace(" ", "\n").encode()
        + b"\n"
        + text(key)
        + text(device)
        + number(numel)
        + b"N" * old
        + b"tQ"
        + number(offset)
        + numbers(size)
        + numbers(stride)
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def archive(program: bytes, *records: tuple[str, bytes], name: str = "archive") -> bytes:
    """A file of PyTorch 1.6 or later, with any pickle and any records beside it."""
    members = [("data.pkl", program), ("byteorder", b"little"), *records, ("version", b"3\n")]
    return zipped(*((f"{name}/{member}", data) for member, data in members))


def of(pickled: bytes, numbers: bytes = bytes(48)) -> bytes:
    """An archive of one tensor."""
    return archive(PROTO + pickled + b".", ("data/0", numbers))


def calling(module: str, name: str, argument: str) -> dict[str, bytes]:
    """Pickles that call a function, by all opcodes that can."""
    text = b"X" + struct.pack("<I", len(argument)) + argument.encode()
    short = [b"\x8c" + bytes((len(part),)) + part.encode() for part in (module, name)]
    found = f"{module}\n{name}\n".encode()
    return {
        "GLOBAL": b"c" + found + text + b"\x85R.",
        "STACK_GLOBAL": b"\x80\x04" + short[0] + short[1] + b"\x93" + text + b"\x85R.",
        "STACK_GLOBAL of memo": b"\x80\x04" + short[0] + b"\x940" + short[1] + b"\x940"
        b"h\x00h\x01\x93" + text + b"\x85R.",
        "INST": b"(" + text + b"i" + found + b".",
        "OBJ": b"(c" + found + text + b"o.",
        "NEWOBJ": b"\x80\x02c" + found + text + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04c" + found + text + b"\x85}\x92.",
        "BUILD": b"\x80\x02ccollections\nOrderedDict\n)R}" + text + b"c" + found + b"sb.",
        "in a tensor": tensor()[:-1] + b"0c" + found + text + b"\x85R.",
        "extension": b"\x80\x02\x82\x01" + text + b"\x85R.",
        "persistent": b"(" + text + b"c" + found + b"tQ.",
        "PERSID": b"P" + argument.encode() + b"\n.",
    }


def legacy(program: bytes, tail: bytes = b"") -> bytes:
    """A file of PyTorch before 1.6, with any pickle as its third but last."""
    head = saved(torch.zeros(4, 3), legacy=True)
    place = -1
    for _ in ("the magic number", "the version", "the system"):
        place = head.index(b".", place + 1)
    return head[: place + 1] + program + (tail or _keys(1) + struct.pack("<q", 12) + bytes(48))


def _keys(count: int) -> bytes:
    return pickle.dumps([str(number) for number in range(count)], 2)


def _polyglot(folder: Path) -> bytes:
    """A tar file, which PyTorch unpacks, whose header is also five pickles in a row."""
    pickles = saved(torch.zeros(1), legacy=True)[:15] + PROTO + b"U\xf6"
    header = bytearray(pickles.ljust(100, b"a") + bytes(412))
    header[100:156] = b"0000644\0" + b"0000000\0" * 2 + b"00000000000\0" * 2 + b" " * 8
    header[156:265] = b"0" + bytes(100) + b"ustar\x0000"
    header[265:273] = b"." + b"N." * 3 + b"\0"
    header[148:156] = b"%06o\0 " % sum(header)
    file = io.BytesIO(bytes(header))
    file.seek(0, 2)
    with tarfile.open(fileobj=io.BytesIO(), mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(name)
            data = pickle.dumps(Runs(folder), 2)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        tar.close()
        file.write(tar.fileobj.getvalue())  # type: ignore[union-attr]
    return file.getvalue()


def _bomb() -> bytes:
    data, checksum = zeros(2**27)
    return raw_zip(b"archive/data/0", data, 2**27, checksum=checksum)


def _two_archives(*pickles: tuple[str, bytes]) -> bytes:
    return zipped(*pickles, ("archive/data/0", bytes(48)), ("archive/version", b"3\n"))


def _nested(depth: int, opening: bytes, closing: bytes) -> bytes:
    return archive(PROTO + opening * depth + b"N" + closing * depth + b".")


GOOD = PROTO + tensor() + b"."
OLD = PROTO + tensor(old=True) + b"."
# Each stands under ``a.pt``, beside a sound ``b.pt``.
PT: dict[str, Callable[[Path], bytes]] = {
    "sound": lambda _: of(tensor()),
    "one number, 2**28 of them by strides": lambda _: of(tensor("16384 16384", "0 0", 1), bytes(4)),
    "one number, 2**28 of them, in a file as large": lambda _: archive(
        PROTO + tensor("16384 16384", "0 0", 1) + b".", ("data/0", bytes(4)), ("x", bytes(20_000))
    ),
    "half a million numbers by strides": lambda _: of(tensor("262144 2", "0 1", 12)),
    "rows that overlap": lambda _: of(tensor("4 3", "1 1", 12)),
    "size beyond the storage": lambda _: of(tensor("5 3")),
    "offset beyond the storage": lambda _: of(tensor(offset=10)),
    "offset below zero": lambda _: of(tensor(offset=-4)),
    "offset of 2**62": lambda _: of(tensor(offset=2**62)),
    "size of 2**62": lambda _: of(tensor("4611686018427387904 4", "0 0")),
    "size of 2**80": lambda _: of(tensor(f"{2**80} 1", "0 0")),
    "size below zero": lambda _: of(tensor("-4 -3")),
    "no size": lambda _: of(tensor("", "")),
    "no clips": lambda _: of(tensor("0 3")),
    "no width": lambda _: of(tensor("1099511627776 0", "0 0")),
    "strides below zero": lambda _: of(tensor(stride="-3 1", offset=9)),
    "fewer strides than sizes": lambda _: of(tensor(stride="1")),
    "a thousand axes": lambda _: of(tensor("4 3" + " 1" * 1000, "3 1" + " 1" * 1000)),
    "numel of 2**40": lambda _: of(tensor(numel=2**40)),
    "numel of 2**63": lambda _: of(tensor(numel=2**63)),
    "numel below zero": lambda _: of(tensor(numel=-1)),
    "numel of 13": lambda _: of(tensor(numel=13)),
    "numel of 0": lambda _: of(tensor(numel=0)),
    "storage of 47 bytes": lambda _: of(tensor(), bytes(47)),
    "storage of 480 bytes": lambda _: of(tensor(), bytes(480)),
    "storage missing": lambda _: archive(GOOD),
    "storage above": lambda _: of(tensor(key="../../outside/secret.npy")),
    "storage by an absolute name": lambda _: of(tensor(key="/etc/hostname")),
    "storage is the pickle": lambda _: of(tensor(key="../data.pkl")),
    "doubles in a storage of floats": lambda _: of(tensor(storage="torch DoubleStorage")),
    "integers": lambda _: of(tensor(storage="torch LongStorage")),
    "booleans": lambda _: saved(torch.zeros(4, 3, dtype=torch.bool)),
    "bfloat16": lambda _: saved(torch.zeros(4, 3, dtype=torch.bfloat16)),
    "complex": lambda _: saved(torch.zeros(4, 3, dtype=torch.complex64)),
    "quantized": lambda _: saved(torch.quantize_per_tensor(torch.ones(4, 3), 0.5, 0, torch.quint8)),
    "sparse": lambda _: saved(torch.eye(4).to_sparse()),
    "a parameter": lambda _: saved(torch.nn.Parameter(torch.ones(4, 3))),
    "a module": lambda _: saved(torch.nn.Linear(3, 4)),
    "a TorchScript module": lambda _: _scripted(),
    "another device": lambda _: of(tensor(device="cuda:99")),
    "no device": lambda _: of(tensor(device="meta")),
    "a device that is none": lambda _: of(tensor(device="../x\0")),
    "two tensors": lambda _: saved([torch.ones(4, 3), torch.ones(4, 3)]),
    "a dict of two tensors": lambda _: saved({"a": torch.ones(4, 3), "b": torch.ones(4, 3)}),
    "a dict of a tensor": lambda _: saved({"a": torch.ones(4, 3), "b": 7}),
    "a list of a tensor": lambda _: saved([torch.ones(4, 3)]),
    "a string": lambda _: saved("tensor"),
    "None": lambda _: saved(None),
    "one axis": lambda _: saved(torch.ones(12)),
    "NaN": lambda _: saved(torch.full((4, 3), float("nan"))),
    "big endian": lambda _: zipped(
        ("archive/data.pkl", GOOD),
        ("archive/byteorder", b"big"),
        ("archive/data/0", bytes(48)),
        ("archive/version", b"3\n"),
    ),
    "byte order of nobody": lambda _: zipped(
        ("archive/data.pkl", GOOD),
        ("archive/byteorder", b"\xff" * 10),
        ("archive/data/0", bytes(48)),
        ("archive/version", b"3\n"),
    ),
    "version 99": lambda _: zipped(
        ("archive/data.pkl", GOOD), ("archive/data/0", bytes(48)), ("archive/version", b"99\n")
    ),
    "no version": lambda _: zipped(("archive/data.pkl", GOOD), ("archive/data/0", bytes(48))),
    "no pickle": lambda _: zipped(("archive/data/0", bytes(48)), ("archive/version", b"3\n")),
    "two pickles": lambda folder: _two_archives(
        ("archive/data.pkl", GOOD), ("b/data.pkl", pickle.dumps(Runs(folder), 2))
    ),
    "a pickle in capitals": lambda folder: _two_archives(
        ("archive/DATA.PKL", pickle.dumps(Runs(folder), 2)), ("b/data.pkl", GOOD)
    ),
    "a pickle in capitals, another below": lambda folder: _two_archives(
        ("archive/DATA.PKL", pickle.dumps(Runs(folder), 2)), ("archive/b/data.pkl", GOOD)
    ),
    "a pickle in capitals alone": lambda folder: _two_archives(
        ("archive/DATA.PKL", pickle.dumps(Runs(folder), 2))
    ),
    "a pickle at the top": lambda folder: zipped(("data.pkl", GOOD), ("data/0", bytes(48))),
    "names with a path": lambda _: archive(GOOD, ("data/0", bytes(48)), name="../../outside/x"),
    "compressed": lambda _: _bomb(),
    "compressed, 128 MB": lambda _: raw_zip(
        b"archive/data.pkl", zeros(2**27, GOOD)[0], 2**27, checksum=1
    ),
    "numbers, not a pickle": lambda _: archive(bytes(100), ("data/0", bytes(48))),
    "an endless pickle": lambda _: archive(PROTO + b"N0" * 50_000, ("data/0", bytes(48))),
    "a pickle without an end": lambda _: archive(GOOD[:-1], ("data/0", bytes(48))),
    "a stack that is empty": lambda _: archive(PROTO + b"000tR."),
    "a string of 2**60 bytes": lambda _: archive(PROTO + b"\x8d" + struct.pack("<Q", 2**60) + b"."),
    "bytes of 2**60 bytes": lambda _: archive(PROTO + b"\x8e" + struct.pack("<Q", 2**60) + b"."),
    "a bytearray of 2**60 bytes": lambda _: archive(
        b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b"."
    ),
    "a frame of 2**60 bytes": lambda _: archive(b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N."),
    "a number of 30,000 digits": lambda _: archive(PROTO + b"I" + b"9" * 30_000 + b"\n."),
    "a number of 2**31 bytes": lambda _: archive(PROTO + b"\x8b\xff\xff\xff\x7f."),
    "memo of 2**32": lambda _: archive(PROTO + b"Nr\xff\xff\xff\xffj\xff\xff\xff\xff."),
    "lists, 20,000 deep": lambda _: _nested(20_000, b"](", b"e"),
    "tuples, 60,000 deep": lambda _: _nested(60_000, b"", b"\x85"),
    "dicts, 10,000 deep": lambda _: _nested(10_000, b"}(N", b"u"),
    "a list in itself": lambda _: archive(PROTO + b"]q\x00h\x00a."),
    "two hundred tensors": lambda _: archive(
        PROTO + b"](" + tensor() * 200 + b"e.", ("data/0", bytes(48))
    ),
    **{
        f"{opcode}, {name}": lambda folder, opcode=opcode, module=module, name=name, say=say: (
            archive(  # type: ignore[misc]
                calling(module, name, say.format(folder.parent / "outside" / "ran"))[opcode],
                ("data/0", bytes(48)),
            )
        )
        for module, name, say in (
            ("os", "system", "mkdir {}"),
            ("builtins", "eval", "__import__('os').mkdir({!r})"),
            ("torch.hub", "load", "{}"),
        )
        for opcode in calling("os", "mkdir", "x")
    },
    **{
        f"old, {opcode}": lambda folder, opcode=opcode: legacy(  # type: ignore[misc]
            calling("os", "mkdir", str(folder.parent / "outside" / "ran"))[opcode]
        )
        for opcode in calling("os", "mkdir", "x")
    },
    "old, sound": lambda _: saved(torch.ones(4, 3), legacy=True),
    "old, cut": lambda _: saved(torch.ones(4, 3), legacy=True)[:-1],
    "old, numel of 2**40": lambda _: legacy(PROTO + tensor(numel=2**40, old=True) + b"."),
    "old, sizes of 2**40": lambda _: legacy(OLD, _keys(1) + struct.pack("<q", 2**40)),
    "old, sizes below zero": lambda _: legacy(OLD, _keys(1) + struct.pack("<q", -1)),
    "old, a million keys": lambda _: legacy(OLD, _keys(1_000_000)),
    "old, other keys": lambda _: legacy(OLD, pickle.dumps(["1", 7, None, "../x"], 2) + bytes(56)),
    "old, keys are a number": lambda _: legacy(OLD, pickle.dumps(7, 2) + bytes(56)),
    "old, a pickle as keys": lambda folder: legacy(OLD, pickle.dumps(Runs(folder), 2)),
    "old, a module": lambda _: saved(torch.nn.Linear(3, 4), legacy=True),
    "old, magic alone": lambda _: saved(torch.ones(1), legacy=True)[:15],
    "a tar file": _polyglot,
    "a plain pickle": lambda folder: pickle.dumps(Runs(folder), 2),
    "a plain pickle, protocol 0": lambda folder: pickle.dumps(Runs(folder), 0),
    "an npy": lambda _: b"\x93NUMPY",
    "nothing": lambda _: b"",
}


def _scripted() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(3, 4), torch.ones(1, 3)), file)
    return file.getvalue()


def _subject(write: Callable[[Path], bytes]) -> Callable[[Path], Subject]:
    def make(folder: Path) -> Subject:
        path = folder / "release"
        path.mkdir()
        (path / "a.pt").write_bytes(write(folder))
        (path / "b.pt").write_bytes(saved(torch.ones(4, 3)))
        return Subject("features", path, "pt", SPEC)

    return make


def cases() -> dict[str, Callable[[Path], Subject]]:
    """All of them by name."""
    return {f"pt: {name}": _subject(write) for name, write in PT.items()}
