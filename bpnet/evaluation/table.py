"""What ``metrics.json`` holds -> a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bpnet.evaluation.bias_table import bias_lines
from bpnet.evaluation.metrics import best_of_all

# What was left out of a result, and the words for it.
_DROPPED = {
    "annotations": "queries without a usable moment",
    "missing_features": "queries about videos without features",
    "missing_query_features": "queries without token features",
    "missing_predictions": "queries without an answer",
    "unknown_predictions": "answers to queries that the part does not have",
}


def format_table(results: Mapping[str, Any]) -> str:
    """Every row that stands beside a result, what was left out of it, and how it was counted.

    Args:
        results: What ``metrics.json`` holds.

    Returns:
        Lines, without a final line break.
    """
    columns = list(results["metrics"])
    largest, oracle = best_of_all(results["oracle_recall"])
    discounted = results.get("discounted") or {}
    has_stages = results["stage_one"] is not None
    first = "two stages" if has_stages else "predictions"
    if results.get("num_stages") == 1:  # one row for both
        first = "stage one alone"
    rows = {
        first: results["metrics"],
        "  discounted (dR)": {name.removeprefix("d"): v for name, v in discounted.items()} or None,
        "stage one alone": results["stage_one"],
        f"best of {largest} proposals": oracle if has_stages else None,
        "whole clips at best": results.get("ceiling"),
        "constant interval": results["blind"],
        "  fitted a column": results["blind_best"],
        "whole video": results["whole_video"],
    }
    width = max(map(len, rows))
    lines = [
        f"protocol {results['protocol']}, {results['dataset']} {results['split']}, "
        f"{results['num_queries']} queries, percent",
        " " * width + "".join(f"{name.replace(',IoU=', ' '):>9}" for name in columns),
    ]
    for name, row in rows.items():
        if row is not None:
            cells = (f"{row[column]:9.2f}" if column in row else f"{'':9}" for column in columns)
            lines.append(f"{name:<{width}}" + "".join(cells).rstrip())
    bias = bias_lines(results["bias"]) if results.get("bias") else []
    return "\n".join([*lines, *lines_below(results), *bias])


def lines_below(results: Mapping[str, Any]) -> list[str]:
    """What stands below the table: other metrics, what was left out, how it was counted.

    Args:
        results: What ``metrics.json`` holds.

    Returns:
        Lines, possibly none.
    """
    lines = []
    for title, key in (("average precision", "average_precision"), ("saliency", "saliency")):
        if results.get(key):
            values = ", ".join(f"{name} {value:.2f}" for name, value in results[key].items())
            lines.append(f"{title}: {values}")
    if results.get("calibration"):
        lines += _calibration_lines(results["calibration"])
    lines += [
        f"left out: {count} {_DROPPED[what]}"
        for what, count in results.get("num_dropped", {}).items()
        if count
    ]
    return [*lines, *results.get("notes", ())]


def _calibration_lines(row: Mapping[str, Any]) -> list[str]:
    """How well scores are probabilities of tIoU >= 0.5, and how low those of other videos are."""
    score, fitted = row["score"], row["probability"]
    error, true = f"{100 * score['ece']:.2f}", f"{100 * score['ece_true']:.2f}"
    means = f"score {score['mean_mismatched']:.3f} against {score['mean_true']:.3f} of true pairs"
    if fitted is None:
        error += " of the scores (the checkpoint has no calibration)"
    else:
        error += f" before, {100 * fitted['ece']:.2f} after calibration"
        true += f" before, {100 * fitted['ece_true']:.2f} after"
        means += f", probability {fitted['mean_mismatched']:.3f} against {fitted['mean_true']:.3f}"
    lines = [
        f"expected calibration error, percent: {error}; of true pairs alone: {true}",
        f"{row['num_mismatched']} sentences asked about another video: mean {means}; AUROC "
        f"{100 * row['auroc']:.2f}",
    ]
    if row["presence"] is not None:
        shares = {name: f"{100 * value:.2f}" for name, value in row["presence"].items()}
        lines.append(
            f"is the sentence about this video, from score {row['fitted']['least_score']:.3f}: "
            f"precision {shares['precision']}, recall {shares['recall']}, F1 {shares['f1']}"
        )
    return lines
