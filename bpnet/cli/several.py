"""Hydra commands that ``torchrun`` may start in several processes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bpnet.cli.hydra_app import Task, fail, only_shows, run, sweeps
from bpnet.errors import BPNetError, ConfigError
from bpnet.ranks import Ranks, started_ranks

Shared = Callable[[dict[str, Any], Path, Ranks], None]


def run_in_all(config_name: str, arguments: list[str], check: Task, task: Shared) -> None:
    """Compose the config, check it, and run a task with it in every process.

    Of several processes only the first reads the overrides, makes the run folder and logs; the
    others get the settings from it.

    Args:
        config_name: Name of the main YAML file.
        arguments: The command line after the subcommand: Hydra overrides and flags.
        check: As `run` takes it.
        task: The work; also gets who the process is.

    Raises:
        SystemExit: With 2 and one line on stderr where something is wrong.
    """
    try:
        ranks = started_ranks()
        if ranks.size > 1 and sweeps(arguments):
            raise ConfigError(
                f"--multirun in {ranks.size} processes: a sweep starts its runs itself; give it "
                "without torchrun"
            )
        if ranks.first:
            run(config_name, arguments, check, lambda *config: _together(task, config, ranks))
        elif not only_shows(arguments):
            logging.basicConfig(level=logging.ERROR)  # the first process says what there is to say
            _together(task, ({}, Path()), ranks)
    except BPNetError as err:
        fail(err)


def _together(task: Shared, config: tuple[dict[str, Any], Path], ranks: Ranks) -> None:
    """Do the work with the first process's settings."""
    from bpnet.distributed import from_first, process_group, share_threads

    share_threads(ranks)
    with process_group(ranks):
        values, run_dir = from_first(config, ranks)
        task(values, run_dir, ranks)
