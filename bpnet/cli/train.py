"""`bpnet train`: Hydra overrides -> a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bpnet.cli.several import run_in_all
from bpnet.config import DataConfig, TrainConfig
from bpnet.errors import CheckpointError, ConfigError
from bpnet.ranks import Ranks
from bpnet.settings import from_dict

RESOLVED = "config.yaml"


def main(arguments: list[str]) -> None:
    """Train as the overrides say; see ``bpnet train --help``."""
    run_in_all("train", arguments, _check, _train)


def _check(values: dict[str, Any], run_dir: Path) -> None:
    config = from_dict(TrainConfig, values)
    _check_data_files(config.data)
    if config.resume and config.resume != "auto" and not Path(config.resume).exists():
        raise CheckpointError(f"resume={config.resume!r}: no such file or folder")
    if config.resume is not None or run_dir.exists():
        # Takes PyTorch, but comes before Hydra writes into the folder: a refused command must
        # leave the run that is there as it is.
        if config.supervision.kind == "full":
            from bpnet.training.state import find_state

            find_state(config, run_dir)
        else:
            from bpnet.weak.rounds import check_rounds

            check_rounds(config, run_dir)


def _check_data_files(data: DataConfig) -> None:
    """Make sure that the files that training reads are there, without heavy imports."""
    from bpnet.data.annotations import check_files

    if not Path(data.features.path).exists():
        raise ConfigError(f"data.features={data.features.path!r}: no such file or folder")
    for split in filter(None, [data.train_split, data.validation_split]):
        check_files(data.dataset, data.annotations, split)
    vectors = data.vectors
    if vectors is not None and ("/" in vectors or vectors.endswith((".txt", ".vec", ".gz"))):
        if not Path(vectors).expanduser().is_file():
            raise ConfigError(f"data.vectors={vectors!r}: no such file")


def _train(values: dict[str, Any], run_dir: Path, ranks: Ranks) -> None:
    import json

    from omegaconf import OmegaConf

    config = from_dict(TrainConfig, values)
    if ranks.first:
        OmegaConf.save(OmegaConf.create(values), run_dir / RESOLVED)
    if config.supervision.kind == "full":
        from bpnet.training.run import train

        found: dict[str, Any] = {"validation": train(config, run_dir, ranks)}
    else:
        from bpnet.weak.rounds import train_weakly

        found = train_weakly(config, run_dir, ranks)
    if ranks.first:
        print(json.dumps({"run_dir": str(run_dir), **found}))


if __name__ == "__main__":  # as torchrun starts it
    from bpnet.cli.main import main as bpnet

    bpnet(["train", *sys.argv[1:]])
