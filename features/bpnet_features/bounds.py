"""What a file from a stranger may claim before memory is taken for it, and how its parsers fail."""

from __future__ import annotations

import contextlib
import math
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bpnet_features.errors import FeatureError

# Features of one video as float32.
MAX_ARRAY_BYTES = 2**30
# What reading one video, or copying it, takes in memory, whatever its file claims or is packed
# with: twice `MAX_ARRAY_BYTES` where it is stored as float64, then once more, and room to work in.
MAX_READ_BYTES = 4 * MAX_ARRAY_BYTES
# A csv file; as lines in memory it takes up to twelve times this.
MAX_TEXT_BYTES = 2**26
# Small files beside features, such as durations; as values in memory they take up to 40 times this.
MAX_JSON_BYTES = 2**24


@contextlib.contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn whatever a parser raises on damaged bytes into an error of ours.

    Args:
        where: Names what is read, for the message.

    Raises:
        FeatureError: In place of the parser's error; one of ours passes unchanged.
    """
    try:
        yield
    except FeatureError:
        raise
    except Exception as err:  # damaged bytes make parsers raise nearly everything that there is
        text = f"{type(err).__name__}: {' '.join(str(err).split())[:200]}"
        if isinstance(err, OSError) and type(err) is not OSError:  # the system, not the bytes
            raise FeatureError(f"{where}: cannot be read ({text})") from err
        raise FeatureError(
            f"{where}: damaged data ({text}); download or extract it again",
            kind="damaged data",
        ) from err


def check_file(path: Path, most: int, where: str) -> None:
    """Refuse a file that is not to be read whole.

    Args:
        path: The file.
        most: The most that is read, in bytes.
        where: Names it, for the message.

    Raises:
        FeatureError: It is larger, or no regular file: opening a pipe can wait for ever, and a
            device has no end.
        OSError: It is not there.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise FeatureError(f"{where}: cannot be read: not a regular file; give another one")
    if status.st_size > most:
        raise FeatureError(
            f"{where}: more than {most} bytes of text, the most that is read", kind="too large"
        )


def check_path(path: Path, where: str) -> None:
    """Refuse a path that the system does not even look at, such as one that is too long."""
    try:
        path.exists()
    except OSError as err:
        raise FeatureError(f"{where}: cannot be read ({err.strerror}); check the path") from err


def check_claim(shape: tuple[int, ...], dtype: npt.DTypeLike, where: str) -> None:
    """Refuse an array by what its header says, before it is read.

    Args:
        shape: Claimed shape.
        dtype: Claimed type.
        where: Names the array, for the message.

    Raises:
        FeatureError: It is not of float16, float32 or float64, or is larger than
            `MAX_ARRAY_BYTES`.
    """
    kind = np.dtype(dtype)
    if kind.kind != "f" or kind.itemsize > 8:
        raise FeatureError(
            f"{where}: {kind} of shape {shape}: expected floats (T, C) of 16, 32 or 64 bits",
            kind="wrong type",
        )
    if min(shape, default=0) < 0 or 4 * math.prod(shape) > MAX_ARRAY_BYTES:
        raise FeatureError(
            f"{where}: claims {kind} of shape {shape}: more than {MAX_ARRAY_BYTES} bytes as "
            "float32, the most that one video may take",
            kind="too large",
        )


def check_axes(shape: tuple[int, ...], where: str, hint: str = "") -> None:
    """Refuse an array that is not (T, C); ``hint`` ends the message."""
    if len(shape) != 2:
        raise FeatureError(
            f"{where}: an array of shape {shape}: expected (T, C){hint}", kind="wrong type"
        )
