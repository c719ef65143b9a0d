"""`bpnet data`: check, draw and download annotation files."""

from __future__ import annotations

import argparse
import json

from bpnet.cli import data_download, data_stats
from bpnet.config import DATASETS


def main(arguments: list[str]) -> None:
    """Run ``bpnet data check|stats|download``; see ``--help``.

    Args:
        arguments: The command line after ``bpnet data``.

    Raises:
        SystemExit: With 1 where counts differ from the published ones; with 2 where the command
            line is wrong.
    """
    parser = argparse.ArgumentParser(prog="bpnet data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_check(commands)
    data_stats.add_parser(commands)
    data_download.add_parser(commands)
    args = parser.parse_args(arguments)
    args.run(args)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "counts against the published ones, and what was repaired or dropped, and why"
    add = commands.add_parser(
        "check", help=text, description=f"{text}. Exit status: 0; 1 where a count differs; 2: error"
    )
    add.add_argument("path", help="folder as the dataset publishes it, or one file")
    add.add_argument("--dataset", required=True, metavar="NAME", help=", ".join(DATASETS))
    add.add_argument(
        "--split", action="append", metavar="PART", help="part to check; again for more (all found)"
    )
    add.add_argument("--json", action="store_true", help="print the same as JSON")
    add.set_defaults(run=_check)


def _check(args: argparse.Namespace) -> None:
    from bpnet.data.inspection import inspect_parts

    inspection = inspect_parts(args.dataset, args.path, args.split)
    if args.json:
        print(json.dumps(inspection.to_dict(), indent=1))
    else:
        print("\n".join(inspection.lines()))
    if inspection.differing:
        raise SystemExit(1)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
