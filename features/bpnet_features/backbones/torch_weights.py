"""What the networks share: the device, weights from a file, and which weights those are."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from bpnet_features.errors import FeatureError

_COUNTERS = ".num_batches_tracked"  # of batch normalisation: in some files, and in no result


def pick_device(name: str) -> torch.device:
    """The device of a setting.

    Args:
        name: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        The device.

    Raises:
        FeatureError: The name is not one, or that device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"(cpu|cuda)(:[0-9]{1,9})?", name):
        raise FeatureError(f"device={name!r}: expected auto, cpu, cuda or cuda:N")
    kind, _, number = name.partition(":")
    count = torch.cuda.device_count()
    if kind == "cuda" and int(number or 0) >= count:  # torch would take cuda:256 for cuda:0
        raise FeatureError(f"device={name!r}: {count} CUDA devices are here; use device=cpu")
    return torch.device(name)


def read_state(path: str, backbone: str) -> dict[str, Tensor]:
    """The named tensors of a weight file.

    Args:
        path: A file that ``torch.save`` wrote; no code in it is run.
        backbone: Which it is said to be of, for the message.

    Returns:
        Name -> tensor, on the CPU. A dict that holds them under ``state_dict``, and names that
        begin with ``module.`` (as `DataParallel` writes them), are read too.

    Raises:
        FeatureError: The file is missing or damaged, or holds anything but tensors with names.
    """
    where = f"weights {path!r} of backbone {backbone!r}"
    if not Path(path).is_file():
        raise FeatureError(f"{where}: no such file; docs/extract.md says where to get it")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as err:
        raise FeatureError(
            f"{where}: not a PyTorch file of plain tensors, or damaged; download it again"
        ) from err
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    ):
        raise FeatureError(
            f"{where}: holds {type(found).__name__}: expected a state dict, names with tensors"
        )
    return {name.removeprefix("module."): value for name, value in found.items()}


def fill(network: nn.Module, state: dict[str, Tensor], unused: Iterable[str], where: str) -> None:
    """Give a network its weights; all of them, and nothing is left over.

    Args:
        network: It is put into evaluation mode, without gradients.
        state: Name -> tensor.
        unused: Beginnings of names that the features do not need, such as those of a classifier.
        where: Names the file, for the message.

    Raises:
        FeatureError: Names or shapes are not those of the network.
    """
    wanted = {n: t for n, t in network.state_dict().items() if not n.endswith(_COUNTERS)}
    skipped = tuple(unused)
    given = {
        name: tensor
        for name, tensor in state.items()
        if not name.endswith(_COUNTERS) and not (skipped and name.startswith(skipped))
    }
    faults = [f"{name} is missing" for name in wanted if name not in given]
    faults += [f"{name} is not of this network" for name in given if name not in wanted]
    faults += [
        f"{name} has shape {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise FeatureError(
            f"{where}: weights of another network: {'; '.join(faults[:5])}{more}. Give the file "
            "that docs/extract.md names for this backbone"
        )
    network.load_state_dict(given, strict=False)  # only the counters may be missing, as found above
    network.eval().requires_grad_(False)


def digest(network: nn.Module) -> str:
    """Which weights a network has, whatever file they came from.

    Args:
        network: The part of it that makes the features.

    Returns:
        ``"sha256:"`` and the digest of types, shapes and bytes of all its numbers. Names are left
        out: they differ between versions of a library.
    """
    parts = []
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            plain = tensor.detach().cpu().contiguous()
            part = hashlib.sha256(f"{plain.dtype} {tuple(plain.shape)}\n".encode())
            part.update(plain.numpy().data)
            parts.append(part.digest())
    return f"sha256:{hashlib.sha256(b''.join(sorted(parts))).hexdigest()}"
