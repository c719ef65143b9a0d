"""Attention over shared beginnings: our backends beside every fair rival, in one interleaved run.

    python benchmarks/attention.py [--grid quick] [--json FILE] [--threads 1] [--plot FILE]
    python benchmarks/attention.py --device cuda --dtype float16 --grid table3 crossover

Prints a table a case: milliseconds (least and median over rounds; in each round everyone runs
once), how many times as long as `auto` each takes (least and most over rounds), and the share of
what the machine could do that `auto` reaches. Outputs are compared before anything is timed. At
the end it says which targets were missed. `attention_report.py` prints and draws the same from the
file, `attention_page.py` puts it into docs/attention.md. The paper's grid is its Table 3
(ChunkAttention, arXiv 2402.15220): 32 heads of width 128, 32 sequences.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from attention_peers import make_peers
from attention_report import plot, show, summarise
from attention_rivals import Case
from attention_timing import Clock, measure_machine, time_in_turn

from bpnet.attention import Costs
from bpnet.attention.cost import default_costs, estimate

GRIDS = {
    "table3": [
        Case(32, 128, length * part // 4, 32, 1, length - length * part // 4)
        for length in (1024, 2048, 4096)
        for part in (0, 2, 3, 4)
    ],
    "design": [
        *(Case(8, 64, 1024, batch, 1, 16) for batch in (16, 32, 48, 64, 96)),
        *(Case(8, 64, 4096, batch, 1, 16) for batch in (16, 32, 96)),
        Case(8, 64, 2048, 32, 1, 16),
        Case(8, 64, 1024, 32, 1, 64),
        Case(8, 64, 4096, 32, 1, 256),
        Case(32, 128, 1024, 32, 1, 64),
        Case(32, 128, 2048, 32, 1, 64),
        Case(32, 128, 4096, 32, 1, 16),
        *(Case(8, 64, shared, 32, rows, rows) for shared in (1024, 4096) for rows in (16, 32)),
        # PrefixGrounder, 4 heads, width 128 and 256: queries over a video, proposals over both.
        *(Case(4, width, clips, 32, 17, 17) for width in (32, 64) for clips in (128, 1024, 4096)),
        *(Case(4, width, 1024, 512, 2, 2) for width in (32, 64)),
    ],
    "crossover": [
        Case(8, 64, shared, batch, 1, 16)
        for shared in (32, 128, 256, 512, 1024, 4096)
        for batch in (2, 4, 8, 16, 32, 96)
    ],
    "quick": [
        Case(8, 64, 1024, 32, 1, 16),
        Case(8, 64, 4096, 16, 1, 16),
        Case(8, 64, 1024, 32, 1, 64),
        Case(8, 64, 1024, 32, 16, 16),
        Case(8, 64, 256, 4, 1, 16),
        Case(8, 64, 64, 4, 1, 16),
        Case(4, 32, 1024, 32, 17, 17),
        Case(32, 128, 1024, 32, 1, 0),
        Case(32, 128, 512, 16, 1, 0),
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grid", nargs="+", choices=list(GRIDS), help="which cases; default: all")
    parser.add_argument("--only", help="only cases that begin so, as printed: 8,64,1024")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--plot", type=Path, help="draw the cross-over as a picture")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=12, help="least number of rounds")
    parser.add_argument("--seconds", type=float, default=1.0, help="rounds of a case go on so long")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
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
    parser.add_argument("--costs", type=Path, help="what auto goes by, see calibrate_attention.py")
    parser.add_argument("--flex", action="store_true", help="compile flex_attention too (slow)")
    args = parser.parse_args()
    if args.clock == "cpu" and (args.threads > 1 or args.device != "cpu"):
        parser.error("--clock cpu counts all threads together: use it with one, on the CPU")
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    dtype = getattr(torch, args.dtype)
    chosen = dict.fromkeys(case for name in args.grid or GRIDS for case in GRIDS[name])
    cases = [case for case in chosen if str(case).startswith(args.only or "")]
    machine = measure_machine(Clock(args.device, args.clock), dtype)
    # Names of files without the folders of whoever measures.
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    machine["command"] = " ".join(["python", "benchmarks/attention.py", *words])
    print(json.dumps(machine))
    results = []
    for case in cases:
        gib = case.unique_bytes(dtype.itemsize) / 2**30
        if gib > args.max_gib:
            print(f"\n{case}: left out, {gib:.1f} GiB of keys and values")
            continue
        result = run_case(case, dtype, args, machine)
        results.append(result)
        show(result)
        if args.json:  # what is there is there, should the time run out
            text = json.dumps({"machine": machine, "cases": results}, indent=1)
            args.json.write_text(text + "\n", encoding="utf-8")
    summarise(results)
    if args.plot:
        plot(results, args.plot)


def run_case(
    case: Case, dtype: torch.dtype, args: argparse.Namespace, machine: dict[str, Any]
) -> dict[str, Any]:
    """Compare, then time."""
    costs = Costs.load(args.costs) if args.costs else None
    peers = make_peers(case, dtype, args.device, args.max_gib * 2**30, args.flex, costs)
    outputs = {name: call() for name, call in peers.calls.items()}
    expected = outputs["reference"].float()
    limit = (2e-5 if dtype == torch.float32 else 2e-2) * max(1.0, float(expected.abs().max()))
    for name, output in outputs.items():
        assert output.shape == expected.shape, (name, output.shape)
        difference = float((output.float() - expected).abs().max())
        assert difference <= limit, f"{case}: {name} differs by {difference}"
    del outputs, expected, peers.calls["reference"]
    clock = Clock(args.device, args.clock)
    times = time_in_turn(peers.calls, clock, args.rounds, args.seconds, peers.not_captured)
    works = estimate(peers.plan, case.heads, case.private > 0)
    work = works["torch"]
    ideal = max(
        work.flops / machine["gemm_gflops"] / 1e9, work.read_bytes / machine["read_gbytes"] / 1e9
    )
    entries = {}
    for name, several in times.items():
        pairs = zip(several["seconds"], times["auto"]["seconds"], strict=True)
        ratios = [one / auto for one, auto in pairs]
        entries[name] = {
            "min_ms": 1e3 * min(several["seconds"]),
            "median_ms": 1e3 * statistics.median(several["seconds"]),
            "times_auto": statistics.median(ratios),
            "times_auto_min": min(ratios),
            "times_auto_max": max(ratios),
        }
        if "eager_seconds" in several:
            entries[name]["eager_min_ms"] = 1e3 * min(several["eager_seconds"])
            entries[name]["eager_median_ms"] = 1e3 * statistics.median(several["eager_seconds"])
    used = costs or default_costs(torch.device(args.device))
    return {
        "case": str(case),
        "grids": [name for name, cases in GRIDS.items() if case in cases],
        "rounds": len(times["auto"]["seconds"]),
        "flops": work.flops,
        "bytes": work.read_bytes,
        "ideal_ms": 1e3 * ideal,
        "roofline_share": 1e3 * ideal / entries["auto"]["min_ms"],
        "chosen": dict(peers.tree.stats().choices),
        "expected_ms": {name: 1e3 * one.seconds(used) for name, one in works.items()},
        "left_out": peers.left_out,
        "peers": entries,
    }


if __name__ == "__main__":
    main()
