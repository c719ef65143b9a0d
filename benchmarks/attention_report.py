"""What `attention.py` has measured: printed, held against the targets, and as a picture.

python benchmarks/attention_report.py FILE [--plot crossover.png]
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


def parts(result: dict[str, Any]) -> tuple[int, ...]:
    """Heads, width, shared tokens, sequences, rows and private tokens of a case."""
    return tuple(map(int, result["case"].split(",")))


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
    _, _, shared, batch, rows, private = parts(result)
    wanted: dict[str, float] = {}
    on_cuda = "eager_min_ms" in result["peers"]["auto"]
    long = shared >= 1024
    if rows == 1 and long and batch >= 16 and private <= 64:
        most = batch * (shared + private) / (shared + batch * private)
        wanted["SDPA contiguous"] = 0.4 * most if on_cuda else 6.0
        wanted["SDPA expanded + merge"] = 2.0 if on_cuda else 3.0
    if rows == 16 and long and batch == 32:
        wanted["SDPA contiguous"] = 5.0 if on_cuda else 1.6
    if rows == 1 and batch > 1 and 0 < shared <= batch * private * (2 if on_cuda else 1):
        wanted["SDPA packed mask"] = 1.5
    for name, least in wanted.items():
        times = ratio(result, name)
        if times is not None and times < least:
            found.append(f"{name} takes {times:.2f} times as long (target {least:.2g})")
    return found


def summarise(results: list[dict[str, Any]]) -> None:
    """Is auto near the best of our backends, and of the peers? By least times."""
    print("\ntimes as long as auto, by least times, and targets that are missed:")
    num_missed = 0
    for result in results:
        times = {short: ratio(result, name) for short, name in COLUMNS.items()}
        cells = "".join(f"  {short} {one:.2f}" for short, one in times.items() if one)
        print(f"  {result['case']:<24}{'/'.join(result['chosen']):<9}{cells}")
        for line in missed(result):
            print(f"    missed: {line}")
            num_missed += 1
    print(f"{num_missed} targets missed in {len(results)} cases")


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """How many times as long as auto the peers take, over shared tokens, a line a batch size."""
    import matplotlib.pyplot as plt

    names = ("SDPA contiguous", "SDPA expanded + merge", "SDPA packed mask")
    points: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for result in results:
        heads, width, shared, batch, rows, private = parts(result)
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
    figure.legend(*axes[0].get_legend_handles_labels(), title="sequences", loc="outside right")
    figure.suptitle("8 heads of width 64, one new token a sequence, 16 private tokens each")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--plot", type=Path, help="draw the cross-over as a picture")
    args = parser.parse_args()
    results = json.loads(args.file.read_text(encoding="utf-8"))["cases"]
    for result in results:
        show(result)
    summarise(results)
    if args.plot:
        plot(results, args.plot)


if __name__ == "__main__":
    main()
