"""Work over very many videos in shards: a file each, so that it goes on where it was cut off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bpnet.errors import ConfigError
from bpnet_features.atomic import write_text_atomically

JOB = "job.json"  # what the shards of a folder are about

Item = TypeVar("Item")


def cut(items: Sequence[Item], size: int, key: Callable[[Item], Hashable]) -> list[list[Item]]:
    """Neighbours in shards.

    Args:
        items: What there is to do, in order.
        size: Items a shard, >= 1; a shard has more where it would else end between equal keys.
        key: What must not be divided, such as the video of a query.

    Returns:
        The shards; together they are the items, in order.
    """
    shards: list[list[Item]] = []
    for item in items:
        if shards and (len(shards[-1]) < size or key(shards[-1][-1]) == key(item)):
            shards[-1].append(item)
        else:
            shards.append([item])
    return shards


def digest(items: Iterable[Any]) -> str:
    """A name for a list of things to do, the same for the same list."""
    found = hashlib.sha256()
    for item in items:
        found.update(json.dumps(item, default=str).encode() + b"\n")
    return found.hexdigest()


def begin(folder: Path, job: dict[str, Any]) -> None:
    """Make the folder of a job, or go on with the same job in it.

    Args:
        folder: Where its shards go; its parent must exist.
        job: What decides their content, as plain values.

    Raises:
        ConfigError: The folder holds another job, or something else.
    """
    if not folder.parent.is_dir():
        raise ConfigError(f"--out {str(folder)!r}: no folder {str(folder.parent)!r}")
    folder.mkdir(exist_ok=True)
    file = folder / JOB
    if file.is_file():
        before = json.loads(file.read_text())
        names = sorted({*before, *job})
        other = [name for name in names if before.get(name) != job.get(name)]
        if other:
            told = ", ".join(f"{n} {before.get(n)!r} != {job.get(n)!r}" for n in other)
            raise ConfigError(
                f"--out {str(folder)!r} holds another job ({told}): give the same line to go on "
                "with it, or another folder"
            )
    elif any(folder.iterdir()):
        raise ConfigError(f"--out {str(folder)!r} holds something else: give a new folder")
    else:
        write_text_atomically(file, json.dumps(job, indent=1) + "\n")


def shard_path(folder: Path, number: int, suffix: str) -> Path:
    """The file of a shard; it is there where the shard is done."""
    return folder / f"{number:06d}{suffix}"


def left(folder: Path, count: int, suffix: str) -> list[int]:
    """Numbers of the shards that are still to be done."""
    return [number for number in range(count) if not shard_path(folder, number, suffix).exists()]


def num_rows(folder: Path, suffix: str) -> int:
    """Lines of all shards' files of a kind, such as those of what failed."""
    return sum(
        len(path.read_text(encoding="utf-8").splitlines()) for path in folder.glob(f"*{suffix}")
    )
