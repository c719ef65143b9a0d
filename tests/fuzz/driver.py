"""Runs cases of the fuzzer in a process of its own, whose death `batches` sees.

By hand: ``python tests/fuzz/driver.py SANDBOX mutant-17 "hostile-npy: shape ()" ...``, with
``tests/fuzz``, ``tests/features`` and ``tests/data`` in PYTHONPATH. SANDBOX is a folder that may be
filled. A mutant is named by its number, which is all that its damage depends on; the others by
their names in `hostile`. A line of JSON is printed before each case, and one with what was found
after it.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import json
import os
import random
import resource
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import hostile
import torch
from exercise import KINDS
from mutations import mutate
from sound import write_sound
from subject import Subject

from bpnet_features.bounds import MAX_READ_BYTES

# Beyond what a subject may take in memory that it touches, what it may ask for at all.
ASKED_BYTES = MAX_READ_BYTES + 2**30
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# What no reader has a reason for.
_FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "pty.spawn",
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "pickle.find_class",
    "urllib.Request",
)
# What it may do in the folder of its output only.
_CHANGING = (
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.rename",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "os.utime",
    "shutil.rmtree",
    "shutil.move",
    "tempfile.mkdtemp",
    "tempfile.mkstemp",
)


class Watch:
    """Hears what Python is asked to do, while a case runs.

    Args:
        allowed: The only folder that may be changed.
    """

    def __init__(self, allowed: Path) -> None:
        self.active = False
        self.heard: list[str] = []
        self._allowed = f"{allowed}{os.sep}"
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event in _FORBIDDEN:
            self.heard.append(f"{event}{args!r:.300}")
        elif event in _CHANGING and not self._is_allowed(args[0]):
            self.heard.append(f"{event}{args!r:.300}")
        elif event == "open" and isinstance(args[2], int) and args[2] & _WRITING:
            if not self._is_allowed(args[0]):
                self.heard.append(f"opened {args[0]!r} for writing")

    def _is_allowed(self, path: Any) -> bool:
        # A descriptor was opened before, by name.
        return isinstance(path, int) or os.fsdecode(path).startswith(self._allowed)


class Driver:
    """Makes the files of each case in a sandbox, lets everything read them, and looks around.

    Args:
        sandbox: A folder that may be filled.
    """

    def __init__(self, sandbox: Path) -> None:
        self._sound_folder = sandbox / "sound"
        self._case = sandbox / "case"
        self._out = sandbox / "out"
        self._guarded = [self._case, *(sandbox / name for name in ("home", "outside", "sound"))]
        for folder in (*self._guarded, self._out):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        hostile.write_outside(sandbox / "outside")
        self._sound = write_sound(self._sound_folder)
        self._watch = Watch(self._out)
        os.chdir(sandbox / "home")

    def run(self, name: str) -> dict[str, object]:
        """Run a case.

        Args:
            name: ``mutant-NUMBER`` or ``hostile-NAME``.

        Returns:
            What was found; ``faults`` is empty where all was well.
        """
        shutil.rmtree(self._case)
        self._case.mkdir()
        subject, what = self._make(name)
        before = self._look()
        seen: list[str] = []
        faults: list[str] = []
        _forget_peak()
        bytes_before, started = _memory("VmHWM"), time.monotonic()
        limit = _memory("VmSize") + ASKED_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        # It also ends what Python cannot: a loop in a library.
        faulthandler.dump_traceback_later(subject.seconds, exit=True)
        self._watch.heard.clear()
        self._watch.active = True
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                KINDS[subject.kind](subject, self._out, seen)
            except BaseException:  # whatever it is, it should not have come out
                faults.append(traceback.format_exc())
        self._watch.active = False
        faulthandler.cancel_dump_traceback_later()
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        seconds, taken = time.monotonic() - started, _memory("VmHWM") - bytes_before
        faults += self._watch.heard
        faults += [f"warned: {one.filename}:{one.lineno}: {one.message}" for one in warned]
        if taken > subject.most_bytes:
            faults.append(f"took {taken} bytes: more than {subject.most_bytes}")
        after = self._look()
        for path in sorted(before.keys() | after.keys()):
            if before.get(path) != after.get(path):
                faults.append(f"{path} was changed: {before.get(path)} -> {after.get(path)}")
        return {
            "case": name,
            "kind": subject.kind,
            "what": what,
            "first": seen[0][:300] if seen else "",
            "num_refused": len(seen),
            "seconds": round(seconds, 3),
            "bytes": taken,
            "faults": faults,
        }

    def _make(self, name: str) -> tuple[Subject, str]:
        """The subject of a case, and what is wrong with it."""
        kind, _, rest = name.partition("-")
        if kind == "hostile":
            return hostile.CASES[rest](self._case), rest
        number = int(rest)
        original = self._sound[number % len(self._sound)]
        below = original.path.relative_to(self._sound_folder)
        shutil.copytree(self._sound_folder / below.parts[0], self._case / below.parts[0])
        what = mutate(self._case, random.Random(number))
        return dataclasses.replace(original, path=self._case / below), what

    def _look(self) -> dict[str, tuple[int, int, int]]:
        """Type, size and time of change of everything that must stay as it is."""
        seen = {}
        for folder in self._guarded:
            for path in [folder, *folder.rglob("*")]:
                status = path.lstat()
                seen[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns)
        return seen


def _memory(name: str) -> int:
    """A line of the process's status, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(name)


def _forget_peak() -> None:
    """Let the highest use of memory begin anew; where the system cannot, it only grows."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def main(sandbox: Path, names: list[str]) -> None:
    """Run cases.

    Args:
        sandbox: A folder that may be filled.
        names: Their names.
    """
    torch.set_num_threads(1)
    faulthandler.enable()
    driver = Driver(sandbox)
    for name in names:
        _say({"case": name})
        _say(driver.run(name))


def _say(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2:] or json.load(sys.stdin))
