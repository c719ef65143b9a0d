"""What `attention.py` has measured: printed, held against the targets, as tables and pictures.

    python benchmarks/attention_report.py FILE [FILE ...]           # tables for a page, Markdown
    python benchmarks/attention_report.py FILE --plot crossover.png

Several files, of runs on one machine, are put together.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

# As a column is called, and as it is measured.
COLUMNS = {
    "contiguous": "SDPA contiguous",
    "expanded": "SDPA expanded + merge",
    "packed mask": "SDPA packed mask",
    "same, keys written": "packed mask, keys written",
    "chunk loop": "loop over chunks",
    "folded": "SDPA folded",
    "bmm": "bmm softmax bmm",
    "flex": "flex_attention",
    "cascade": "FlashInfer cascade",
    "new plan": "auto, new plan",
}
BACKENDS = ("torch", "packed", "expanded", "triton")
MOST = 1.15  # times as long as the best backend, folded SDPA and two products
LEAST = 0.87  # of the speed of packed-mask SDPA


def show(result: dict[str, Any]) -> None:
    """One case, a line a peer."""
    chosen = "/".join(result["chosen"])
    print(
        f"\nheads,width,shared,batch,rows,private = {result['case']}   auto = {chosen}, "
        f"{result['roofline_share']:.0%} of the roofline ({result['flops'] / 1e9:.3g} GFLOP, "
        f"{result['bytes'] / 1e6:.3g} MB), {result['rounds']} rounds"
    )
    for name, entry in result["peers"].items():
        eager = f"{entry['eager_min_ms']:10.3f} from Python" if "eager_min_ms" in entry else ""
        print(
            f"  {name:<24}{entry['min_ms']:10.4f} ms{entry['median_ms']:10.4f}"
            f"{entry['times_auto']:9.2f} x auto "
            f"({entry['times_auto_min']:.2f} to {entry['times_auto_max']:.2f}){eager}"
        )
    for line in result["left_out"]:
        print(f"  left out: {line}")


def ratio(result: dict[str, Any], name: str) -> float | None:
    """How many times as long as auto a peer takes, by least times; None: it was not measured."""
    if name not in result["peers"]:
        return None
    return result["peers"][name]["min_ms"] / result["peers"]["auto"]["min_ms"]


def missed(result: dict[str, Any]) -> list[str]:
    """The targets that a case misses, in words."""
    found = []
    backends = {name: ratio(result, name) for name in BACKENDS if name in result["peers"]}
    best = min(backends, key=lambda name: backends[name])
    limits = {best: 1 / MOST, "SDPA folded": 1 / MOST, "bmm softmax bmm": 1 / MOST}
    for name, limit in {**limits, "SDPA packed mask": LEAST}.items():
        times = ratio(result, name)
        if times is not None and times < limit:
            found.append(f"{name} takes {times:.2f} times as long (target {limit:.2f})")
    _, _, shared, batch, rows, private = map(int, result["case"].split(","))
    wanted = {}
    if rows == 1 and shared >= 1024 and batch >= 16 and private <= 64:
        wanted = {"SDPA contiguous": 6.0, "SDPA expanded + merge": 3.0}
    if rows == 16 and shared >= 1024 and batch == 32:
        wanted = {"SDPA contiguous": 1.6}
    if rows == 1 and batch > 1 and 0 < shared <= batch * private:
        wanted["SDPA packed mask"] = 1.5
    for name, least in wanted.items():
        times = ratio(result, name)
        if times is not None and times < least:
            found.append(f"{name} takes {times:.2f} times as long (target {least})")
    return found


def summarise(results: list[dict[str, Any]]) -> None:
    """Is auto near the best of our backends, and of the peers? By least times."""
    print("\ntimes as long as auto, by least times; targets for processors, single precision:")
    num_missed = 0
    for result in results:
        times = {short: ratio(result, name) for short, name in COLUMNS.items()}
        cells = "".join(f"{short:>13} {one:5.2f}" for short, one in times.items() if one)
        print(f"  {result['case']:<24}{'/'.join(result['chosen']):<9}{cells}")
        for line in missed(result):
            print(f"    missed: {line}")
            num_missed += 1
    print(f"{num_missed} targets missed in {len(results)} cases")


def table(data: dict[str, Any]) -> str:
    """Markdown: what it was measured on, the command, and a row a case."""
    machine, cases = data["machine"], data["cases"]
    columns = {
        short: name
        for short, name in COLUMNS.items()
        if any(name in result["peers"] for result in cases)
    }
    eager = any("eager_min_ms" in result["peers"]["auto"] for result in cases)
    head = ["heads, width", "shared", "private", "sequences", "rows", "`auto`", "ms"]
    head += ["ms from Python"] * eager + ["of roofline", *columns]
    lines = [
        f"{machine['device']}, {machine['dtype']}, PyTorch {machine['torch']}, "
        f"{machine['gemm_gflops']:.0f} GFLOP/s, {machine['read_gbytes']:.0f} GB/s:",
        "",
        f"`{machine['command']}`",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for result in cases:
        heads, width, shared, batch, rows, private = result["case"].split(",")
        auto = result["peers"]["auto"]
        cells = [f"{heads}, {width}", shared, private, batch, rows, "/".join(result["chosen"])]
        cells.append(f"{auto['min_ms']:.3g}")
        cells += [f"{auto['eager_min_ms']:.3g}"] * eager
        cells.append(f"{result['roofline_share']:.0%}")
        times = (ratio(result, name) for name in columns.values())
        cells += ["-" if one is None else f"{one:.2f}" for one in times]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """How many times as long as auto the peers take, over shared tokens, a line a batch size."""
    import matplotlib.pyplot as plt

    names = ("SDPA contiguous", "SDPA expanded + merge", "SDPA packed mask")
    points: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for result in results:
        heads, width, shared, batch, rows, private = map(int, result["case"].split(","))
        if (heads, width, rows, private) != (8, 64, 1, 16):
            continue
        for name in names:
            times = ratio(result, name)
            if times is not None:
                points.setdefault((name, batch), []).append((shared, times))
    batches = sorted({batch for _, batch in points})
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.5), sharey=True, layout="constrained")
    colors = plt.get_cmap("viridis")
    for axis, name in zip(axes, names, strict=True):
        for number, batch in enumerate(batches):
            line = sorted(points.get((name, batch), []))
            color = colors(number / max(1, len(batches) - 1) * 0.9)
            if line:
                axis.plot(*zip(*line, strict=True), marker="o", color=color, label=str(batch))
        axis.axhspan(0.01, 1.0, color="0.9", zorder=0)
        axis.axhline(1.0, color="black", linewidth=0.8)
        axis.set(title=name, xlabel="shared tokens", xscale="log", yscale="log")
        ticks = sorted({shared for line in points.values() for shared, _ in line})
        axis.set_xticks(ticks, [str(tick) for tick in ticks], rotation=45)
        axis.minorticks_off()
    every = [times for line in points.values() for _, times in line]
    marks = [mark for mark in (0.25, 0.5, 1, 2, 4, 8, 16, 32) if min(every) / 2 < mark]
    marks = [mark for mark in marks if mark < 2 * max(every)]
    axes[0].set_yticks(marks, [f"{mark:g}" for mark in marks])
    axes[0].set_ylim(min(every) * 0.8, max(every) * 1.25)
    axes[0].set_ylabel("times as long as auto (grey: auto loses)")
    axes[2].legend(title="sequences", loc="upper left")
    figure.suptitle("8 heads of width 64, one new token a sequence, 16 private tokens")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--plot", type=Path, help="draw the cross-over as a picture")
    args = parser.parse_args()
    every = [json.loads(path.read_text(encoding="utf-8")) for path in args.files]
    for data in every:
        print(table(data) + "\n")
    results = [result for data in every for result in data["cases"]]
    summarise(results)
    if args.plot:
        plot(results, args.plot)


if __name__ == "__main__":
    main()
