"""Paths that a command is given, looked at before the heavy imports."""

from __future__ import annotations

from pathlib import Path

from bpnet.errors import BPNetError


def must_exist(what: str, path: str, error: type[BPNetError]) -> None:
    """Refuse a path where there is nothing.

    Args:
        what: What the user calls it, for the message.
        path: A file or folder.
        error: What is raised.

    Raises:
        BPNetError: There is nothing; of the class that was asked for.
    """
    if not Path(path).exists():
        raise error(f"{what} {path!r}: no such file or folder")
