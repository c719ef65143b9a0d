"""`bpnet serve` in a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


class Running:
    """A service that runs.

    Args:
        process: Its process.
        url: Its address.
    """

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def end(self) -> tuple[int, str]:
        """Wait for its end; gives exit status and standard error."""
        error = self.process.communicate(timeout=600)[1]
        return self.process.returncode, error


@contextlib.contextmanager
def serve_process(run_dir: Path, *options: str | Path, **environment: str) -> Iterator[Running]:
    """``bpnet serve`` on a free port, until its block ends."""
    command = [sys.executable, "-m", "bpnet.cli.main", "serve", "--checkpoint", run_dir]
    with subprocess.Popen(
        [*map(str, command), "--port", "0", "--device", "cpu", *map(str, options)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stderr is not None
            line = running.stderr.readline()
            assert line.startswith("serving on http://127.0.0.1:"), line + running.stderr.read()
            yield Running(running, line.split()[2].rstrip(","))
        finally:
            running.kill()
