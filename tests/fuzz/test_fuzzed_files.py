"""2,000 damaged files, and files made to hurt: nothing but our errors comes out of any of them.

A case counts as failed where something other than a `BPNetError` comes out, where it takes more
memory or time than its subject may, dies, warns, runs code, opens the network, or touches a file
outside its output. A failed mutant is run again by its number, see `driver`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from batches import run_cases
from hostile import BEYOND_US, CASES, LARGEST

NUM_MUTANTS = 2000
NUM_QUICK = 120
HOSTILE = [f"hostile-{name}" for name in CASES.keys() - LARGEST.keys() - BEYOND_US.keys()]


def check(names: Sequence[str], sandbox: Path) -> None:
    records = run_cases(names, sandbox)
    failed = [record for record in records if record["faults"]]
    lines = [f"{one['case']} ({one['kind']}: {one['what']}): {one['faults'][0]}" for one in failed]
    assert not failed, f"{len(failed)} of {len(names)} cases:\n" + "\n".join(lines[:5])
    kinds = Counter(record["kind"] for record in records)
    most = max(record["bytes"] for record in records)  # those that died have faults
    refused = sum(record["num_refused"] > 0 for record in records)
    print(f"{len(names)} cases, {refused} refused, at most {most / 1e6:.0f} MB: {dict(kinds)}")


def test_some_mutants(tmp_path: Path) -> None:
    check([f"mutant-{number}" for number in range(NUM_QUICK)], tmp_path)


@pytest.mark.slow
def test_many_mutants(tmp_path: Path) -> None:
    check([f"mutant-{number}" for number in range(NUM_QUICK, NUM_MUTANTS)], tmp_path)


@pytest.mark.slow
def test_files_made_to_hurt(tmp_path: Path) -> None:
    assert len(HOSTILE) > 2000
    check(sorted(HOSTILE), tmp_path)


@pytest.mark.slow
@pytest.mark.xfail(strict=True, reason="libhdf5 walks a damaged heap for ever, or believes it")
@pytest.mark.parametrize("name", BEYOND_US)
def test_known_limits(name: str, tmp_path: Path) -> None:
    check([f"hostile-{name}"], tmp_path)
