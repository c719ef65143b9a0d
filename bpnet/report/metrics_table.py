"""What ``metrics.json`` holds -> the table of the page."""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping
from typing import Any

from bpnet.evaluation.metrics import best_of_all
from bpnet.evaluation.table import lines_below


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """The rows that stand beside every result, each with a sentence that says what it is.

    Args:
        metrics: What ``metrics.json`` holds.

    Returns:
        HTML: the table, and below it what the terminal's table has below it.
    """
    largest, oracle = best_of_all(metrics.get("oracle_recall"))
    discounted = metrics.get("discounted") or {}
    one_stage = metrics.get("num_stages") == 1
    stage_one = (
        "Stage one alone",
        metrics.get("stage_one"),
        "Candidates of stage one as they are, ranked by its own confidence.",
    )
    stage_two = (
        "Two-stage",
        metrics["metrics"],
        "Candidates of stage one, ranked by the score of stage two, which may move them.",
    )
    rows: list[tuple[str, Mapping[str, float] | None, str]] = [
        stage_one if one_stage else stage_two,
        (
            "Discounted",
            {name.removeprefix("d"): value for name, value in discounted.items()},
            "The same; a hit counts the less, the farther its ends are from the true ones (dR).",
        ),
        *([] if one_stage else [stage_one]),
        (
            "Blind constant",
            metrics.get("blind"),
            "One fixed part of every video, fitted on train; it sees neither video nor query.",
        ),
        (
            "Blind, best a column",
            metrics.get("blind_best"),
            "The same with another part for each column, fitted on train for that column.",
        ),
        (
            "Whole video",
            metrics.get("whole_video"),
            "The whole video as the answer to every query.",
        ),
        (
            "Oracle",
            oracle,
            f"Always the best of the {largest} candidates: the most that stage two could reach "
            "without moving boundaries.",
        ),
        (
            "Whole clips at best",
            metrics.get("ceiling"),
            "The spans of whole clips that are nearest to the truth: what the clip grid allows.",
        ),
    ]
    columns = list(metrics["metrics"])
    groups = ""
    for group, names in itertools.groupby(columns, key=lambda name: name.split(",")[0]):
        heading = f"{text(group)}, IoU" if group.startswith("R@") else text(group)
        groups += f"<th scope=colgroup colspan={len(list(names))} class=group>{heading}</th>"
    below = "".join(f"<th scope=col>{text(name.partition('=')[2])}</th>" for name in columns)
    body = ""
    for name, values, sentence in rows:
        if values:
            cells = [f"{values[column]:.1f}" if column in values else "" for column in columns]
            body += (
                f"<tr><th scope=row>{name}</th><td>{'</td><td>'.join(cells)}</td></tr>"
                f"<tr class=why><td colspan={len(columns) + 1}><span>{sentence}</span></td></tr>"
            )
    caption = (
        f"{metrics['num_queries']:,} queries of {text(metrics.get('dataset', ''))} "
        f"{text(metrics['split'])}, "
        f"protocol {text(metrics['protocol'])}, percent"
    )
    below_table = "".join(f"<p class=below>{text(line)}</p>" for line in lines_below(metrics))
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Metrics">'
        f"<table><caption>{caption}</caption><thead><tr><td></td>{groups}</tr>"
        f"<tr><td></td>{below}</tr></thead><tbody>{body}</tbody></table>"
        f"{below_table}</div>"
    )


def text(value: object) -> str:
    """A value as HTML text."""
    return html.escape(str(value))
