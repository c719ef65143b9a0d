"""Times of the contenders of `attention.py`, in turn: on processors, and on CUDA devices.

On CUDA a call is timed twice. Captured in a CUDA graph, ten at a time, it takes what the device
takes; called from Python, it takes what the slower of the two takes, which for small work is
Python. Both are between events on the device.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Call = Callable[[], torch.Tensor]
CALLS = 10  # in a graph, and between two events


@dataclasses.dataclass(frozen=True)
class Clock:
    """How long a call takes.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``.
        kind: ``"wall"``, or ``"cpu"``: the time that this process had a processor.
    """

    device: str
    kind: str = "wall"

    def seconds(self, call: Callable[[], object], calls: int = 1) -> float:
        """Of one of several calls in a row."""
        if self.device != "cpu":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            begin.record()
            for _ in range(calls):
                call()
            end.record()
            torch.cuda.synchronize()
            return begin.elapsed_time(end) / 1e3 / calls
        now = time.process_time if self.kind == "cpu" else time.perf_counter
        start = now()
        for _ in range(calls):
            call()
        return (now() - start) / calls


def captured(call: Call) -> Callable[[], None]:
    """Several calls as one CUDA graph; they have run before, so that all is compiled."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            call()
    return graph.replay


def time_in_turn(
    calls: dict[str, Call], clock: Clock, rounds: int, seconds: float, not_captured: set[str]
) -> dict[str, dict[str, list[float]]]:
    """Everyone once a round, in another order each time.

    Args:
        calls: Who is timed; each has run before.
        clock: How.
        rounds: Least number of rounds, as long as they do not take three times ``seconds``.
        seconds: Rounds go on for so long.
        not_captured: Who cannot be in a CUDA graph, because it makes tables anew.

    Returns:
        By name ``"seconds"``, one number a round, and on CUDA ``"eager_seconds"``.
    """
    on_cuda = clock.device != "cpu"
    graphs = {
        name: captured(call) for name, call in calls.items() if on_cuda and name not in not_captured
    }
    times: dict[str, dict[str, list[float]]] = {name: {"seconds": []} for name in calls}
    names = list(calls)
    rng = random.Random(0)
    begun = time.perf_counter()
    for number in range(10_000):
        passed = time.perf_counter() - begun
        if (number >= rounds and passed > seconds) or (number >= 3 and passed > 3 * seconds):
            break
        # Everyone follows everyone at times: who reads the same numbers leaves them cached.
        rng.shuffle(names)
        for name in names:
            if not on_cuda:
                times[name]["seconds"].append(clock.seconds(calls[name]))
                continue
            eager = clock.seconds(calls[name], CALLS)
            times[name].setdefault("eager_seconds", []).append(eager)
            device = clock.seconds(graphs[name]) / CALLS if name in graphs else eager
            times[name]["seconds"].append(device)
    return times


def measure_machine(clock: Clock, dtype: torch.dtype) -> dict[str, Any]:
    """What the figures depend on: versions, threads, the rate of a product, that of reading."""
    on_cuda = clock.device != "cpu"
    size, count = (8192, 2**29) if on_cuda else (1024, 2**26)
    square = torch.randn(size, size, dtype=dtype, device=clock.device)
    numbers = torch.ones(count, dtype=torch.float32, device=clock.device)
    for _ in range(3 * on_cuda):
        square @ square
    product = min(clock.seconds(lambda: square @ square) for _ in range(8))
    reading = min(clock.seconds(lambda: numbers.sum()) for _ in range(8))
    found = {
        "device": torch.cuda.get_device_name() if on_cuda else processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "clock": "events" if on_cuda else clock.kind,
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()),
        "gemm_gflops": 2 * size**3 / product / 1e9,
        "read_gbytes": numbers.nbytes / reading / 1e9,
    }
    if on_cuda:
        import triton

        found["cuda"] = torch.version.cuda
        found["triton"] = triton.__version__
        found["multiprocessors"] = torch.cuda.get_device_properties(0).multi_processor_count
    return found


def processor() -> str:
    """Its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    models = {line.split(":")[1].strip() for line in lines if line.startswith("model name")}
    return ", ".join(sorted(models)) or platform.processor()
