"""The same run gives the same numbers, however many threads it has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On a CPU, what several threads add up is added up in one order.

    PyTorch sums the gradient of indexing in any order otherwise, and a run that is resumed is not
    the run that was cut off. On CUDA nothing is changed: there it costs time, and not every
    operation has such a form.

    Args:
        device: Where is trained.

    Yields:
        None: The setting holds inside, and is put back.
    """
    before = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warns)
