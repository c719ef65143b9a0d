"""What ``metrics.json`` says of bias -> lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bpnet.evaluation.comparison_table import cell

_SHOWN = ("R@1,IoU=0.5", "mIoU")
_WIDTH = 23


def bias_lines(bias: Mapping[str, Any]) -> list[str]:
    """The rows of ``bias=true`` as a table with two of their metrics.

    Args:
        bias: What ``metrics.json`` holds under this name.

    Returns:
        Lines.
    """
    rows = [(row["name"], row["metrics"], row["difference"]) for row in bias["rows"]]
    lines = ["", *_table("bias", rows)]
    if bias["parts"] is not None:
        parts = [
            (f"{row['name']} ({row['num_queries']} queries)", row["metrics"], row["difference"])
            for row in bias["parts"]
        ]
        blind = [
            (f"  constant interval, {row['name']}", row["blind"], row["blind_difference"])
            for row in bias["parts"]
            if row["blind"] is not None
        ]
        lines += ["", *_table("parts", [*parts, *blind])]
    if bias["confounder"] is not None:
        row = bias["confounder"]
        lines += [
            "",
            f"of {row['num_queries']} queries whose confounder is known, percent: the answer "
            f"points at the moment {cell(row['pointing'])}, at the confounder "
            f"{cell(row['confounder_pointing'])}",
        ]
    return [*lines, *bias["notes"]]


def _table(title: str, rows: Sequence[tuple[str, Any, Any]]) -> list[str]:
    """Each row with its metrics, and by how much they differ from the first row's."""
    width = max(len(title), *(len(name) for name, *_ in rows))
    heads = [
        *(name.replace(",IoU=", " ") for name in _SHOWN),
        *(f"{name.replace(',IoU=', ' ')}: difference" for name in _SHOWN),
    ]
    lines = [_line(title, width, heads)]
    for name, metrics, difference in rows:
        cells = [cell(metrics[one]) for one in _SHOWN]
        if difference is not None:
            cells += [cell(difference[one], signed=True) for one in _SHOWN]
        lines.append(_line(name, width, cells))
    return lines


def _line(name: str, width: int, cells: Sequence[str]) -> str:
    return f"{name:<{width}}" + "".join(f"  {one:<{_WIDTH}}" for one in cells).rstrip()
