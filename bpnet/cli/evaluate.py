"""`bpnet evaluate`: Hydra overrides -> metrics, predictions and a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bpnet.cli.hydra_app import run
from bpnet.config import EvaluateConfig, from_dict


def main(arguments: list[str]) -> None:
    """Evaluate as the overrides say; see ``bpnet evaluate --help``."""
    run("evaluate", arguments, _check, _evaluate)


def _check(values: dict[str, Any], run_dir: Path) -> None:
    from bpnet.evaluation.protocols import protocol

    config = from_dict(EvaluateConfig, values)
    protocol(config.protocol)
    if not Path(config.checkpoint).exists():
        from bpnet.errors import CheckpointError

        raise CheckpointError(f"checkpoint {config.checkpoint!r}: no such file or folder")


def _evaluate(values: dict[str, Any], run_dir: Path) -> None:
    from bpnet.evaluation.evaluate import evaluate, format_table, output_folder

    config = from_dict(EvaluateConfig, values)
    results, predictions = evaluate(config)
    out = output_folder(config)
    if config.report:
        from bpnet.report import write_evaluation_report

        write_evaluation_report(
            out / "report.html", results, predictions, config.report, config.videos
        )
    print(format_table(results))
    print(f"written to {out}")


if __name__ == "__main__":
    main(sys.argv[1:])
