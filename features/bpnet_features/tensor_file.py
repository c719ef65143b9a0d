"""pt files of DRN and mmaction2: one tensor a video. The only reader that needs PyTorch."""

from __future__ import annotations

import contextlib
import io
import math
import pickletools
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bpnet_features.bounds import MAX_ARRAY_BYTES, check_axes, check_claim, reading
from bpnet_features.errors import FeatureError
from bpnet_features.source import Entry
from bpnet_features.zips import MAGIC, open_zip

# What torch.save wrote before PyTorch 1.6: this number and two more pickles about the writer, one
# of the object, one of its list of storages, then the numbers themselves.
_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_PICKLES = 5
_FIRST_WITH_SIZES = 3
# One tensor takes about 300 bytes.
_PICKLE_BYTES = 2**16

_TENSOR_GLOBALS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch HalfStorage",
    "torch FloatStorage",
    "torch DoubleStorage",
}


def entry(path: Path, where: str) -> Entry:
    """What the tensor (T, C) of a pt file is; the file is read for it."""
    array = read(path, where)
    return Entry(array.shape[0], array.shape[1], array.dtype.name)


def read(path: Path, where: str) -> npt.NDArray[np.floating]:
    """The tensor (T, C) of a pt file, as stored.

    Args:
        path: The file: a tensor, or a dict with exactly one.
        where: Names it, for the message.

    Returns:
        The array.

    Raises:
        FeatureError: It is damaged, holds anything but numbers, or is too large.
    """
    return _load(path, check_file(path, where), where)


def check_file(path: Path, where: str) -> set[int] | None:
    """Look into a pt file without loading it.

    Args:
        path: The file.
        where: Names it, for the message.

    Returns:
        Sizes of what the file stores, in bytes; None: PyTorch compares them itself.

    Raises:
        FeatureError: It is damaged, or its pickle does more than describe a tensor of floats.
    """
    with reading(where), path.open("rb") as file:
        head = file.read(_PICKLE_BYTES)
        size = file.seek(0, 2)
    if size > 2 * MAX_ARRAY_BYTES + _PICKLE_BYTES:  # PyTorch loads all of it
        raise FeatureError(
            f"{where}: a file of {size} bytes: more than one video may take ({MAX_ARRAY_BYTES} "
            "bytes as float32)",
            kind="too large",
        )
    if head.startswith(MAGIC):
        return _check_zip(path, where)
    if head.startswith(_LEGACY_MAGIC):
        _check_legacy(head, size, where)
        return None
    raise FeatureError(
        f"{where}: not a PyTorch file, it begins with {head[:6]!r}; download it again",
        kind="damaged data",
    )


def _check_zip(path: Path, where: str) -> set[int]:
    """Sizes of the storages in a file of PyTorch 1.6 or later, once all of it is found harmless."""
    with open_zip(path, where) as members:
        infos = members.infolist()
        for info in infos:
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise FeatureError(
                    f"{where}: member {info.filename!r} is compressed, as PyTorch never writes it; "
                    "download the file again"
                )
        # PyTorch looks names up without regard to case.
        pickles = [info for info in infos if info.filename.lower().endswith("data.pkl")]
        if len(pickles) != 1:
            raise FeatureError(f"{where}: {len(pickles)} members data.pkl: expected one tensor")
        size = path.stat().st_size
        if sum(info.file_size for info in infos) > size:
            raise FeatureError(
                f"{where}: its members overlap: damaged data; download it again",
                kind="damaged data",
            )
        with members.open(pickles[0]) as file:
            _check_pickle(io.BytesIO(file.read(_PICKLE_BYTES)), size, where)
        return {info.file_size for info in infos if "/data/" in info.filename}


def _check_legacy(head: bytes, size: int, where: str) -> None:
    with contextlib.suppress(tarfile.HeaderError):
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
        raise FeatureError(
            f"{where}: a tar file, which PyTorch unpacks to other files before it reads it: not "
            "read; save it again with torch.save",
            kind="wrong type",
        )
    with reading(where):
        stream = io.BytesIO(head)
        for number in range(_LEGACY_PICKLES):
            _check_pickle(stream, size if number >= _FIRST_WITH_SIZES else None, where)


def _check_pickle(stream: io.BytesIO, largest: int | None, where: str) -> None:
    """Refuse a pickle that does more than describe a tensor, or names a size beyond the file."""
    for operation, value, _ in pickletools.genops(stream):
        if operation.name in ("GLOBAL", "STACK_GLOBAL", "INST"):
            if value not in _TENSOR_GLOBALS:
                raise FeatureError(
                    f"{where}: its pickle refers to {value!r}, which is no part of a tensor of "
                    "floats and could run any code: not read; save one plain tensor a file",
                    kind="wrong type",
                )
        elif value == "module":
            raise FeatureError(f"{where}: holds a module: expected one tensor", kind="wrong type")
        elif isinstance(value, int) and largest is not None and value > largest:
            raise FeatureError(
                f"{where}: its pickle claims a size of {value} in a file of {largest} bytes: "
                "damaged data; download it again",
                kind="damaged data",
            )


def _load(path: Path, storage_sizes: set[int] | None, where: str) -> npt.NDArray[np.floating]:
    import torch

    with reading(where), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
        tensors = [found]
        if isinstance(found, dict):
            tensors = [value for value in found.values() if isinstance(value, torch.Tensor)]
        if len(tensors) != 1 or not isinstance(tensors[0], torch.Tensor):
            raise FeatureError(
                f"{where}: holds {type(found).__name__} with {len(tensors)} tensors: expected one "
                "tensor (T, C)",
                kind="wrong type",
            )
        tensor = tensors[0].detach()
        shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
        check_claim(shape, dtype, where)
        check_axes(shape, where)
        stored = tensor.untyped_storage().nbytes()
        if math.prod(shape) * tensor.element_size() > stored:  # the same numbers many times
            raise FeatureError(
                f"{where}: {dtype} of shape {shape} from {stored} bytes: damaged data; download "
                "it again",
                kind="damaged data",
            )
        if storage_sizes is not None and stored not in storage_sizes:
            raise FeatureError(
                f"{where}: no record of the file has the size of its tensor: damaged data; "
                "download it again",
                kind="damaged data",
            )
        array: npt.NDArray[np.floating] = tensor.contiguous().numpy()
        return array
