"""Runs `driver` in a process of its own, and goes on where one died."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from subject import CASE_SECONDS

_TESTS = Path(__file__).resolve().parents[1]
_NUM_LINES = 40


def run_cases(names: Sequence[str], sandbox: Path) -> list[dict[str, Any]]:
    """Run cases, and say what each did.

    Args:
        names: As `driver` takes them.
        sandbox: An empty folder.

    Returns:
        A record a case, in order, as `driver` prints it; ``faults`` is empty where all was well.
    """
    records: list[dict[str, Any]] = []
    while len(records) < len(names):
        output, problem = _run(names[len(records) :], sandbox)
        lines = [json.loads(line) for line in output.splitlines()]
        records += [line for line in lines if "faults" in line]
        if problem is None:
            break
        if not lines or "faults" in lines[-1]:
            raise RuntimeError(f"the driver failed between cases: {problem}")
        records.append({**lines[-1], "kind": "?", "what": "", "faults": [problem]})
    assert [record["case"] for record in records] == list(names)
    return records


def _run(names: Sequence[str], sandbox: Path) -> tuple[str, str | None]:
    """What the driver printed, and how it died, if it did."""
    home, temporary = sandbox / "home", sandbox / "temporary"
    for folder in (home, temporary):
        folder.mkdir(exist_ok=True)
    paths = [_TESTS / name for name in ("fuzz", "features", "data")]
    done = subprocess.run(
        [sys.executable, str(_TESTS / "fuzz" / "driver.py"), str(sandbox)],
        input=json.dumps(list(names)),
        capture_output=True,
        text=True,
        timeout=600 + CASE_SECONDS * len(names),
        cwd=home,
        env={
            **os.environ,
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
        },
    )
    if done.returncode == 0:
        left = sorted(path.name for path in [*home.iterdir(), *temporary.iterdir()])
        return done.stdout, f"left behind: {left}" if left else None
    tail = "\n".join(done.stderr.splitlines()[-_NUM_LINES:])
    return done.stdout, f"died with {done.returncode}:\n{tail}"
