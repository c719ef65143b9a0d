"""Finished runs of an ablation -> ``ablation.json`` and ``ablation.md``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bpnet.ablation.runs import Ablation, Failure, Run
from bpnet.build import build_from_checkpoint
from bpnet.checkpoint import Checkpoint
from bpnet.config import DataConfig
from bpnet.errors import AnnotationError
from bpnet.evaluation.bootstrap import FEW_VIDEOS, LEVEL, NUM_RESAMPLES, bootstrap
from bpnet.evaluation.comparison_table import cell
from bpnet.evaluation.matching import match_predictions
from bpnet.evaluation.outcomes import COLUMNS, Outcomes, outcomes
from bpnet.evaluation.parts import read_evaluated_part
from bpnet.evaluation.prediction_files import read_predictions
from bpnet.evaluation.protocols import protocol
from bpnet.evaluation.t_interval import half_width
from bpnet.settings import from_dict
from bpnet_features.atomic import write_text_atomically

TABLE, VALUES = "ablation.md", "ablation.json"

_Found = dict[str, dict[int, Outcomes]]  # by variant and seed


def write_ablation(
    ablation: Ablation, failures: Sequence[Failure], same: Mapping[str, str]
) -> dict[str, Any]:
    """Sum up the runs that came through, and write both files.

    Args:
        ablation: What was run.
        failures: The runs that did not come through.
        same: Variants that were left out, as their settings are those of another: its name by
            theirs.

    Returns:
        What ``ablation.json`` holds.

    Raises:
        BPNetError: A run's files are missing or damaged.
    """
    failed = {failure.run.folder for failure in failures}
    runs = [run for run in ablation.runs() if run.folder not in failed]
    results = {
        "overrides": list(ablation.overrides),
        "seeds": list(ablation.seeds),
        "protocol": ablation.protocol,
        "threads": ablation.threads,
        "variants": [
            _variant(name, [run for run in runs if run.variant.name == name], ablation, same)
            for name in (variant.name for variant in ablation.variants)
        ],
        "parts": [_part(split, ablation, runs) for split in ablation.splits],
        "failures": [
            {
                "variant": failure.run.variant.name,
                "seed": failure.run.seed,
                "step": failure.step,
                "log": str(failure.log),
                "message": failure.message,
            }
            for failure in failures
        ],
    }
    write_text_atomically(ablation.out / VALUES, json.dumps(results, indent=1) + "\n")
    write_text_atomically(ablation.out / TABLE, format_ablation(results))
    return results


def format_ablation(results: Mapping[str, Any]) -> str:
    """The tables in Markdown.

    Args:
        results: What ``ablation.json`` holds.

    Returns:
        Tables for each part: means with their intervals over the seeds, and paired differences.
    """
    lines = ["# Ablation", "", f"`bpnet train {' '.join(results['overrides'])}`", ""]
    variants = {one["name"]: one for one in results["variants"]}
    for part in results["parts"]:
        lines += [f"## {part['split']}", ""]
        lines += [f"Protocol {results['protocol']}, percent. {note}" for note in part["notes"][:1]]
        lines += ["", _line(["variant", "runs", *COLUMNS, "parameters", "seconds"]), _rule(8)]
        for row in part["rows"]:
            one = variants[row["name"]]
            cells = [_mean(row["metrics"][column]) for column in COLUMNS]
            size = "" if one["num_parameters"] is None else f"{one['num_parameters']:,}"
            seconds = "" if one["seconds"] is None else f"{one['seconds']:.0f}"
            lines.append(_line([row["name"], str(row["num_runs"]), *cells, size, seconds]))
        if part["differences"]:
            lines += ["", _line(["difference", "pairs", *COLUMNS]), _rule(6)]
        for row in part["differences"]:
            cells = [cell(row["metrics"][column], signed=True) for column in COLUMNS]
            name = f"{row['name']} - {row['minus']}"
            lines.append(_line([name, str(row["num_runs"]), *cells]))
        lines += ["", *(f"- {note}" for note in part["notes"][1:]), ""]
    for one in results["variants"]:
        also = [f"`{name}`" for name in one["same"]]
        if also:
            lines.append(f"- {one['name']} has the same settings as {', '.join(also)}")
    lines.append(
        f"- seconds: mean wall time of the training processes that were not cut off, "
        f"threads of each: {results['threads']}; parameters: those that are trained"
    )
    if results["failures"]:
        lines += ["", "## Failed", ""]
    for one in results["failures"]:
        where = f"{one['variant']}, seed {one['seed']}, {one['step']}"
        lines.append(f"- {where}: {one['message']} (`{one['log']}`)")
    return "\n".join(lines) + "\n"


def _variant(
    name: str, runs: Sequence[Run], ablation: Ablation, same: Mapping[str, str]
) -> dict[str, Any]:
    notes = [(run, run.finished() or {}) for run in runs]
    seconds = [note["seconds"] for _, note in notes if note.get("seconds") is not None]
    overrides = next(one.overrides for one in ablation.variants if one.name == name)
    return {
        "name": name,
        "overrides": list(overrides),
        "same": [other for other, kept in same.items() if kept == name],
        "num_parameters": _num_parameters(runs[0].folder) if runs else None,
        "seconds": float(np.mean(seconds)) if seconds else None,
        "runs": [
            {"seed": run.seed, "folder": str(run.folder), "seconds": note.get("seconds")}
            for run, note in notes
        ],
    }


def _num_parameters(folder: Path) -> int:
    model, _ = build_from_checkpoint(Checkpoint.load(folder))
    return sum(parameter.numel() for parameter in model.parameters())


def _part(split: str, ablation: Ablation, runs: Sequence[Run]) -> dict[str, Any]:
    found: _Found = {}
    for run in runs:
        found.setdefault(run.variant.name, {})[run.seed] = _outcomes(run, split)
    names = [variant.name for variant in ablation.variants if variant.name in found]
    differences: list[dict[str, Any]] = []
    notes = []
    some = next(iter(found[names[0]].values())) if names else None
    if some is not None:
        videos = some.videos
        notes.append(f"{len(videos)} queries about {len(set(videos))} videos.")
        notes.append(
            f"mean ± half of the {100 * LEVEL:g} % interval of the mean over seeds (Student's t)"
        )
    first = ablation.variants[0].name
    if first in found:
        try:
            for name in names:
                if name != first and found[name].keys() & found[first].keys():
                    differences.append(_difference(name, first, found))
        except AnnotationError as err:
            differences = []
            notes.append(f"no differences: {err}")
    elif names:
        notes.append(f"no differences: every run of {first!r} failed")
    if differences:
        notes.append(
            f"differences: the same seed and the same query, {100 * LEVEL:g} % percentile "
            f"bootstrap, {NUM_RESAMPLES:,} resamples of videos and seeds, too narrow where seeds "
            "are few; * where 0 is outside"
        )
        if some is not None and len(set(some.videos)) < FEW_VIDEOS:
            notes.append(f"{len(set(some.videos))} videos are few: the intervals are too narrow")
    return {
        "split": split,
        "rows": [_row(name, found[name]) for name in names],
        "differences": differences,
        "notes": notes,
    }


def _outcomes(run: Run, split: str) -> Outcomes:
    """How a run did at each query, from the predictions that its evaluation wrote."""
    checkpoint = Checkpoint.load(run.folder)
    data = from_dict(DataConfig, checkpoint.data, "data")
    part = read_evaluated_part(data, split, checkpoint.training)
    file = read_predictions(run.evaluation(split) / "predictions.jsonl")
    # Queries that the evaluation dropped, and counted, have no line.
    matched = match_predictions(file, part.annotations, data.missing)
    rules = protocol(run.ablation.protocol, data.dataset)
    return outcomes(matched.answers, matched.annotations, rules)


def _row(name: str, runs: Mapping[int, Outcomes]) -> dict[str, Any]:
    """Means over the runs, with t intervals where there are several."""
    metrics = np.stack([run.values.mean(axis=0) for run in runs.values()])
    halves = half_width(metrics, LEVEL).tolist() if len(metrics) > 1 else [None] * len(COLUMNS)
    means = metrics.mean(axis=0).tolist()
    return {
        "name": name,
        "num_runs": len(metrics),
        "metrics": {
            column: {"mean": mean, "half_width": half}
            for column, mean, half in zip(COLUMNS, means, halves, strict=True)
        },
        "by_seed": {
            str(seed): dict(zip(COLUMNS, values, strict=True))
            for seed, values in zip(runs, metrics.tolist(), strict=True)
        },
    }


def _difference(name: str, first: str, found: _Found) -> dict[str, Any]:
    seeds = sorted(found[name].keys() & found[first].keys())
    reference = found[first][seeds[0]]
    pairs = [
        found[name][seed].in_order_of(reference, (name, first)).values
        - found[first][seed].in_order_of(reference, (first, first)).values
        for seed in seeds
    ]
    estimates = bootstrap(np.stack(pairs), reference.videos, resample_runs=True)
    return {
        "name": name,
        "minus": first,
        "num_runs": len(seeds),
        "metrics": estimates.cells(COLUMNS)[0],
    }


def _mean(estimate: Mapping[str, float | None]) -> str:
    half = estimate["half_width"]
    return f"{estimate['mean']:.2f}" + ("" if half is None else f" ± {half:.2f}")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(one.replace("|", "\\|") for one in cells) + " |"


def _rule(count: int) -> str:
    return "|" + "---|" * count
