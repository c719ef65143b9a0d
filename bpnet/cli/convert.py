"""`bpnet features convert`: features of any layout -> our own store."""

from __future__ import annotations

import argparse
import json
import logging
import os
from typing import TYPE_CHECKING, Any

from bpnet.config import DATASETS
from bpnet.errors import FeatureError

if TYPE_CHECKING:
    from bpnet_features.convert import Converted

_TEXTS = ("backbone", "layer", "normalisation")  # fields of the feature spec that are no numbers
_MAX_JOBS = 4  # more of them wait for the disk


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``convert`` to the subcommands of ``bpnet features``.

    Args:
        commands: The subcommands.
    """
    text = "features of any published layout -> our own feature file; goes on where it stopped"
    add = commands.add_parser("convert", help=text, description=text)
    add.add_argument("source", help="file or folder, as its authors publish it")
    add.add_argument("out", help="feature file to write; must not be there yet")
    add.add_argument(
        "--layout", default="auto", metavar="NAME", help="layout or release (auto: look inside)"
    )
    add.add_argument(
        "--streams", metavar="A,B", help="files or folders below SOURCE, joined in this order"
    )
    add.add_argument(
        "--normalise",
        default="none",
        choices=("none", "l2"),
        help="what is done to each clip of each stream before they are joined (none)",
    )

    spec = add.add_argument_group("how the features were made, where neither file nor release says")
    spec.add_argument("--backbone", metavar="NAME", help="extractor, such as i3d")
    spec.add_argument("--seconds-per-clip", type=float, metavar="S", help="time base")
    spec.add_argument(
        "--spec",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="other entries of the feature spec, such as fps=24 layer=fc6",
    )

    times = add.add_argument_group("how long the videos are, where the source does not say")
    times.add_argument(
        "--durations", metavar="FILE", help="json {id: seconds}, or csv with columns id and length"
    )
    times.add_argument("--annotations", metavar="PATH", help="folder or file of the dataset")
    times.add_argument(
        "--dataset",
        choices=DATASETS,
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
    from bpnet_features import open_features
    from bpnet_features.convert import convert

    logging.basicConfig(format="%(message)s")
    logging.getLogger(convert.__module__).setLevel(logging.INFO)
    source = open_features(
        args.source,
        layout=args.layout,
        streams=args.streams.split(",") if args.streams else (),
        normalise=args.normalise,
        spec=_spec(args) or None,
    )
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


def _spec(args: argparse.Namespace) -> dict[str, Any]:
    """The entries of the feature spec that stand on the command line."""
    spec: dict[str, Any] = {}
    for item in args.spec:
        key, mark, text = item.partition("=")
        if not (key and mark and text):
            raise FeatureError(f"--spec {item!r}: expected KEY=VALUE, such as fps=24")
        spec[key] = _value(key, text)
    if args.backbone is not None:
        spec["backbone"] = args.backbone
    if args.seconds_per_clip is not None:
        spec["seconds_per_clip"] = args.seconds_per_clip
    return spec


def _value(key: str, text: str) -> Any:
    if key in _TEXTS:
        return text
    if key == "streams":
        return tuple(text.split(","))
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise FeatureError(f"--spec {key}={text!r}: expected a number")
    return value


def _durations(args: argparse.Namespace) -> dict[str, float]:
    """Lengths of videos; those of the file count before those of the annotations."""
    from bpnet_features.durations import read_durations

    durations: dict[str, float] = {}
    if args.annotations is not None:
        from bpnet.data.annotations import read_annotations
        from bpnet.data.inspection import found_parts

        for split in found_parts(args.dataset, args.annotations)[0]:
            for annotation in read_annotations(args.dataset, args.annotations, split)[0]:
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
    if done.num_unknown_durations:
        lines.append(
            f"{done.num_unknown_durations} videos of unknown length: annotations will say it, or "
            "give --durations or --annotations"
        )
    if done.dropped:
        lines.append(f"{len(done.dropped)} faulty videos dropped:")
        lines += [f"  {line}" for line in done.dropped]
    return lines
