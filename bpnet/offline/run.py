"""Shards -> files, by Ray Data: on this machine, or on all those of a cluster."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from bpnet.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a job may take.

    Attributes:
        processes: At most so many; None: one for each core, or each GPU where these are asked for,
            of what the cluster has.
        gpus: GPUs a process; may be a share of one.
        address: The cluster's, ``auto`` for the one that this machine is in; None: this machine.
    """

    processes: int | None = None
    gpus: float = 0.0
    address: str | None = None


def need_ray() -> None:
    """Raise a `ConfigError` where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("an offline job needs ray: `pip install 'bpnet-nlvl[ray]'`")


def run_shards(
    shards: Sequence[Sequence[Any]],
    numbers: Sequence[int],
    worker: type,
    arguments: dict[str, Any],
    resources: Resources,
) -> Iterator[dict[str, int]]:
    """Do some shards, in any order, each process with one worker for all of its own.

    Args:
        shards: The items of every shard, as plain values.
        numbers: Which of them to do.
        worker: A class whose objects are called with a shard.
        arguments: What its objects are made with.
        resources: What it may take.

    Yields:
        dict[str, int]: What the worker gave for a shard, as soon as it is done.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it warns of what it does itself
    import ray

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(
        address=resources.address,
        num_cpus=resources.processes if resources.address is None else None,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        ignore_reinit_error=True,
    )
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"number": number, "items": json.dumps(shards[number])} for number in numbers]
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        kind = "GPU" if resources.gpus else "CPU"
        has = ray.cluster_resources().get(kind, 0) / (resources.gpus or 1)
        if has < 1:
            raise ConfigError(f"--gpus {resources.gpus:g}: the cluster has too few {kind}s")
        processes = min(resources.processes or int(has), int(has), len(rows))
        yield from data.map(
            worker,
            fn_constructor_kwargs=arguments,
            compute=ray.data.ActorPoolStrategy(size=processes),
            num_cpus=1,
            num_gpus=resources.gpus,
        ).iter_rows()
    finally:
        ray.shutdown()
