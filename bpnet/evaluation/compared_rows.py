"""The settings ``checkpoint`` and ``predictions`` -> the rows of a comparison; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bpnet.errors import ConfigError

# What a run is given by: {"checkpoint": path, "predictions": None}, or the other way round.
Run = dict[str, str | None]


def compared_rows(checkpoint: Any, predictions: Any) -> dict[str, list[Run]] | None:
    """The rows that are asked for, and the runs behind each.

    Both settings take a path; a list of paths, each a row of its own; or a mapping from the name of
    a row to its path, or to the paths of several runs of one model, such as other seeds. A path
    with ``*`` or ``?`` stands for all that it matches, which are the runs of one row.

    Args:
        checkpoint: The setting.
        predictions: The setting.

    Returns:
        Runs by row, checkpoints first, in the order given; None where there is nothing to compare:
        one path alone, or none.

    Raises:
        ConfigError: A setting has another form, a pattern matches nothing, or two rows have one
            name.
    """
    given = {"checkpoint": checkpoint, "predictions": predictions}
    if _is_alone(checkpoint, predictions) or _is_alone(predictions, checkpoint):
        return None
    rows: dict[str, list[Run]] = {}
    for kind, value in given.items():
        other = "predictions" if kind == "checkpoint" else "checkpoint"
        for name, patterns in _named(kind, value):
            if name in rows:
                raise ConfigError(
                    f"{kind}={value!r}: two rows are called {name!r}: expected names of their own: "
                    f"{kind}='{{NAME: PATH, OTHER: PATH}}'"
                )
            paths = [path for pattern in patterns for path in _expanded(kind, pattern)]
            rows[name] = [{kind: path, other: None} for path in paths]
    return rows


def _is_alone(one: Any, other: Any) -> bool:
    return other is None and (one is None or (isinstance(one, str) and not _is_pattern(one)))


def _named(kind: str, value: Any) -> list[tuple[str, list[str]]]:
    """Names of rows, with the paths and patterns of each."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        named = [(str(name), _paths(kind, paths)) for name, paths in value.items()]
    else:
        named = [(path, [path]) for path in _paths(kind, value)]
    if not named:
        raise ConfigError(f"{kind}={value!r}: expected at least one path")
    return named


def _paths(kind: str, value: Any) -> list[str]:
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    # A folder may be called 2024.
    if not values or not all(isinstance(one, (str, int, float)) for one in values):
        raise ConfigError(
            f"{kind}={value!r}: expected a path, a list of paths, or names with their paths: "
            f"{kind}='{{ours: [RUN, RUN], theirs: RUN}}'"
        )
    return [str(one) for one in values]


def _expanded(kind: str, path: str) -> list[str]:
    if not _is_pattern(path):
        return [path]
    pattern = Path(path)
    root = Path(pattern.anchor)
    found = sorted(str(one) for one in root.glob(str(pattern.relative_to(root))))
    if not found:
        raise ConfigError(f"{kind}={path!r}: no file or folder matches")
    return found


def _is_pattern(path: str) -> bool:
    return "*" in path or "?" in path
