"""`python scripts/ablate.py`: variants x seeds, trained and compared."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path
from typing import Any

from bpnet.ablation.variants import Variant, make_variants
from bpnet.cli.hydra_app import compose, fail
from bpnet.config import TrainConfig, conf_path
from bpnet.errors import BPNetError, ConfigError
from bpnet.settings import from_dict

_EPILOG = """Everything else is an override of `bpnet train`, shared by all runs.

One value at a time, from the settings as they are (called base), or with --grid all combinations.
OUT holds a folder for each variant and seed, ablation.md and ablation.json. The same command again
goes on where it was cut off. The exit status is 1 where a run failed; the others are compared.
"""


def main(arguments: list[str] | None = None) -> None:
    """Run an ablation; see ``--help``.

    Args:
        arguments: The command line without the program's name; None: that of the process.

    Raises:
        SystemExit: With 2 where the command line is wrong, with 1 where a run failed.
    """
    parser = argparse.ArgumentParser(
        prog="ablate",
        description="Train variants of a model with several seeds, and compare them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and tables")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to N - 1 (default 3)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; they share the cores")
    parser.add_argument("--vary", action="append", default=[], metavar="KEY=VALUE,VALUE")
    parser.add_argument("--variant", action="append", default=[], metavar="'NAME: KEY=VALUE ...'")
    parser.add_argument("--grid", action="store_true", help="all combinations of --vary")
    parser.add_argument(
        "--split",
        action="append",
        metavar="PART",
        help="part to evaluate on, several times for several (default: validation, the part that "
        "checkpoints are chosen on)",
    )
    parser.add_argument("--protocol", default="vslnet", help="rules of counting (default vslnet)")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    options = parser.parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    try:
        failed = _ablate(options)
    except BPNetError as err:
        fail(err)
    raise SystemExit(1 if failed else 0)


def _ablate(options: argparse.Namespace) -> bool:
    """Run it; says whether a run failed."""
    for name in ("seeds", "jobs"):
        if getattr(options, name) < 1:
            raise ConfigError(f"--{name} {getattr(options, name)}: expected an integer >= 1")
    overrides: list[str] = options.overrides
    taken = [one for one in overrides if one.partition("=")[0] in ("seed", "run_dir", "resume")]
    if taken:
        raise ConfigError(
            f"{' '.join(taken)}: every run has a seed and a folder of its own: give --seeds and "
            "--out"
        )
    variants, same = _distinct(
        make_variants(options.vary, options.variant, options.grid), overrides
    )

    # These take PyTorch; a wrong command line is refused before.
    from bpnet.ablation.runs import Ablation, run_ablation
    from bpnet.ablation.table import TABLE, write_ablation
    from bpnet.evaluation.protocols import protocol

    protocol(options.protocol)
    ablation = Ablation(
        out=options.out,
        variants=variants,
        seeds=range(options.seeds),
        splits=list(dict.fromkeys(options.split or ["validation"])),
        overrides=overrides,
        protocol=options.protocol,
        jobs=options.jobs,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, _interrupt)  # so that the runs end with us
    try:
        failures = run_ablation(ablation)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        raise SystemExit(130) from None
    write_ablation(ablation, failures, same)
    print((options.out / TABLE).read_text(encoding="utf-8"))
    return bool(failures)


def _distinct(
    variants: list[Variant], overrides: list[str]
) -> tuple[list[Variant], dict[str, str]]:
    """The variants whose settings differ, and those left out with the name of their equal."""
    kept: list[Variant] = []
    composed: list[dict[str, Any]] = []
    same: dict[str, str] = {}
    for variant in variants:
        values = compose(conf_path(), "train", [*overrides, *variant.overrides, "run_dir=run"])
        from_dict(TrainConfig, values)
        if values in composed:
            same[variant.name] = kept[composed.index(values)].name
        else:
            kept.append(variant)
            composed.append(values)
    if len(kept) < 2:
        raise ConfigError(
            f"all {len(variants)} variants have the same settings: expected values that differ"
        )
    return kept, same


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
