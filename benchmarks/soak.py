"""A mixed soak: everything at once for a while, killed and fed broken files; nothing may be lost.

python benchmarks/soak.py [--minutes 10] [--seed 0] [--folder DIR] [--json FILE]

A service answers questions, good ones and broken ones, from the beginning to the end. Beside it, in
random order: a training is killed (SIGKILL) at a random moment and resumed, until it ends with the
weights of one that nobody killed; an extraction the same, until it ends with the same features; a
checkpoint is evaluated, sometimes killed too, and gives the same numbers; sentences are localized
in this process and in others; damaged videos, stores, checkpoints and annotations are given to the
commands, which must end with status 2 and one line. Memory of the service and of the localizer of
this process must stay as it was after the first round. The exit status is 1 where anything failed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from machine import described, machine
from soak_jobs import JOBS, Bench
from soak_service import Service

MAX_GROWTH_MB = 24.0  # of several hundred: what an allocator may keep


def main() -> int:
    """Run the soak; gives 1 where something was lost, wrong, or grew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="after what is made first (10)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="an empty folder to work in (a temporary one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bpnet-soak-") as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            parser.error(f"--folder {folder}: expected an empty folder")
        found = soak(folder.resolve(), args.minutes, args.seed)
    print(described())
    for name, value in found.items():
        if name != "faults":
            print(f"{name:<28} {value}")
    for fault in found["faults"]:
        print(f"FAULT {fault}")
    if args.json is not None:
        text = json.dumps({"machine": machine(), **found}, indent=1)
        args.json.write_text(f"{text}\n", encoding="utf-8")
    return 1 if found["faults"] else 0


def soak(folder: Path, minutes: float, seed: int) -> dict[str, object]:
    """Work for some minutes.

    Args:
        folder: An empty folder.
        minutes: How long; the round that runs then is finished.
        seed: Of everything random.

    Returns:
        Figures by name, and ``faults``.
    """
    bench = Bench(folder, random.Random(seed))
    bench.prepare()
    print(f"prepared in {folder}", flush=True)
    rounds = 0
    memory: list[tuple[float, float]] = []
    begun = time.monotonic()
    with Service(bench, random.Random(seed + 1)) as service:
        while rounds < 2 or time.monotonic() - begun < 60 * minutes:
            for job in bench.rng.sample(JOBS, len(JOBS)):
                bench.do(job)
                if rounds >= 2 and time.monotonic() - begun > 60 * minutes:
                    break
            rounds += 1
            service.settle()
            memory.append((service.resident_mb(), bench.resident_mb()))
            print(f"round {rounds}: {dict(bench.done)}; MB {memory[-1]}", flush=True)
    faults = [*bench.faults, *service.faults]
    for place, name in enumerate(("service", "localizer")):
        # The first round is when libraries fill their pools.
        grown = memory[-1][place] - memory[0][place]
        if grown > MAX_GROWTH_MB:
            faults.append(f"memory of the {name} grew by {grown:.1f} MB")
    return {
        "minutes": round((time.monotonic() - begun) / 60, 2),
        "rounds": rounds,
        **{f"{name} done": count for name, count in sorted(bench.done.items())},
        **dict(sorted(bench.counts.items())),
        **{f"answers {status}": count for status, count in sorted(service.statuses.items())},
        "service MB, by round": [round(one, 1) for one, _ in memory],
        "localizer MB, by round": [round(other, 1) for _, other in memory],
        "faults": faults,
    }


if __name__ == "__main__":
    sys.exit(main())
