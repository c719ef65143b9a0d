"""Puts what `attention.py` has measured into docs/attention.md, so that no figure is typed.

    python benchmarks/attention_page.py

Between `<!-- figures: KIND FILE [GRID ...] -->` and `<!-- end of figures -->` a page gets, from a
file of benchmarks/results: `table`, a row a case; `regimes`, how many times as long as `auto` the
others take, in words; `targets`, which are met and which are not.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attention_report import COLUMNS, missed, parts, ratio

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "attention.md"
RESULTS = ROOT / "benchmarks" / "results"
MARKED = re.compile(r"(<!-- figures: ([^>]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)

# What is said, of which cases, beside whom.
REGIMES: list[tuple[str, Callable[..., bool], tuple[str, ...]]] = [
    (
        "One new row a sequence, 1024 shared tokens and more, 16 sequences and more",
        lambda shared, batch, rows, private: rows == 1 and shared >= 1024 and batch >= 16,
        ("contiguous", "expanded", "packed mask", "chunk loop"),
    ),
    (
        "The same, where private tokens together are as many as shared ones, or more",
        lambda shared, batch, rows, private: rows == 1 and 1024 <= shared <= batch * private,
        ("contiguous", "packed mask"),
    ),
    (
        "Sixteen rows a sequence and more, 1024 shared tokens and more",
        lambda shared, batch, rows, private: rows >= 16 and shared >= 1024,
        ("contiguous", "expanded", "packed mask"),
    ),
    (
        "Up to 8 sequences, up to 256 shared tokens",
        lambda shared, batch, rows, private: batch <= 8 and 0 < shared <= 256,
        ("contiguous", "expanded", "packed mask", "same, keys written"),
    ),
    (
        "Nothing is shared",
        lambda shared, batch, rows, private: shared == 0,
        ("contiguous", "packed mask"),
    ),
    (
        "Nothing is private",
        lambda shared, batch, rows, private: private == 0,
        ("folded", "bmm"),
    ),
    ("Every call with a new plan, all cases", lambda *_: True, ("new plan",)),
]


def table(data: dict[str, Any]) -> str:
    """A row a case; from `contiguous` on, how many times as long as `auto` each takes."""
    cases = data["cases"]
    columns = {
        short: name
        for short, name in COLUMNS.items()
        if any(name in result["peers"] for result in cases)
    }
    eager = any("eager_min_ms" in result["peers"]["auto"] for result in cases)
    head = ["heads, width", "shared", "private", "sequences", "rows", "`auto`", "ms"]
    head += ["ms from Python"] * eager + ["of roofline", *columns]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for result in cases:
        heads, width, shared, batch, rows, private = parts(result)
        auto = result["peers"]["auto"]
        cells = [f"{heads}, {width}", *map(str, (shared, private, batch, rows))]
        cells += ["/".join(result["chosen"]), f"{auto['min_ms']:.3g}"]
        if eager:
            cells.append(f"{auto['eager_min_ms']:.3g}")
        cells.append(f"{result['roofline_share']:.0%}")
        times = (ratio(result, name) for name in columns.values())
        cells += ["-" if one is None else f"{one:.2f}" for one in times]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def regimes(data: dict[str, Any]) -> str:
    """Least, median and most of each kind of case."""
    lines = []
    for title, belongs, names in REGIMES:
        cases = [result for result in data["cases"] if belongs(*parts(result)[2:])]
        said = []
        for short in names:
            found = [ratio(result, COLUMNS[short]) for result in cases]
            times = [one for one in found if one is not None]
            if times:
                low, middle, high = min(times), statistics.median(times), max(times)
                said.append(f"{short} {middle:.2f} ({low:.2f} to {high:.2f})")
        if said:
            count = "1 case" if len(cases) == 1 else f"{len(cases)} cases"
            lines.append(f"* {title} ({count}): {', '.join(said)}.")
    return "\n".join(lines)


def targets(data: dict[str, Any]) -> str:
    """How many cases meet all of them; those that are missed, a line each."""
    found = [(result["case"], line) for result in data["cases"] for line in missed(result)]
    cases = len({case for case, _ in found})
    lines = [f"{len(data['cases']) - cases} of {len(data['cases'])} cases meet every target."]
    lines += [f"* {case}: {line}" for case, line in found]
    return "\n".join([lines[0], "", *lines[1:]]).rstrip()


KINDS = {"table": table, "regimes": regimes, "targets": targets}


def figures(words: str) -> str:
    """What stands between two marks."""
    kind, name, *grids = words.split()
    path = RESULTS / name
    if not path.exists():
        return f"Not measured yet: benchmarks/results/{name} is missing.\n"
    data = json.loads(path.read_text(encoding="utf-8"))
    if grids:
        data["cases"] = [one for one in data["cases"] if set(grids) & set(one["grids"])]
    machine = data["machine"]
    source = (
        f"{machine['device']}, {machine['dtype']}, threads {machine['threads']}, PyTorch "
        f"{machine['torch']}, products {machine['gemm_gflops']:.0f} GFLOP/s, reading "
        f"{machine['read_gbytes']:.0f} GB/s; `benchmarks/results/{name}`, by\n"
        f"`{machine['command']}`:"
    )
    return f"{source}\n\n{KINDS[kind](data)}\n"


def filled(page: str) -> str:
    """The page with all figures as the files have them."""
    return MARKED.sub(lambda found: found[1] + "\n" + figures(found[2]) + "\n" + found[3], page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
