"""Shards -> files, by processes of Ray: on this machine, or on all those of a cluster."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from bpnet.errors import BPNetError, ConfigError

TRIES = 3  # for a shard whose process dies
STORE_BYTES = 128 * 2**20  # of what processes hand to one another: names and counts
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # it warns of what it does itself
    # Ray takes a node for dead, or a process for stuck, that is silent for a while, and ends this
    # one with it. On a machine with more to do than cores, that is only slow.
    "RAY_health_check_timeout_ms": "60000",
    "RAY_health_check_failure_threshold": "20",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_raylet_start_wait_time_s": "600",
}


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
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray
    from ray.util import ActorPool

    here = resources.address is None
    ray.init(
        address=resources.address,
        num_cpus=resources.processes if here else None,
        object_store_memory=STORE_BYTES if here else None,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        ignore_reinit_error=True,
    )
    try:
        kind = "GPU" if resources.gpus else "CPU"
        has = ray.cluster_resources().get(kind, 0) / (resources.gpus or 1)
        if has < 1:
            raise ConfigError(f"--gpus {resources.gpus:g}: the cluster has too few {kind}s")
        process = ray.remote(_Process).options(
            num_cpus=1, num_gpus=resources.gpus, max_restarts=-1, max_task_retries=TRIES - 1
        )
        count = min(resources.processes or int(has), int(has), len(numbers))
        pool = ActorPool([process.remote(worker, arguments) for _ in range(count)])
        rows = ({"number": number, "items": json.dumps(shards[number])} for number in numbers)
        yield from pool.map_unordered(lambda one, row: one.do.remote(row), rows)
    except ray.exceptions.RayTaskError as err:
        if isinstance(err.cause, BPNetError):
            raise BPNetError(str(err.cause)) from err
        raise
    except ray.exceptions.RayActorError as err:
        raise BPNetError(
            f"a process of the job died {TRIES} times over the same shard ({err}): out of memory, "
            "or a file on which a decoder crashes? What is done is kept; the same line goes on"
        ) from err
    finally:
        ray.shutdown()


class _Process:
    """A process of the job; what it needs is made with its first shard, whose error that then is.

    Args:
        worker: See `run_shards`.
        arguments: As there.
    """

    def __init__(self, worker: type, arguments: dict[str, Any]) -> None:
        self._worker, self._arguments = worker, arguments
        self._made: Any = None

    def do(self, row: dict[str, Any]) -> dict[str, int]:
        """Do a shard."""
        if self._made is None:
            self._made = self._worker(**self._arguments)
        done: dict[str, int] = self._made(row)
        return done
