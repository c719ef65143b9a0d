"""Who this process is among those that train together; knows no torch, so commands ask early."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from bpnet.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Ranks:
    """A process's place among the processes of a run.

    Attributes:
        rank: Its number, in [0, size); the first one, 0, writes.
        size: Number of processes.
        local_rank: Its number on its machine, which is the number of its CUDA device.
        local_size: Processes on its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether it writes the run folder, the log and the progress bar."""
        return self.rank == 0


ALONE = Ranks()


def started_ranks(environment: Mapping[str, str] = os.environ) -> Ranks:
    """What ``torchrun`` says of this process, in the environment.

    Args:
        environment: Its environment; ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK`` and
            ``LOCAL_WORLD_SIZE`` are read.

    Returns:
        Its place; `ALONE` where it was not started so, or as the only one.

    Raises:
        ConfigError: The entries are not numbers, or do not go together.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    found = {name: environment[name] for name in names if name in environment}
    if "WORLD_SIZE" not in found:
        return ALONE
    values = {name: int(value) for name, value in found.items() if value.isdecimal()}
    rank, size = values.get("RANK", -1), values["WORLD_SIZE"] if "WORLD_SIZE" in values else 0
    if len(values) < len(found) or not 0 <= rank < size:
        shown = ", ".join(f"{name}={value}" for name, value in found.items())
        raise ConfigError(
            f"environment {shown}: expected 0 <= RANK < WORLD_SIZE; start the processes with "
            "`torchrun --nproc-per-node=N -m bpnet.cli.train ...`"
        )
    if size == 1:
        return ALONE
    return Ranks(rank, size, values.get("LOCAL_RANK", rank), values.get("LOCAL_WORLD_SIZE", size))
