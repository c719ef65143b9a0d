"""Work on one open file in several processes, which end with the process that started them."""

from __future__ import annotations

import contextlib
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context, reduction
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from bpnet_features.errors import FeatureError

Task = TypeVar("Task")
Result = TypeVar("Result")

ALONE_SECONDS = 2.0  # what is done by then is not worth starting processes for
AHEAD = 2  # tasks that a process is given at once, so that it need not wait for the next one


def run_all(
    work: Callable[[Task, int], Result], tasks: Iterable[Task], descriptor: int, jobs: int
) -> Iterator[tuple[Task, Result]]:
    """Do all tasks; results come in any order, as soon as they are there.

    Unlike those of a pool from the standard library, these processes end when their parent is
    killed, and until then they hold what it has locked through ``descriptor``.

    Args:
        work: Called with a task and a descriptor of the same open file. For ``jobs`` > 1, it, the
            tasks and the results must be picklable. A `FeatureError` that it raises ends the run.
        tasks: What to do; taken as needed.
        descriptor: An open file.
        jobs: Number of processes, >= 1. With 1, and for `ALONE_SECONDS` in any case, the work is
            done in this one.

    Yields:
        Tasks with their results.

    Raises:
        FeatureError: Raised by ``work``, or a process died.
    """
    waiting = iter(tasks)
    begun = time.monotonic()
    for task in waiting:
        yield task, work(task, descriptor)
        if jobs > 1 and time.monotonic() - begun >= ALONE_SECONDS:
            break
    else:
        return
    given: dict[Connection[Any, Any], deque[Task]] = {}
    processes: list[SpawnProcess] = []
    # A forked child of a program that uses threads (torch does) can hang; a spawned one cannot.
    context = get_context("spawn")
    try:
        for _ in range(jobs):
            ours, theirs = context.Pipe()
            given[ours] = deque()
            process = context.Process(
                target=_serve, args=(theirs, _Descriptor(descriptor), work), daemon=True
            )
            process.start()
            processes.append(process)
            theirs.close()  # so that reading fails when the process dies
        for connection in [*given] * AHEAD:
            _give(connection, waiting, given)
        while busy := [connection for connection, held in given.items() if held]:
            ready = wait(busy)
            for connection in filter(ready.__contains__, busy):
                result = connection.recv()
                if isinstance(result, FeatureError):
                    raise result
                task = given[connection].popleft()
                _give(connection, waiting, given)
                yield task, result
    except (EOFError, ConnectionError) as err:
        raise FeatureError(
            "a worker process died (killed, or out of memory?); try again with jobs=1"
        ) from err
    finally:
        for connection in given:
            connection.close()
        for process in processes:
            process.join()


def _give(
    connection: Connection[Any, Any],
    waiting: Iterator[Task],
    given: dict[Connection[Any, Any], deque[Task]],
) -> None:
    for task in waiting:
        connection.send(task)
        given[connection].append(task)
        break


def _serve(
    connection: Connection[Any, Any],
    descriptor: _Descriptor,
    work: Callable[[Task, int], object],
) -> None:
    """The life of a worker: it ends when the parent closes its end of the pipe, or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            task = connection.recv()
            try:
                connection.send(work(task, descriptor.number))
            except FeatureError as err:
                connection.send(err)


class _Descriptor:
    """An open file that a spawned process is given: the same one, with its locks."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self.number),)


def _received(duplicate: Any) -> _Descriptor:
    return _Descriptor(duplicate.detach())
