"""`bpnet features`: look into feature files, make them, and render the built-in sample."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from bpnet.config import DATASETS
from bpnet.errors import FeatureError

# What counts as a video in a folder; a file that is named itself is always taken for one.
VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .ts .webm .wmv".split()
)


def main(arguments: list[str]) -> None:
    """Run ``bpnet features inspect|check|extract|sample``; see ``--help``."""
    parser = argparse.ArgumentParser(prog="bpnet features", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("inspect", help="say what a feature file holds")
    add.add_argument("file")
    _add_spec_options(add)
    add.set_defaults(run=_inspect)

    add = commands.add_parser("check", help="does a feature file cover an annotation file?")
    add.add_argument("file")
    add.add_argument("--annotations", required=True, help="folder or file of the dataset")
    add.add_argument(
        "--dataset",
        default="jsonl",
        choices=DATASETS,
        help="how to read the annotations (jsonl)",
    )
    add.add_argument("--split", action="append", help="part to check; again for more (all found)")
    _add_spec_options(add)
    add.set_defaults(run=_check)

    add = commands.add_parser("extract", help="video files -> feature file, backbone `grid`")
    add.add_argument("videos", nargs="+", help="video files, or folders of them")
    add.add_argument("out", help="feature file to write")
    add.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    add.set_defaults(run=_extract)

    add = commands.add_parser("sample", help="render the built-in sample and extract its features")
    add.add_argument("dir", help="folder to write to")
    add.add_argument("--videos", type=int, help="number of videos")
    add.add_argument("--seed", type=int, default=0)
    add.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    add.set_defaults(run=_sample)

    args = parser.parse_args(arguments)
    args.run(args)


def _add_spec_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backbone", help="for a plain file: how its features were made")
    parser.add_argument("--feature-dim", type=int, help="for a plain file: their width")


def _store(args: argparse.Namespace):  # type: ignore[no-untyped-def]  # h5py is imported late
    from bpnet_features import FeatureSpec, FeatureStore

    spec = None
    if args.feature_dim is not None:
        spec = FeatureSpec(args.backbone or "unknown", args.feature_dim)
    try:
        return FeatureStore(args.file, spec)
    except FeatureError as err:
        if "carries no feature spec" in str(err):
            raise FeatureError(
                f"feature file {args.file!r} carries no feature spec: give --feature-dim (and "
                "--backbone)"
            ) from err
        raise


def _inspect(args: argparse.Namespace) -> None:
    from bpnet_features.check import inspect

    print("\n".join(inspect(_store(args)).lines()))


def _check(args: argparse.Namespace) -> None:
    from bpnet.data.annotations import read_annotations
    from bpnet.errors import AnnotationError
    from bpnet_features.check import check

    store = _store(args)
    wanted: dict[str, float | None] = {}
    found = []
    for split in args.split or ("train", "val", "val_1", "val_2", "test"):
        try:
            annotations, report = read_annotations(args.dataset, args.annotations, split)
        except AnnotationError:
            if args.split:
                raise
            continue  # without --split, parts that the dataset lacks are not asked for
        found.append(split)
        print(report.summary())
        wanted |= {a.video_id: a.duration_seconds for a in annotations}
    if not found:
        read_annotations(args.dataset, args.annotations, "train")  # raises
    coverage = check(store, wanted)
    print("\n".join(coverage.lines()))
    if not coverage.ok:
        raise SystemExit(1)


def _extract(args: argparse.Namespace) -> None:
    from bpnet_features.extract import extract_videos

    files: list[Path] = []
    for path in map(Path, args.videos):
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(file for file in path.iterdir() if file.is_file())
        videos = [file for file in inside if file.suffix.lower() in VIDEO_SUFFIXES]
        if len(videos) < len(inside):
            print(f"{path}: {len(inside) - len(videos)} files that are no videos are left out")
        files += videos
    extract_videos(files, args.out, jobs=args.jobs)
    print(f"{len(files)} videos written to {args.out}")


def _sample(args: argparse.Namespace) -> None:
    from bpnet_features.extract import extract_videos
    from bpnet_features.sample import NUM_VIDEOS, render_sample

    root = Path(args.dir)
    number = NUM_VIDEOS if args.videos is None else args.videos
    videos = render_sample(root, number, args.seed, args.jobs)
    extract_videos(videos, root / "features.h5", jobs=args.jobs)
    print(f"{len(videos)} videos, their sentences and features written to {root}")
    print(f"train on them with: bpnet train data=sample data.root={root}")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
