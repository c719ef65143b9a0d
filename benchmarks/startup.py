"""How long the toolkit takes to start: each line in processes of its own, in random order.

python benchmarks/startup.py [--repeats 11] [--json FILE]

`bpnet --help` must answer within half a second and `import bpnet` within one and a half: the exit
status is 1 where a median is above that. `import torch` stands beside them: whoever localizes pays
for it, whoever asks for help must not. Files are in the page cache: the first round is not counted.
Seconds of the clock mean something on an idle machine only; those of the CPU beside them say how
much of it was work.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import described, machine, spread

PYTHON = [sys.executable, "-c"]
BPNET = [sys.executable, "-m", "bpnet.cli.main"]
LINES = {
    "python -c pass": [*PYTHON, "pass"],
    "bpnet --help": [*BPNET, "--help"],
    "bpnet localize --help": [*BPNET, "localize", "--help"],
    "bpnet train --cfg job": [*BPNET, "train", "data=sample", "data.root=sample", "--cfg", "job"],
    "import bpnet": [*PYTHON, "import bpnet"],
    "import bpnet_features": [*PYTHON, "import bpnet_features"],
    "import torch": [*PYTHON, "import torch"],
    "from bpnet import Localizer": [*PYTHON, "from bpnet import Localizer"],
}
MOST_SECONDS = {"bpnet --help": 0.5, "import bpnet": 1.5}


def main() -> int:
    """Measure; gives 1 where a line takes longer than it may."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=11, help="processes a line (11)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures")
    args = parser.parse_args()
    print(described())
    seconds, cpu = measured(args.repeats)
    slow = []
    for name, each in seconds.items():
        most = MOST_SECONDS.get(name)
        allowed = "" if most is None else f", at most {most}"
        work = statistics.median(cpu[name])
        print(f"{name:<28} {spread(each, 3)} s{allowed}; of the CPU {work:.3f} s")
        if most is not None and statistics.median(each) > most:
            slow.append(name)
    if args.json is not None:
        figures = {"seconds": seconds, "cpu_seconds": cpu, "at_most_seconds": MOST_SECONDS}
        found = {"machine": machine(), **figures}
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if slow:
        print(f"slower than allowed: {', '.join(slow)}")
    return 1 if slow else 0


def measured(repeats: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of the clock and of the CPU of each line, a number a process."""
    rng = random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in LINES}
    cpu: dict[str, list[float]] = {name: [] for name in LINES}
    for number in range(repeats + 1):
        for name in rng.sample(list(LINES), len(LINES)):
            before, begun = _cpu_seconds(), time.perf_counter()
            subprocess.run(LINES[name], check=True, stdout=subprocess.DEVNULL)
            if number:
                seconds[name].append(time.perf_counter() - begun)
                cpu[name].append(_cpu_seconds() - before)
    return seconds, cpu


def _cpu_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
