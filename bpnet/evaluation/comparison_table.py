"""What ``comparison.json`` holds -> a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WIDTH = 23  # of "100.00 [100.00, 100.00]", with a space


def format_comparison(results: Mapping[str, Any]) -> str:
    """Every row with its intervals, and the differences from the first row.

    Args:
        results: What ``comparison.json`` holds.

    Returns:
        Lines, without a final line break.
    """
    columns = list(results["rows"][0]["metrics"])
    table: list[tuple[str, list[str]]] = []
    for row in results["rows"]:
        count = len(row["runs"])
        name = row["name"] if count == 1 else f"{row['name']} ({count} runs)"
        table.append((name, [cell(row["metrics"][column]) for column in columns]))
        if row["spread"] is not None:
            spreads = [f"± {row['spread'][column]:.2f}" for column in columns]
            table.append(("  std over runs", spreads))
    for row in results["differences"]:
        name = f"{row['name']} - {row['minus']}"
        table.append((name, [cell(row["metrics"][column], signed=True) for column in columns]))
    width = max(len(name) for name, _ in table)
    heads = [name.replace(",IoU=", " ") for name in columns]
    lines = [
        f"protocol {results['protocol']}, {results['dataset']} {results['split']}, "
        f"{results['num_queries']} queries about {results['num_videos']} videos, percent",
        " " * width + "".join(f"  {head:<{_WIDTH}}" for head in heads).rstrip(),
    ]
    for name, texts in table:
        lines.append(f"{name:<{width}}" + "".join(f"  {one:<{_WIDTH}}" for one in texts).rstrip())
    if results["differences"]:
        lines.append("*: the interval of a difference does not hold 0")
    return "\n".join([*lines, *results["notes"]])


def cell(estimate: Mapping[str, float], signed: bool = False) -> str:
    """A value with its interval.

    Args:
        estimate: ``value``, ``low`` and ``high``.
        signed: Whether it is a difference: with its sign, and marked where the interval lies on
            one side of 0.

    Returns:
        Such as ``"71.89 [70.02, 73.70]"``.
    """
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    if not signed:
        return f"{value:.2f} [{low:.2f}, {high:.2f}]"
    # The mark stands for the numbers as they are, not as they are rounded.
    mark = "*" if low > 0 or high < 0 else ""
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]{mark}"
