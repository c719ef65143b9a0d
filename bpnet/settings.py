"""Plain values <-> config dataclasses: names, types and ranges are checked, all faults at once."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from bpnet.errors import ConfigError

Config = TypeVar("Config")


def from_dict(kind: type[Config], values: Mapping[str, Any], where: str = "") -> Config:
    """Build a config dataclass from plain values, checking names, types and ranges.

    Args:
        kind: The dataclass.
        values: Its fields; nested dataclasses as mappings.
        where: Key of these values in the whole config, such as ``"data"``.

    Returns:
        The config.

    Raises:
        ConfigError: A key is unknown or missing, or a value has the wrong type or range.
    """
    prefix = f"{where}." if where else ""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in fields:
            raise ConfigError(unknown_key(f"{prefix}{key}", [f"{prefix}{name}" for name in fields]))
    built = {}
    for name, field in fields.items():
        if name not in values:
            required = field.default is field.default_factory is dataclasses.MISSING
            if required:
                raise ConfigError(f"{prefix}{name} is not set: give {prefix}{name}=...")
            continue
        built[name] = _typed(f"{prefix}{name}", values[name], hints[name])
    return kind(**built)


def plain(config: Any) -> dict[str, Any]:
    """A config dataclass as plain values that JSON can hold."""
    values: dict[str, Any] = dataclasses.asdict(config)
    return values


def replaced(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values with some of them replaced.

    Args:
        values: The values; groups of them as mappings.
        changes: What takes their places, where it is not None. A group with a new ``path`` is
            replaced whole: what was said of the old file need not be true of another.

    Returns:
        The new values.
    """
    result = dict(values)
    for key, change in changes.items():
        old = result.get(key)
        if isinstance(change, Mapping):
            keep = isinstance(old, Mapping) and change.get("path") is None
            group = replaced(old if keep else {}, change)  # type: ignore[arg-type]
            if group:
                result[key] = group
        elif change is not None:
            result[key] = change
    return result


def unknown_key(key: str, known: list[str]) -> str:
    """The message for a key that does not exist, with the nearest ones that do."""
    near = difflib.get_close_matches(key, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(known)}"
    return f"unknown config key {key!r}: {hint}"


def _typed(key: str, value: Any, hint: Any) -> Any:
    """The value as the type of its field, or an error that names both."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    kind = next(option for option in options if option is not type(None))
    if dataclasses.is_dataclass(kind):
        if isinstance(value, str) and dataclasses.fields(kind)[0].name == "path":
            value = {"path": value}  # a group may be given its path alone
        if isinstance(value, Mapping):
            return from_dict(kind, value, key)  # type: ignore[arg-type]
    origin = typing.get_origin(kind) or kind
    if origin is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is tuple and isinstance(value, (list, tuple)):
        each = typing.get_args(kind)[0]
        return tuple(_typed(f"{key}[{place}]", one, each) for place, one in enumerate(value))
    if origin is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)  # a folder may be called 2024
    if not isinstance(value, origin) or (isinstance(value, bool) and origin is int):
        names = " or ".join("null" if o is type(None) else o.__name__ for o in options)
        raise ConfigError(f"{key}={value!r}: expected {names}")
    return value


def in_range(key: str, value: float, low: float, high: float = math.inf) -> str | None:
    """A fault where the value is not in [low, high]."""
    if low <= value <= high:
        return None
    limits = f">= {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
    return f"{key}={value}: expected a number {limits}"


def one_of(key: str, value: str, options: tuple[str, ...]) -> str | None:
    """A fault where the value is none of the options."""
    if value in options:
        return None
    return f"{key}={value!r}: expected one of {', '.join(options)}"


def raise_faults(faults: list[str | None]) -> None:
    """Report all faults of a config together."""
    found = [fault for fault in faults if fault is not None]
    if found:
        raise ConfigError("; ".join(found))
