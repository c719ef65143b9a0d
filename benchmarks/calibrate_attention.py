"""Measures what `attend(..., costs=Costs.load(FILE))` chooses backends by, on this machine.

    python benchmarks/calibrate_attention.py costs.json [--threads 1] [--device cpu] [--seconds 20]

What is measured is what is modelled: a whole call over hardly any numbers, a call that reads many
keys for one row, one that computes for many, copies side by side. All take turns, ten calls each,
so that what else the machine does meets all alike; what a tenth of the rounds stays below counts.
The numbers in bpnet/attention/cost.py come from here.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path

import torch
from attention_timing import CALLS, Clock

from bpnet.attention import Costs, KVLayout, PrefixTree, attend
from bpnet.attention.partials import bmm_partial, tiled_partial

HEADS, WIDTH = 8, 64


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16", "bfloat16"))
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"))
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    dtype = getattr(torch, args.dtype)
    costs = measure(Clock(args.device, args.clock), dtype, args.seconds)
    costs.save(args.out)
    print(args.out.read_text(encoding="utf-8"), end="")


def measure(clock: Clock, dtype: torch.dtype, seconds: float) -> Costs:
    """Costs of calls on a device, from so many seconds of calls in turn."""
    where = {"dtype": dtype, "device": clock.device}
    # Where backends are close the numbers are few, and lie in a cache: on a processor 4 MB.
    num_keys, num_rows = (1024, 32) if clock.device == "cpu" else (32768, 512)
    k, v = torch.randn(2, 1, HEADS, num_keys, WIDTH, **where)
    few, many = (torch.randn(1, HEADS, rows, WIDTH, **where) for rows in (1, num_rows))
    parts = list(torch.stack([k, v]).split(num_keys // 8, dim=3))
    tiled = tiled_partial(few)
    calls: dict[str, Callable[[], object]] = {
        "launch": tiny_call(clock.device, dtype),
        "read": lambda: (tiled or bmm_partial)(few, k, v, 0.125, None),
        "copy": lambda: torch.cat(parts, dim=3),
        "bmm": lambda: bmm_partial(many, k, v, 0.125, None),
    }
    if tiled is not None:
        calls["tiled"] = lambda: tiled(many, k, v, 0.125, None)
    times: dict[str, list[float]] = {name: [] for name in calls}
    rng = random.Random(0)
    names = list(calls)
    end = time.perf_counter() + seconds
    number = 0
    while number < 10 or time.perf_counter() < end:
        rng.shuffle(names)
        for name in names:
            times[name].append(clock.seconds(calls[name], CALLS))
        number += 1
    best = {name: sorted(several)[len(several) // 10] for name, several in times.items()}
    flops = 4 * HEADS * WIDTH * num_keys * num_rows
    size = k.nbytes + v.nbytes
    # One row computes too: its share of what many take.
    reading = best["read"] - best["tiled" if tiled is not None else "bmm"] / num_rows
    return Costs(
        # Two calls over keys and the merge of what they give.
        launch_seconds=best["launch"] / 3,
        bytes_per_second=size / max(reading, best["read"] / 4),
        copied_bytes_per_second=size / best["copy"],
        flash_flops_per_second=flops / best["tiled"] if tiled is not None else 0.0,
        bmm_flops_per_second=flops / best["bmm"],
    )


def tiny_call(device: str, dtype: torch.dtype) -> Callable[[], object]:
    """Backend "torch" where there is hardly anything to do: a segment, new tokens, and a merge."""
    tree = PrefixTree(KVLayout(1, 1, 8, dtype, torch.device(device)))
    node = tree.insert(None, [b"a"], *torch.randn(2, 1, 1, 4, 8, dtype=dtype, device=device))
    plan = tree.plan([node, node])
    q, k, v = torch.randn(3, 2, 1, 8, dtype=dtype, device=device)
    return lambda: attend(q, plan, 0, k, v, "torch")


if __name__ == "__main__":
    main()
