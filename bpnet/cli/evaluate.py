"""`bpnet evaluate`: Hydra overrides -> metrics, predictions and a table, or a comparison."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpnet.cli.paths import must_exist
from bpnet.cli.several import run_in_all
from bpnet.config import EvaluateConfig
from bpnet.errors import CheckpointError, ConfigError
from bpnet.evaluation.compared_rows import compared_rows
from bpnet.ranks import Ranks
from bpnet.settings import from_dict

if TYPE_CHECKING:
    from bpnet.evaluation.predictions import Prediction


def main(arguments: list[str]) -> None:
    """Evaluate as the overrides say; see ``bpnet evaluate --help``."""
    run_in_all("evaluate", arguments, _check, _evaluate)


def _check(values: dict[str, Any], run_dir: Path) -> None:
    from bpnet.evaluation.protocols import protocol

    rows = _rows(values)
    if rows is None:
        configs = [from_dict(EvaluateConfig, values)]
    else:
        configs = [config for runs in rows.values() for config in runs]
    if rows is not None and configs[0].report:
        raise ConfigError(
            f"report={configs[0].report}: a report is drawn of one checkpoint's answers, not of a "
            "comparison"
        )
    if rows is not None and configs[0].calibration:
        raise ConfigError("calibration=true: it is told of one checkpoint, not of a comparison")
    if rows is not None and configs[0].bias:
        raise ConfigError("bias=true: it is told of one evaluation, not of a comparison")
    for config in configs:
        protocol(config.protocol)
        if config.checkpoint is not None:
            must_exist("checkpoint", config.checkpoint, CheckpointError)
        features = config.data.get("features") or {}
        paths = {
            "predictions": config.predictions,
            "data.features": features.get("path"),
            "data.annotations": config.data.get("annotations"),
            "confounders": config.confounders,
        }
        for name, path in paths.items():
            if path is not None and not Path(path).exists():
                raise ConfigError(f"{name}={path!r}: no such file or folder")


def _rows(values: dict[str, Any]) -> dict[str, list[EvaluateConfig]] | None:
    """The evaluations of a comparison, by row; None where one thing is evaluated."""
    rows = compared_rows(values["checkpoint"], values["predictions"])
    if rows is None:
        return None
    return {
        name: [from_dict(EvaluateConfig, {**values, **one}) for one in runs]
        for name, runs in rows.items()
    }


def _evaluate(values: dict[str, Any], run_dir: Path, ranks: Ranks) -> None:
    rows = _rows(values)
    if rows is None:
        _evaluate_one(from_dict(EvaluateConfig, values), ranks)
    else:
        _compare(rows, values["out"], ranks)


def _evaluate_one(config: EvaluateConfig, ranks: Ranks) -> None:
    from bpnet.evaluation.evaluate import evaluate, output_folder
    from bpnet.evaluation.table import format_table

    results, predictions = evaluate(config, ranks)
    if not ranks.first:
        return
    out = output_folder(config)
    if config.report:
        from bpnet.report import spread, write_evaluation_report

        drawn = spread(predictions, config.report)
        write_evaluation_report(out / "report.html", results, drawn, config.videos, config.embed)
        print("\n".join(_line(prediction) for prediction in drawn), end="\n\n")
    print(format_table(results))
    print(f"written to {out}")


def _compare(rows: dict[str, list[EvaluateConfig]], out: str | None, ranks: Ranks) -> None:
    from bpnet.evaluation.compare import COMPARISON, compare
    from bpnet.evaluation.comparison_table import format_comparison

    results = compare(rows, ranks)
    if not ranks.first:
        return
    print(format_comparison(results))
    if out is None:
        print(f"nothing written: out=FOLDER keeps these numbers as {COMPARISON}")
    else:
        print(f"written to {Path(out) / COMPARISON}")


def _line(prediction: Prediction) -> str:
    """A query, the answer and the truth, for the terminal."""
    truth, found = prediction.annotation, prediction.moments[0]
    assert truth is not None
    return (
        f"{truth.video_id}: {truth.query}\n"
        f"    found {found.start_seconds:6.2f} to {found.end_seconds:6.2f} s (score "
        f"{found.score:.2f}), true {truth.start_seconds:6.2f} to {truth.end_seconds:6.2f} s"
    )


if __name__ == "__main__":  # as torchrun starts it
    from bpnet.cli.main import main as bpnet

    bpnet(["evaluate", *sys.argv[1:]])
