"""Standard output of a command; it ends with the reader, when `head` or a pager has seen enough."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

READER_GONE = 141  # 128 + SIGPIPE: how a shell says that a command ended so


@contextlib.contextmanager
def standard_output() -> Iterator[None]:
    """Let what is written in here end the process without a word once nobody reads it.

    That is what SIGPIPE does for other programs. Its own handler is no choice here: it would end a
    service whose client hangs up, too.

    Yields:
        While ``sys.stdout`` is so.

    Raises:
        SystemExit: With 141 where the reader is gone. No framework that runs a command, and prints
            the traceback of what it raises, takes this for its fault.
    """
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):  # closed, or somebody's own
        yield
        return
    stream.reconfigure(errors="replace")  # a terminal that cannot show a letter, shows "?"
    output = _Output(stream)
    sys.stdout = cast(TextIO, output)
    try:
        yield
    finally:
        sys.stdout = stream
        output.flush()  # here, not when the interpreter ends and can only complain


class _Output:
    """A stream that ends the process where its reader is gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._until_the_reader_leaves():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._until_the_reader_leaves():
            self._stream.flush()

    @contextlib.contextmanager
    def _until_the_reader_leaves(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # What is buffered still goes somewhere when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            raise SystemExit(READER_GONE) from None
