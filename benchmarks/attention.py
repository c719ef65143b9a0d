"""Attention over shared beginnings: our backends beside every fair rival, in one interleaved run.

    python benchmarks/attention.py [--quick] [--json FILE] [--threads 1] [--flex] [--plot FILE]

Prints a table a case: milliseconds (least and median over rounds; in each round everyone runs
once), how many times as long as `auto` each takes (least and most over rounds), and the share of
what the machine could do that `auto` reaches. Outputs are compared before anything is timed.
The paper's grid is its Table 3 (ChunkAttention, arXiv 2402.15220): 32 heads of width 128, 32
sequences.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from attention_peers import Case, make_peers

from bpnet.attention.cost import CPU_COSTS, estimate

TABLE_3 = [
    Case(32, 128, length * part // 4, 32, 1, length - length * part // 4)
    for length in (1024, 2048, 4096)
    for part in (0, 2, 3, 4)
]
DESIGN = [
    *(Case(8, 64, 1024, batch, 1, 16) for batch in (16, 32, 48, 64, 96)),
    *(Case(8, 64, 4096, batch, 1, 16) for batch in (16, 32, 96)),
    Case(8, 64, 2048, 32, 1, 16),
    Case(8, 64, 1024, 32, 1, 64),
    Case(8, 64, 4096, 32, 1, 256),
    Case(32, 128, 1024, 32, 1, 64),
    Case(32, 128, 2048, 32, 1, 64),
    *(Case(8, 64, shared, 32, rows, rows) for shared in (1024, 4096) for rows in (16, 32)),
    *(Case(8, 64, 256, batch, 1, 16) for batch in (2, 4, 8)),
    *(Case(8, 64, 64, batch, 1, 16) for batch in (4, 32)),
    # PrefixGrounder, 4 heads, width 128 and 256: queries over a video, proposals over both.
    *(Case(4, width, clips, 32, 17, 17) for width in (32, 64) for clips in (128, 1024, 4096)),
    *(Case(4, width, 1024, 512, 2, 2) for width in (32, 64)),
]
QUICK = [
    Case(8, 64, 1024, 32, 1, 16),
    Case(8, 64, 4096, 16, 1, 16),
    Case(8, 64, 1024, 32, 1, 64),
    Case(8, 64, 1024, 32, 16, 16),
    Case(8, 64, 256, 4, 1, 16),
    Case(8, 64, 64, 4, 1, 16),
    Case(4, 32, 1024, 32, 17, 17),
    Case(32, 128, 1024, 32, 1, 0),
    Case(32, 128, 512, 16, 1, 0),
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="nine cases, under a minute")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--plot", type=Path, help="write ratios over shared tokens as a picture")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, help="least number of rounds; 5, or 12 in full")
    parser.add_argument(
        "--seconds", type=float, help="rounds of a case end after; 2, or 12 in full"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16", "bfloat16"))
    parser.add_argument(
        "--max-gib", type=float, default=2.0, help="what needs more memory is left out"
    )
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: time that this process had a processor, for a busy machine; one thread only",
    )
    parser.add_argument("--flex", action="store_true", help="compile flex_attention too (slow)")
    parser.add_argument("--only", help="only cases that begin so, as printed: 8,64,1024")
    args = parser.parse_args()
    if args.clock == "cpu" and (args.threads > 1 or args.device != "cpu"):
        parser.error("--clock cpu counts all threads together: use it with one, on the CPU")
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    dtype = getattr(torch, args.dtype)
    cases = QUICK if args.quick else [*TABLE_3, *DESIGN]
    cases = [case for case in cases if str(case).startswith(args.only or "")]
    rounds = args.rounds or (5 if args.quick else 12)
    seconds = args.seconds or (2.0 if args.quick else 12.0)
    machine = measure_machine(args.device, dtype, args.clock)
    print(json.dumps(machine))
    results = []
    for case in cases:
        gib = case.unique_bytes(dtype.itemsize) / 2**30
        if gib > args.max_gib:
            print(f"\n{case}: left out, {gib:.1f} GiB of keys and values")
            continue
        result = run_case(case, dtype, args, rounds, seconds, machine)
        results.append(result)
        show(result)
    summarise(results)
    if args.json:
        args.json.write_text(json.dumps({"machine": machine, "cases": results}, indent=1) + "\n")
    if args.plot:
        plot(results, args.plot)


def clock(call: Callable[[], object], device: str, kind: str = "wall") -> float:
    """Seconds of one call."""
    now = time.process_time if kind == "cpu" else time.perf_counter
    if device != "cpu":
        torch.cuda.synchronize()
    start = now()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return now() - start


def measure_machine(device: str, dtype: torch.dtype, kind: str) -> dict[str, Any]:
    """What the figures depend on: versions, threads, the rate of a product, that of reading."""
    square = torch.randn(1024, 1024, dtype=dtype, device=device)
    product = min(clock(lambda: square @ square, device, kind) for _ in range(5))
    numbers = torch.ones(64 * 2**20, dtype=torch.float32, device=device)
    reading = min(clock(lambda: numbers.sum(), device, kind) for _ in range(5))
    name = platform.processor() if device == "cpu" else torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = {line.split(":")[1].strip() for line in lines if line.startswith("model name")}
        name = ", ".join(models) if device == "cpu" and models else name
    except OSError:
        pass
    return {
        "device": name,
        "torch": torch.__version__,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "clock": kind,
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()),
        "gemm_gflops": 2 * 1024**3 / product / 1e9,
        "read_gbytes": numbers.nbytes / reading / 1e9,
    }


def run_case(
    case: Case,
    dtype: torch.dtype,
    args: argparse.Namespace,
    rounds: int,
    seconds: float,
    machine: dict[str, Any],
) -> dict[str, Any]:
    """Compare, then time."""
    peers, left_out, tree = make_peers(case, dtype, args.device, args.max_gib * 2**30, args.flex)
    outputs = {name: call() for name, call in peers.items()}
    expected = outputs["torch"].float()
    limit = (2e-5 if dtype == torch.float32 else 2e-2) * max(1.0, float(expected.abs().max()))
    for name, output in outputs.items():
        assert output.shape == expected.shape, (name, output.shape)
        difference = float((output.float() - expected).abs().max())
        assert difference <= limit, f"{case}: {name} differs by {difference}"
    del outputs
    times: dict[str, list[float]] = {name: [] for name in peers}
    end = time.perf_counter() + seconds
    names = list(peers)
    rng = random.Random(0)
    for number in range(10_000):
        if number >= rounds and time.perf_counter() > end:
            break
        if number >= 3 and time.perf_counter() > end + 2 * seconds:
            break
        # Everyone follows everyone at times: who reads the same numbers leaves them cached.
        rng.shuffle(names)
        for name in names:
            times[name].append(clock(peers[name], args.device, args.clock))
    plan = tree.plan(list(tree._sequences), case.rows)
    work = estimate(plan, case.heads, case.private > 0)["torch"]
    ideal = max(
        work.flops / machine["gemm_gflops"] / 1e9, work.read_bytes / machine["read_gbytes"] / 1e9
    )
    entries = {}
    for name, several in times.items():
        ratios = [one / auto for one, auto in zip(several, times["auto"], strict=True)]
        entries[name] = {
            "min_ms": 1e3 * min(several),
            "median_ms": 1e3 * statistics.median(several),
            "times_auto": statistics.median(ratios),
            "times_auto_min": min(ratios),
            "times_auto_max": max(ratios),
        }
    return {
        "case": str(case),
        "rounds": len(times["auto"]),
        "flops": work.flops,
        "bytes": work.read_bytes,
        "ideal_ms": 1e3 * ideal,
        "roofline_share": 1e3 * ideal / entries["auto"]["min_ms"],
        "chosen": dict(tree.stats().choices),
        "expected_ms": {
            name: 1e3 * one.seconds(CPU_COSTS)
            for name, one in estimate(plan, case.heads, case.private > 0).items()
        },
        "left_out": left_out,
        "peers": entries,
    }


def show(result: dict[str, Any]) -> None:
    chosen = "/".join(result["chosen"])
    print(
        f"\nheads,width,shared,batch,rows,private = {result['case']}   auto = {chosen}, "
        f"{result['roofline_share']:.0%} of the roofline ({result['flops'] / 1e9:.3g} GFLOP, "
        f"{result['bytes'] / 1e6:.3g} MB), {result['rounds']} rounds"
    )
    for name, entry in result["peers"].items():
        print(
            f"  {name:<24}{entry['min_ms']:10.3f} ms{entry['median_ms']:10.3f}"
            f"{entry['times_auto']:9.2f} x auto "
            f"({entry['times_auto_min']:.2f} to {entry['times_auto_max']:.2f})"
        )
    for line in result["left_out"]:
        print(f"  left out: {line}")


def summarise(results: list[dict[str, Any]]) -> None:
    """Is auto near the best of our backends, and of the peers? By least times."""
    print("\nauto against the best backend, and against single peers, by least times:")
    worst = 0.0
    for result in results:
        peers = {name: entry["min_ms"] for name, entry in result["peers"].items()}
        auto = peers["auto"]
        best = min(
            peers[name] for name in ("torch", "packed", "expanded", "triton") if name in peers
        )
        worst = max(worst, auto / best)
        others = {
            "contiguous": "SDPA contiguous",
            "expanded": "SDPA expanded + merge",
            "packed": "SDPA packed mask",
            "folded": "SDPA folded",
            "bmm": "bmm softmax bmm",
        }
        cells = "".join(
            f"{short:>13} {peers[name] / auto:5.2f}x"
            for short, name in others.items()
            if name in peers
        )
        print(f"  {result['case']:<24} best backend / auto {best / auto:5.2f} {cells}")
    print(f"  auto is at most {worst:.2f} times the best backend (target 1.15)")


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """How many times as long as auto the peers take, over the number of shared tokens."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    for name in ("SDPA contiguous", "SDPA expanded + merge", "SDPA packed mask", "packed"):
        points = [
            (int(result["case"].split(",")[2]), result["peers"][name]["times_auto"])
            for result in results
            if name in result["peers"]
        ]
        if points:
            axes.scatter(*zip(*points, strict=True), label=name)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set(xlabel="shared tokens", ylabel="times as long as auto", xscale="symlog", yscale="log")
    axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    main()
