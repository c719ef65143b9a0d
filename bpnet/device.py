"""The device that a setting means, for a process alone and for one of several."""

from __future__ import annotations

import torch

from bpnet.errors import ConfigError, FeatureError
from bpnet.ranks import Ranks
from bpnet_features.backbones.torch_weights import pick_device as _pick_device


def pick_device(name: str) -> torch.device:
    """The device of a setting.

    Args:
        name: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        The device.

    Raises:
        ConfigError: The name is not one, or that device is not there.
    """
    try:
        return _pick_device(name)
    except FeatureError as err:
        raise ConfigError(str(err)) from err


def pick_rank_device(name: str, ranks: Ranks) -> torch.device:
    """The device of this process.

    Args:
        name: The setting.
        ranks: Who it is.

    Returns:
        Of several processes each has a CUDA device of its own, or all compute on the CPU.

    Raises:
        ConfigError: The name is no device, or there are fewer CUDA devices than processes.
    """
    device = pick_device(name)
    if ranks.size == 1 or device.type == "cpu":
        return device
    count = torch.cuda.device_count()
    if device.index is not None or ranks.local_size > count:
        raise ConfigError(
            f"device={name!r} with {ranks.local_size} processes on a machine with {count} "
            "CUDA devices: expected `auto` or `cuda`, and at most one process a device; start "
            "fewer, or set device=cpu"
        )
    torch.cuda.set_device(ranks.local_rank)
    return torch.device("cuda", ranks.local_rank)
