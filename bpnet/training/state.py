"""The training state: everything needed to go on bit for bit, in one file."""

from __future__ import annotations

import dataclasses
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from bpnet.checkpoint import BEST
from bpnet.config import TrainConfig
from bpnet.distributed import from_all
from bpnet.errors import CheckpointError, ConfigError
from bpnet.ranks import ALONE, Ranks
from bpnet.settings import plain
from bpnet_features.atomic import write_atomically

STATE = "state.pt"

# Settings that may differ when a run is resumed: they change no number.
FREE = {
    "data": (
        "features.path",
        "features.layout",
        "query_features.path",
        "annotations",
        "root",
        "name",
        "vectors",
        "vectors_cache",
    ),
    "trainer": (
        "eval_batch_size",
        "num_workers",
        "device",
        "save_every_steps",
        "tensorboard",
        "figures",
        "calibrate",
        "profile",
    ),
}


@dataclasses.dataclass
class TrainingState:
    """Where a run stands after a whole number of steps.

    The weights stand here too, beside the checkpoint's: one file is replaced at once, so weights
    and optimiser can never be of different steps.

    Attributes:
        step: Optimiser steps done.
        weights: The model's state dict.
        averaged: That of the moving average of the weights; empty: there is none.
        optimizer: The optimiser's.
        schedule: The schedule's.
        random: torch's random states of the first process: ``"cpu"`` and one for each CUDA device;
            and ``"others"``: those of the other processes, where there are any.
        best: Best value of the validation metric so far, or None.
        config: The settings that decide the numbers, as plain values.
        running: Sums of the losses since the last line of the log, by name, and ``"count"``.
        metrics: The last validation's, or None.
        annotations: SHA-256 of the queries and moments.
        scaler: The state of float16's loss scaling; empty: there is none.
    """

    step: int
    weights: dict[str, Any]
    averaged: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    random: dict[str, Any]
    best: float | None
    config: dict[str, Any]
    running: dict[str, float]
    metrics: dict[str, float] | None
    annotations: str
    scaler: dict[str, Any] = dataclasses.field(default_factory=dict)

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


def random_states(ranks: Ranks = ALONE) -> dict[str, Any]:
    """torch's random states, as dropout draws from them; all processes must ask together."""
    first, *others = from_all(
        {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}, ranks
    )
    return {**first, "others": others} if others else first


def restore_random_states(states: dict[str, Any], ranks: Ranks = ALONE) -> bool:
    """Put back what `random_states` gave; CUDA states only where the devices are the same.

    Args:
        states: What it gave, to as many processes or to another number of them.
        ranks: Who this process is.

    Returns:
        Whether there is a state for it.
    """
    others = states.get("others", [])
    if ranks.first:
        own = states
    elif len(others) == ranks.size - 1:
        own = others[ranks.rank - 1]
    else:
        return False
    torch.set_rng_state(own["cpu"])
    if len(own["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(own["cuda"])
    return True


def deciding_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide a run's numbers, as plain values.

    Args:
        config: The run.

    Returns:
        By group; what stands in `FREE` is left out.
    """
    values = plain(config)
    settings: dict[str, Any] = {
        name: _dotted(values[name]) for name in ("data", "model", "optim", "trainer")
    }
    for group, names in FREE.items():
        for name in names:
            settings[group].pop(name)
    settings["seed"] = config.seed
    return settings


def _dotted(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted names; lists for tuples, so that the two compare as equal."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _dotted(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def find_state(config: TrainConfig, run_dir: Path) -> TrainingState | None:
    """The state to go on from; changes nothing.

    Args:
        config: The run.
        run_dir: Its folder, which may be missing.

    Returns:
        The state, or None for a run that begins.

    Raises:
        ConfigError: The folder holds a run and ``resume`` is not set, or that run has other
            settings.
        CheckpointError: There is no state to resume, or it is damaged.
    """
    own = run_dir / STATE
    if config.resume is None:
        if own.exists():
            raise ConfigError(
                f"run_dir={str(run_dir)!r} holds a run already: give resume=auto to go on with it, "
                "or another run_dir"
            )
        return None
    source = run_dir if config.resume == "auto" else Path(config.resume)
    if config.resume == "auto" and not own.exists():
        return None
    state = TrainingState.load(source)
    changed = _differences(state.config, deciding_settings(config))
    if changed:
        raise ConfigError(
            f"resume={config.resume}: the run has other settings (then != now): "
            f"{'; '.join(changed)}. Give the same settings, or begin a new run"
        )
    return state


def _differences(then: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for key in sorted(then.keys() | now.keys()):
        old, new = then.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: {old!r} != {new!r}")
    return lines


def keep_best(config: TrainConfig, run_dir: Path) -> None:
    """Bring the best checkpoint so far along, where a run goes on in another folder.

    Args:
        config: The run, with ``resume`` set.
        run_dir: Its folder.
    """
    source = run_dir if config.resume in (None, "auto") else Path(str(config.resume))
    best = (source if source.is_dir() else source.parent) / BEST
    if best.is_file() and not (run_dir / BEST).exists():
        shutil.copyfile(best, run_dir / BEST)
