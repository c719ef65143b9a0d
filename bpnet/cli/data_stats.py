"""`bpnet data stats`: what the moments, videos and sentences of a dataset are like."""

from __future__ import annotations

import argparse

from bpnet.config import DATASETS


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of ``bpnet data``.

    Args:
        commands: What ``add_subparsers`` gave.
    """
    text = "print the numbers of a dataset, part by part, and draw its distributions"
    add = commands.add_parser("stats", help=text, description=text)
    add.add_argument("path", help="folder as the dataset publishes it, or one file")
    add.add_argument("--dataset", required=True, metavar="NAME", help=", ".join(DATASETS))
    add.add_argument(
        "--split", action="append", metavar="PART", help="part to show; again for more (all found)"
    )
    add.add_argument(
        "--out", metavar="FILE", help="picture to draw: .png, .svg or .pdf (needs matplotlib)"
    )
    add.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from bpnet.data.annotations import read_annotations
    from bpnet.data.inspection import found_parts
    from bpnet.data.statistics import describe, table

    # val_merged is two other parts once more.
    splits = args.split or [
        split for split in found_parts(args.dataset, args.path)[0] if split != "val_merged"
    ]
    parts = [
        describe(read_annotations(args.dataset, args.path, split)[0], split) for split in splits
    ]
    print(table(parts))
    if args.out is not None:
        from bpnet.report.statistics_plot import write_statistics_plot

        write_statistics_plot(args.out, parts, title=args.dataset)
        print(f"drawn: {args.out}")
