"""What the command line changes in its process is put back; a trained tiny model."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_run

from bpnet.cli.main import main

Run = Callable[..., "tuple[int, str, str]"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory, and arguments, that a command may change."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def bpnet(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs ``bpnet ...`` in this process; gives exit status, standard output and error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capfd.readouterr()
        status = 0
        with fresh_logging():
            try:
                main([str(argument) for argument in arguments])
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 0
        return (status, *capfd.readouterr())

    return run


@contextlib.contextmanager
def fresh_logging() -> Iterator[None]:
    """No handlers, as in a new process; afterwards those that were there before."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers[:] = []
    try:
        yield
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture
def process() -> Run:
    """Runs ``python ARGUMENTS`` in a process of its own; gives what `bpnet` gives."""

    def run(*arguments: str | Path, **environment: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(scope="session")
def dataset_root() -> Path:
    """Folder of the tiny dataset; nothing may write into it."""
    return tiny_run.trained()[0]


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The repository."""
    return Path(__file__).resolve().parents[2]
