"""`bpnet features convert`: features of any layout -> our own store."""

from __future__ import annotations

import argparse
import logging
import os
from typing import TYPE_CHECKING

from bpnet.cli.source_options import add_source_options, open_source
from bpnet.config import DATASETS

if TYPE_CHECKING:
    from bpnet_features.convert import Converted

_MAX_JOBS = 4  # more of them wait for the disk


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``convert`` to the subcommands of ``bpnet features``.

    Args:
        commands: The subcommands.
    """
    text = "features of any published layout -> our own feature file; goes on where it stopped"
    add = commands.add_parser("convert", help=text, description=text)
    add_source_options(add)
    add.add_argument("out", help="feature file to write; must not be there yet")

    times = add.add_argument_group("how long the videos are, where the source does not say")
    times.add_argument(
        "--durations", metavar="FILE", help="json {id: seconds}, or csv with columns id and length"
    )
    times.add_argument("--annotations", metavar="PATH", help="folder or file of the dataset")
    times.add_argument(
        "--dataset",
        default="jsonl",
        metavar="NAME",
        help=f"how to read the annotations (jsonl): {', '.join(DATASETS)}",
    )

    stored = add.add_argument_group("what is stored")
    stored.add_argument("--dtype", default="float32", choices=("float32", "float16"))
    stored.add_argument("--max-clips", type=int, metavar="N", help="pool longer videos to N clips")
    stored.add_argument(
        "--faulty",
        default="error",
        choices=("error", "drop"),
        help="faulty videos: end with an error that names them, or leave them out (error)",
    )
    add.add_argument(
        "--jobs", type=int, default=min(os.cpu_count() or 1, _MAX_JOBS), help="processes"
    )
    add.set_defaults(run=_convert)


def _convert(args: argparse.Namespace) -> None:
    from bpnet_features.convert import convert

    logging.basicConfig(format="%(message)s")  # of warnings
    source = open_source(args)
    for note in source.notes:
        print(note)
    durations = _durations(args)
    if durations:
        known = sum(video_id in durations for video_id in source.video_ids())
        print(f"lengths of {known} of {len(source)} videos given")
    try:
        done = convert(
            source,
            args.out,
            dtype=args.dtype,
            max_clips=args.max_clips,
            durations=durations,
            faulty=args.faulty,
            jobs=args.jobs,
            progress=True,
        )
    except KeyboardInterrupt:
        print("interrupted; what is done is kept, the same command goes on")
        raise SystemExit(130) from None
    print("\n".join(_lines(done)))


def _durations(args: argparse.Namespace) -> dict[str, float]:
    """Lengths of videos; those of the file count before those of the annotations."""
    from bpnet_features.durations import read_durations

    durations: dict[str, float] = {}
    if args.annotations is not None:
        from bpnet.data.annotations import read_annotations
        from bpnet.data.inspection import found_parts
        from bpnet.errors import AnnotationError

        for split in found_parts(args.dataset, args.annotations)[0]:
            try:
                annotations = read_annotations(args.dataset, args.annotations, split)[0]
            except AnnotationError as err:
                print(f"part {split} is left out: {err}")
                continue
            for annotation in annotations:
                durations.setdefault(annotation.video_id, annotation.duration_seconds)
    if args.durations is not None:
        durations |= read_durations(args.durations)
    return durations


def _lines(done: Converted) -> list[str]:
    """What was done, as lines of text."""
    written = done.num_bytes - done.num_bytes_before
    lines = [
        f"{done.num_videos} videos, {done.num_clips} clips, {done.num_bytes / 1e6:.1f} MB in "
        f"{done.path}; {written / 1e6:.1f} MB written in {done.seconds:.1f} s "
        f"({written / 1e6 / max(done.seconds, 1e-9):.0f} MB/s)"
    ]
    if done.num_bytes_before:
        lines.append(f"{done.num_bytes_before / 1e6:.1f} MB were there from an interrupted run")
    if done.num_unknown_durations:
        lines.append(
            f"{done.num_unknown_durations} videos of unknown length: annotations will say it, or "
            "give --durations or --annotations"
        )
    if done.dropped:
        lines.append(f"{len(done.dropped)} faulty videos dropped:")
        lines += [f"  {line}" for line in done.dropped]
    return lines
