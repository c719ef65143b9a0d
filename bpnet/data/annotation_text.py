"""Annotation files as text and as JSON: bounded in size, UTF-8, and with faults that say where."""

from __future__ import annotations

import errno
import json
import reprlib
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bpnet.errors import AnnotationError

# The largest annotation file known has 4 MB. A file is read whole where it is one JSON value, which
# takes up to forty times its size in memory.
MAX_FILE_BYTES = 2**28

_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxstring = _SHORT.maxother = 80


def shown(value: object) -> str:
    """The ``repr`` of a value from a file for a message: short, however long or deep the value."""
    return _SHORT.repr(value)


class Faults:
    """What is wrong with a file: the first five faults, and the number of all.

    No more are kept, because a damaged file can have more of them than it has bytes to say.

    Args:
        faults: A sentence each.
    """

    def __init__(self, faults: Iterable[str] = ()) -> None:
        self.first: list[str] = []
        self.count = 0
        for fault in faults:
            self.append(fault)

    def append(self, fault: str) -> None:
        """Add one."""
        self.count += 1
        if self.count <= 5:
            self.first.append(fault)


def raise_faults(file: Path, faults: Faults) -> None:
    """Report the faults of a file together.

    Args:
        file: The file.
        faults: Its faults; none: nothing happens.

    Raises:
        AnnotationError: There are faults.
    """
    if faults.count:
        more = f"; and {faults.count - 5} more" if faults.count > 5 else ""
        raise AnnotationError(
            f"annotation file {str(file)!r}: {faults.count} fault{'s' * (faults.count > 1)}: "
            f"{'; '.join(faults.first)}{more}"
        )


def lines(file: Path) -> Iterator[tuple[str, str]]:
    """The lines of a file that are not blank, without white space at their ends.

    Args:
        file: The file.

    Yields:
        ``"line 7"``, and its text.

    Raises:
        AnnotationError: The file is too large, unreadable or not UTF-8.
    """
    _check_size(file)
    try:
        with file.open(encoding="utf-8-sig") as text:
            for number, line in enumerate(text, start=1):
                if line.strip():
                    yield f"line {number}", line.strip()
    except (OSError, UnicodeDecodeError) as err:
        raise _unreadable(file, err) from err


def read_text(file: Path) -> str:
    """The whole text of a file, as it is written.

    Args:
        file: The file.

    Returns:
        Its text, line ends unchanged.

    Raises:
        AnnotationError: The file is too large, unreadable or not UTF-8.
    """
    _check_size(file)
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            return text.read()
    except (OSError, UnicodeDecodeError) as err:
        raise _unreadable(file, err) from err


def parse_json(text: str) -> Any:
    """A JSON value; NaN and Infinity are read, as several published files hold them.

    Args:
        text: The JSON.

    Returns:
        The value.

    Raises:
        ValueError: It is no JSON, is nested too deeply, holds an integer beyond all reason, or
            gives a name twice in one object, of which a plain reader would lose the first.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except RecursionError as err:
        raise ValueError("nested too deeply") from err


def load_object(file: Path, entries: str) -> dict[str, Any]:
    """The JSON object that a file is.

    Args:
        file: The file.
        entries: What its entries are, for the message, such as ``"one entry a video"``.

    Returns:
        The object.

    Raises:
        AnnotationError: The file cannot be read, or is no JSON object.
    """
    value = load_json(file)
    if not isinstance(value, dict):
        raise AnnotationError(
            f"annotation file {str(file)!r}: a JSON {type(value).__name__}: expected an object "
            f"with {entries}"
        )
    return value


def load_json(file: Path) -> Any:
    """The JSON value that a file is.

    Args:
        file: The file.

    Returns:
        The value.

    Raises:
        AnnotationError: The file cannot be read, or is no JSON.
    """
    try:
        return parse_json(read_text(file))
    except AnnotationError:
        raise
    except ValueError as err:
        raise AnnotationError(f"annotation file {str(file)!r}: not JSON: {err}") from err


def number(entry: dict[str, Any], name: str) -> float:
    """An entry that must be a number; NaN and infinities are numbers.

    Args:
        entry: A JSON object.
        name: The entry's name.

    Returns:
        The number.

    Raises:
        ValueError: It is missing, of another type, or beyond all floats.
    """
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}={shown(value)}: expected a number")
    try:
        return float(value)
    except OverflowError as err:
        raise ValueError(f"{name}: a number beyond all floats") from err


def whole_number(entry: dict[str, Any], name: str, low: int) -> int:
    """An entry that must be an integer of at least ``low``.

    Args:
        entry: A JSON object.
        name: The entry's name.
        low: The smallest value allowed.

    Returns:
        The integer.

    Raises:
        ValueError: It is missing, of another type, or smaller.
    """
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name}={shown(value)}: expected an integer >= {low}")
    return value


def list_of(entry: dict[str, Any], name: str) -> list[Any]:
    """An entry that must be a list.

    Args:
        entry: A JSON object.
        name: The entry's name.

    Returns:
        The list.

    Raises:
        ValueError: It is missing, or of another type.
    """
    value = entry.get(name)
    if not isinstance(value, list):
        raise ValueError(f"{name}={shown(value)}: expected a list")
    return value


def interval(value: Any, name: str) -> tuple[float, float]:
    """A list of two numbers.

    Args:
        value: The list.
        name: The name of the entry that it comes from, for the message.

    Returns:
        The two numbers, in their order, whichever is larger.

    Raises:
        ValueError: It is something else.
    """
    if not (isinstance(value, list) and len(value) == 2):
        raise ValueError(f"{name}={shown(value)}: expected [start, end]")
    start, end = (number({name: time}, name) for time in value)
    return start, end


def file_size(file: Path) -> int:
    """Size of a regular file.

    Args:
        file: The file.

    Returns:
        Its size in bytes.

    Raises:
        OSError: It cannot be looked at; or it is a pipe, which can let a reader wait for ever, or a
            device, which has no end.
    """
    try:
        status = file.stat()
    except ValueError as err:  # a NUL in its name
        raise OSError(errno.EINVAL, str(err), str(file)) from err
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(file))
    return status.st_size


def _check_size(file: Path) -> None:
    try:
        size = file_size(file)
    except OSError as err:
        raise _unreadable(file, err) from err
    if size > MAX_FILE_BYTES:
        raise AnnotationError(
            f"annotation file {str(file)!r}: {size} bytes: expected at most {MAX_FILE_BYTES}; is "
            "it an annotation file?"
        )


def _unreadable(file: Path, err: OSError | UnicodeDecodeError) -> AnnotationError:
    if isinstance(err, UnicodeDecodeError):
        return AnnotationError(f"annotation file {str(file)!r}: {err}: expected UTF-8")
    return AnnotationError(f"annotation file {str(file)!r}: cannot be read: {err}")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"{shown(twice)} is given more than once in one object")
    return entry
