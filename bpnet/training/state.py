"""The training state: everything needed to go on bit for bit, in one file."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import torch

from bpnet.checkpoint import write_atomically
from bpnet.errors import CheckpointError

STATE = "state.pt"


@dataclasses.dataclass
class TrainingState:
    """Where a run stands after a whole number of steps.

    The weights stand here too, beside the checkpoint's: one file is replaced at once, so weights
    and optimiser can never be of different steps.

    Attributes:
        step: Optimiser steps done.
        weights: The model's state dict.
        optimizer: The optimiser's.
        schedule: The schedule's.
        random: torch's random states: ``"cpu"`` and one for each CUDA device.
        best: Best value of the validation metric so far, or None.
        config: The settings that decide the numbers, as plain values.
        running: Sums of the losses since the last line of the log, by name, and ``"count"``.
        metrics: The last validation's, or None.
    """

    step: int
    weights: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    random: dict[str, Any]
    best: float | None
    config: dict[str, Any]
    running: dict[str, float]
    metrics: dict[str, float] | None = None

    def save(self, path: Path) -> None:
        """Write the file; it appears whole or not at all."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        write_atomically(path, lambda part: torch.save(values, part))

    @classmethod
    def load(cls, path: Path) -> TrainingState:
        """Read the file, on the CPU.

        Args:
            path: The file, or the folder of a run.

        Returns:
            The state.

        Raises:
            CheckpointError: There is none, or it is damaged.
        """
        file = path / STATE if path.is_dir() else path
        if not file.is_file():
            raise CheckpointError(f"training state {str(file)!r}: no such file; nothing to resume")
        try:
            values = torch.load(file, map_location="cpu", weights_only=True)
            return cls(**values)
        except (RuntimeError, pickle.UnpicklingError, EOFError, TypeError, OSError) as err:
            raise CheckpointError(f"training state {str(file)!r}: damaged ({err})") from err


def random_states() -> dict[str, Any]:
    """torch's random states, as dropout draws from them."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}


def restore_random_states(states: dict[str, Any]) -> None:
    """Put back what `random_states` gave; CUDA states only where the devices are the same."""
    torch.set_rng_state(states["cpu"])
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
