"""Measures what `attend(..., costs=Costs.load(FILE))` chooses backends by, on this machine.

python benchmarks/calibrate_attention.py costs.json [--threads 1] [--device cpu]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from bpnet.attention import Costs
from bpnet.attention.partials import Partial, bmm_partial, can_flash, flash_partial

HEADS, WIDTH, TOKENS, ROWS = 8, 64, 1024, 32


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    costs = measure(args.device)
    costs.save(args.out)
    print(args.out.read_text(encoding="utf-8"), end="")


def best(call: Callable[[], object], device: str, repeats: int = 15) -> float:
    """Least seconds of a call."""
    seconds = []
    for _ in range(repeats + 2):
        if device != "cpu":
            torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds[2:])


def measure(device: str) -> Costs:
    q = torch.randn(1, HEADS, ROWS, WIDTH, device=device)
    k = torch.randn(1, HEADS, TOKENS, WIDTH, device=device)
    numbers = torch.ones(32 * 2**20, device=device)
    parts = list(numbers[: 2**20].split(2**16))  # a few MB: memory that is used again and again
    flops = 4 * HEADS * WIDTH * TOKENS * ROWS

    def rate(partial: Partial) -> float:
        return flops / best(lambda: partial(q, k, k, 0.125, None), device)

    partial = flash_partial if can_flash(q) else bmm_partial
    tiny = torch.randn(1, 1, 1, 8, device=device)
    return Costs(
        launch_seconds=best(lambda: partial(tiny, tiny, tiny, 1.0, None), device, 200),
        bytes_per_second=numbers.nbytes / best(lambda: numbers.sum(), device),
        copied_bytes_per_second=4 * 2**20 / best(lambda: torch.cat(parts), device),
        flash_flops_per_second=rate(flash_partial) if can_flash(q) else 0.0,
        bmm_flops_per_second=rate(bmm_partial),
    )


if __name__ == "__main__":
    main()
