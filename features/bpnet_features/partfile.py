"""PartFile: a big file that is filled piece by piece, and goes on where it stopped.

Beside ``OUT`` stand ``.OUT.convert.part``, the file itself, locked while somebody fills it, and
``.OUT.convert.journal``, which says what the file is to become and which of its pieces are on the
disk. A line of the journal is written only after the bytes it speaks of: a process killed at any
time, or a machine that loses its power, costs no more than the last seconds of work.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from bpnet_features.atomic import put_in_place
from bpnet_features.errors import FeatureError

log = logging.getLogger(__name__)

LOCK_SECONDS = 3.0  # how long the workers of a killed process may take to end
SYNC_BYTES = 64 * 2**20  # the disk begins to write early, and little is left to wait for at the end
SYNC_SECONDS = 5.0

# Not everywhere; fsync does the same and a little more.
_sync = getattr(os, "fdatasync", os.fsync)


class PartFile:
    """A file under its temporary name, locked until it is closed.

    Args:
        out: The final name; its folder must exist.

    Attributes:
        path: The temporary name.
        descriptor: The open file.

    Raises:
        FeatureError: Somebody else fills it, or the folder cannot be written to.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out.with_name(f".{out.name}.convert.part")
        self._journal_path = out.with_name(f".{out.name}.convert.journal")
        self.descriptor = _open_locked(self.path, out)
        self._pending: list[tuple[str, str]] = []
        self._pending_bytes = 0
        self._synced = time.monotonic()
        # Syncing takes as long as the disk needs; meanwhile the next pieces can be read.
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._syncing: Future[None] | None = None

    def begin(self, plan: str, create: Callable[[Path], object]) -> dict[str, str]:
        """Go on with what is there, or create the file where that is not of this plan.

        Args:
            plan: Names what the file is to become; equal plans must give equal files.
            create: Writes the file with no piece filled, to the path it is given.

        Returns:
            The pieces that are on the disk, as `record` was told of them: name -> state.
        """
        lines = self._journal_lines()
        if lines and {"finishing": True} in lines:
            log.warning("%s: broken off at the very end; beginning anew", self.out)
        elif lines and lines[0] != {"plan": plan}:
            log.warning(
                "%s: begun before with another source, other videos or other options; beginning "
                "anew",
                self.out,
            )
        elif lines:
            return {name: state for line in lines[1:] for name, state in line.get("done", [])}
        with writing(self.out):
            self._journal_path.unlink(missing_ok=True)
            os.ftruncate(self.descriptor, 0)  # where creating fails, `close` removes an empty file
            create(self.path)
            os.fsync(self.descriptor)
            self._write_journal({"plan": plan})
        return {}

    def record(self, name: str, state: str, num_bytes: int) -> None:
        """Note that a piece has been written; it is made sure of later, together with others.

        Args:
            name: Name of the piece.
            state: What it was made from; `begin` gives it back.
            num_bytes: Its size.
        """
        self._pending.append((name, state))
        self._pending_bytes += num_bytes
        late = time.monotonic() - self._synced > SYNC_SECONDS
        idle = self._syncing is None or self._syncing.done()
        if idle and (late or self._pending_bytes >= SYNC_BYTES):
            self._start_sync()

    def finish(self, change: Callable[[Path], None] | None = None) -> None:
        """Give the file its final name; all pieces must be there.

        Args:
            change: A last change to the file, which cannot be taken up again if it is broken off.
        """
        self._sync_all()
        with writing(self.out):
            if change is not None:
                self._write_journal({"finishing": True})
                change(self.path)
            put_in_place(self.path, self.out)
            self._journal_path.unlink()

    def close(self) -> None:
        """Make sure of what has been recorded, and let go of the file."""
        try:
            self._sync_all()
        finally:
            self._syncer.shutdown()
            if os.fstat(self.descriptor).st_size == 0:
                self.path.unlink(missing_ok=True)
            os.close(self.descriptor)

    def _sync_all(self) -> None:
        if self._syncing is not None:
            self._syncing.result()
        if self._pending:
            self._start_sync().result()

    def _start_sync(self) -> Future[None]:
        if self._syncing is not None:
            self._syncing.result()  # raises what went wrong
        pieces, self._pending, self._pending_bytes = self._pending, [], 0
        self._synced = time.monotonic()
        self._syncing = self._syncer.submit(self._sync_pieces, pieces)
        return self._syncing

    def _sync_pieces(self, pieces: list[tuple[str, str]]) -> None:
        with writing(self.out):
            _sync(self.descriptor)
            self._write_journal({"done": pieces})

    def _write_journal(self, line: dict[str, object]) -> None:
        with self._journal_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _journal_lines(self) -> list[dict[str, Any]]:
        """The lines that are whole; none where the file that they speak of is gone."""
        lines: list[dict[str, Any]] = []
        if not self._journal_path.exists() or os.fstat(self.descriptor).st_size == 0:
            return lines
        with self._journal_path.open(encoding="utf-8", errors="replace") as file:
            for text in file:
                try:
                    line = json.loads(text)
                except json.JSONDecodeError:
                    break  # the last line, when the power went
                if not isinstance(line, dict):
                    break
                lines.append(line)
        return lines

    def __enter__(self) -> PartFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@contextlib.contextmanager
def writing(out: Path) -> Iterator[None]:
    """What the disk refuses becomes a `FeatureError` that names the file to write."""
    try:
        yield
    except OSError as err:
        raise FeatureError(
            f"{str(out)!r} cannot be written ({err}); make room or choose another folder. What is "
            "done is kept: the same command goes on"
        ) from err


def _open_locked(path: Path, out: Path) -> int:
    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        with writing(out):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if lock(descriptor):
            # Whoever had the lock may have finished and renamed the file in the meantime.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        os.close(descriptor)
        if time.monotonic() > give_up:
            raise FeatureError(
                f"{str(out)!r}: another process is converting to it; wait for that one, or give "
                "another name"
            )
        time.sleep(0.05)


def lock(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed; False: somebody else has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as err:  # some network file systems have no locks
        log.warning("this file system has no locks (%s): do not write one file twice at once", err)
    return True
