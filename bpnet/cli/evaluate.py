"""`bpnet evaluate`: Hydra overrides -> metrics, predictions and a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpnet.cli.hydra_app import run
from bpnet.config import EvaluateConfig
from bpnet.errors import CheckpointError, ConfigError
from bpnet.settings import from_dict

if TYPE_CHECKING:
    from bpnet.evaluation.predictions import Prediction


def main(arguments: list[str]) -> None:
    """Evaluate as the overrides say; see ``bpnet evaluate --help``."""
    run("evaluate", arguments, _check, _evaluate)


def _check(values: dict[str, Any], run_dir: Path) -> None:
    from bpnet.evaluation.protocols import protocol

    config = from_dict(EvaluateConfig, values)
    protocol(config.protocol)
    if config.checkpoint is not None and not Path(config.checkpoint).exists():
        raise CheckpointError(f"checkpoint {config.checkpoint!r}: no such file or folder")
    features = config.data.get("features") or {}
    paths = {
        "predictions": config.predictions,
        "data.features": features.get("path"),
        "data.annotations": config.data.get("annotations"),
    }
    for name, path in paths.items():
        if path is not None and not Path(path).exists():
            raise ConfigError(f"{name}={path!r}: no such file or folder")


def _evaluate(values: dict[str, Any], run_dir: Path) -> None:
    from bpnet.evaluation.evaluate import evaluate, output_folder
    from bpnet.evaluation.table import format_table

    config = from_dict(EvaluateConfig, values)
    results, predictions = evaluate(config)
    out = output_folder(config)
    if config.report:
        from bpnet.report import spread, write_evaluation_report

        drawn = spread(predictions, config.report)
        write_evaluation_report(out / "report.html", results, drawn, config.videos)
        print("\n".join(_line(prediction) for prediction in drawn), end="\n\n")
    print(format_table(results))
    print(f"written to {out}")


def _line(prediction: Prediction) -> str:
    """A query, the answer and the truth, for the terminal."""
    truth, found = prediction.annotation, prediction.moments[0]
    assert truth is not None
    return (
        f"{truth.video_id}: {truth.query}\n"
        f"    found {found.start_seconds:6.2f} to {found.end_seconds:6.2f} s (score "
        f"{found.score:.2f}), true {truth.start_seconds:6.2f} to {truth.end_seconds:6.2f} s"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
