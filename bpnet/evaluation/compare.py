"""Several checkpoints and files of predictions -> one comparison, paired by query."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bpnet.config import EvaluateConfig
from bpnet.data.annotations import read_annotations
from bpnet.errors import ConfigError
from bpnet.evaluation.answered_part import answer_part
from bpnet.evaluation.bootstrap import INTERVAL, bootstrap, interval_notes
from bpnet.evaluation.intervals import Array
from bpnet.evaluation.matching import match_predictions
from bpnet.evaluation.outcomes import COLUMNS, Outcomes, outcomes
from bpnet.evaluation.prediction_files import read_predictions
from bpnet.evaluation.protocols import protocol
from bpnet.evaluation.score import table_notes
from bpnet.ranks import ALONE, Ranks
from bpnet.types import Annotation
from bpnet_features.atomic import write_text_atomically

log = logging.getLogger(__name__)

COMPARISON = "comparison.json"


def compare(rows: Mapping[str, Sequence[EvaluateConfig]], ranks: Ranks = ALONE) -> dict[str, Any]:
    """Evaluate all runs, compare the rows with the first one, and write ``comparison.json``.

    The runs of a row are runs of one model with other seeds: the mean of their outcomes at each
    query stands for the row. The file is written where ``out`` is set.

    Args:
        rows: The evaluation of each run, by row; they differ in what is evaluated only.
        ranks: Who this process is; of several, the first one compares and writes.

    Returns:
        What ``comparison.json`` holds: each row's metrics in percent with their intervals, and its
        differences from the first row; nothing in the other processes.

    Raises:
        BPNetError: A run cannot be evaluated, or the runs do not answer the same queries.
    """
    found, dataset, notes = _all_outcomes(rows, ranks)
    if not ranks.first:
        return {}
    config = next(iter(rows.values()))[0]
    rules = protocol(config.protocol, dataset)
    values = {
        name: np.stack([run.values for run in runs]).mean(axis=0) for name, runs in found.items()
    }
    names = list(values)
    # Differences are taken query by query before anything is drawn: those of equal runs are 0.
    differences = [values[name] - values[names[0]] for name in names[1:]]
    videos = next(iter(found.values()))[0].videos
    columns = np.concatenate([*values.values(), *differences], axis=1)
    cells = bootstrap(columns[None], videos).cells(COLUMNS)
    paths = {
        name: [str(one.checkpoint or one.predictions) for one in runs]
        for name, runs in rows.items()
    }
    # There are no columns of R@5 here to say something of.
    said = [note for note in table_notes(rules, dataset, config.split) if note[:4] != "R@5:"]
    results = {
        "protocol": rules.name,
        "dataset": dataset,
        "split": config.split,
        "num_queries": len(videos),
        "num_videos": len(set(videos)),
        "interval": INTERVAL,
        "rows": [
            {
                "name": name,
                "runs": paths[name],
                "metrics": cells[place],
                "spread": _spread(found[name]),
            }
            for place, name in enumerate(names)
        ],
        "differences": [
            {"name": name, "minus": names[0], "metrics": cells[len(names) + place]}
            for place, name in enumerate(names[1:])
        ],
        "notes": [*said, *notes, *interval_notes(videos)],
    }
    if config.out is not None:
        folder = Path(config.out)
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomically(folder / COMPARISON, json.dumps(results, indent=1) + "\n")
    return results


def _all_outcomes(
    rows: Mapping[str, Sequence[EvaluateConfig]], ranks: Ranks
) -> tuple[dict[str, list[Outcomes]], str, list[str]]:
    """The outcomes of every run in one order of queries, the dataset, and notes for the table."""
    found: dict[str, list[Outcomes]] = {}
    first: tuple[str, Outcomes] | None = None
    dataset, notes = "", []
    trained: dict[str, bool] = {}
    for name, configs in rows.items():
        if configs[0].checkpoint is None:
            continue
        found[name] = []
        for config in configs:
            log.info("%s: %s", name, config.checkpoint)
            answered = answer_part(config, ranks)
            run = outcomes(answered.answers, answered.dataset.annotations, answered.rules)
            trained[name] = config.split == answered.data.train_split
            if first is None:
                first, dataset = (name, run), answered.data.dataset
                notes = [answered.part.note] if answered.part.note is not None else []
            found[name].append(run.in_order_of(first[1], (name, first[0])))
    _check_training(trained, next(iter(rows.values()))[0].split)
    for name, configs in rows.items():
        if configs[0].predictions is not None:
            asked: Sequence[Annotation]
            if first is None:
                asked, dataset = _asked(configs[0])
            else:
                asked = first[1].annotations
            found[name] = []
            for config in configs:
                run = _file_outcomes(config, dataset, asked)
                first = first or (name, run)
                found[name].append(run.in_order_of(first[1], (name, first[0])))
    return {name: found[name] for name in rows}, dataset, notes


def _asked(config: EvaluateConfig) -> tuple[list[Annotation], str]:
    """The part that files of predictions are about, where no checkpoint says so."""
    dataset, folder = config.data.get("dataset"), config.data.get("annotations")
    if dataset is None or folder is None:
        raise ConfigError(
            f"predictions={config.predictions!r}: what are they about? Give data.dataset=... and "
            "data.annotations=..., or a checkpoint beside them"
        )
    annotations, report = read_annotations(dataset, folder, config.split)
    log.info("%s", report.summary())
    return annotations, dataset


def _file_outcomes(config: EvaluateConfig, dataset: str, asked: Sequence[Annotation]) -> Outcomes:
    assert config.predictions is not None
    file = read_predictions(config.predictions)
    log.info("%s: form %s (%s)", config.predictions, file.form, file.reason)
    matched = match_predictions(file, asked, config.data.get("missing") or "error")
    rules = protocol(config.protocol, dataset)
    return outcomes(matched.answers, matched.annotations, rules)


def _check_training(trained: Mapping[str, bool], split: str) -> None:
    """A model that has seen the answers cannot be compared with one that has not."""
    if len(set(trained.values())) > 1:
        seen = ", ".join(repr(name) for name, value in trained.items() if value)
        raise ConfigError(
            f"split={split!r}: {seen} was trained on this part, and other rows were not: expected "
            "a part that no row was trained on"
        )


def _spread(runs: Sequence[Outcomes]) -> dict[str, float] | None:
    """Standard deviation of the runs' metrics (n - 1); None for a single run."""
    if len(runs) == 1:
        return None
    means: Array = np.stack([run.values.mean(axis=0) for run in runs])
    return dict(zip(COLUMNS, means.std(axis=0, ddof=1).tolist(), strict=True))
