"""`bpnet features`: look into feature files, make them, and render the built-in sample."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from bpnet.cli import convert, extract
from bpnet.cli.source_options import add_source_options, open_source
from bpnet.config import DATASETS


def main(arguments: list[str]) -> None:
    """Run ``bpnet features inspect|check|convert|extract|sample``; see ``--help``."""
    parser = argparse.ArgumentParser(prog="bpnet features", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser(
        "inspect", help="say what a feature file holds, or which features a checkpoint reads"
    )
    add_source_options(add)
    add.set_defaults(run=_inspect)

    add = commands.add_parser("check", help="does a feature file cover an annotation file?")
    add_source_options(add)
    add.add_argument("--annotations", required=True, help="folder or file of the dataset")
    add.add_argument(
        "--dataset",
        default="jsonl",
        metavar="NAME",
        help=f"how to read the annotations (jsonl): {', '.join(DATASETS)}",
    )
    add.add_argument("--split", action="append", help="part to check; again for more (all found)")
    add.set_defaults(run=_check)

    convert.add_parser(commands)

    extract.add_parser(commands)

    add = commands.add_parser("join", help="several stores of the same kind -> one")
    add.add_argument("stores", nargs="+", help="stores, or folders of them")
    add.add_argument("out", help="feature file to write")
    add.set_defaults(run=_join)

    add = commands.add_parser("sample", help="render the built-in sample and extract its features")
    add.add_argument("dir", help="folder to write to")
    add.add_argument("--videos", type=int, help="number of videos")
    add.add_argument("--seed", type=int, default=0)
    add.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    add.add_argument(
        "--confounder",
        nargs="*",
        metavar="KNOB=VALUE",
        help="make features with a planted confounder instead, such as rho=0.9 (docs/weak.md)",
    )
    add.add_argument(
        "--render", action="store_true", help="with --confounder: render videos with it"
    )
    add.set_defaults(run=_sample)

    args = parser.parse_args(arguments)
    args.run(args)


def _inspect(args: argparse.Namespace) -> None:
    path = Path(args.source)
    if path.suffix == ".safetensors" or any(path.glob("*.safetensors")):
        from bpnet.checkpoint import Checkpoint

        checkpoint = Checkpoint.load(path)
        print(f"{path}: a checkpoint; it reads features of this spec")
        print(checkpoint.feature_spec.line())
        if checkpoint.query_spec is not None:
            print(f"and, in place of words, token features\n{checkpoint.query_spec.line()}")
        return

    from bpnet_features.check import inspect

    print("\n".join(inspect(open_source(args, to_look=True)).lines()))


def _check(args: argparse.Namespace) -> None:
    from bpnet.data.annotations import read_annotations
    from bpnet.data.inspection import found_parts
    from bpnet.errors import AnnotationError
    from bpnet_features.check import check

    source = open_source(args, to_look=True)
    wanted: dict[str, float | None] = {}
    for split in args.split or found_parts(args.dataset, args.annotations)[0]:
        try:
            annotations, report = read_annotations(args.dataset, args.annotations, split)
        except AnnotationError as err:
            if args.split:
                raise
            print(f"part {split} is left out: {err}")
            continue
        print(report.summary())
        wanted |= {a.video_id: a.duration_seconds for a in annotations}
    coverage = check(source, wanted)
    print("\n".join([*source.notes, *coverage.lines()]))
    if not coverage.ok:
        raise SystemExit(1)


def _join(args: argparse.Namespace) -> None:
    from bpnet_features.join import join_stores

    count = join_stores(args.stores, args.out)
    print(f"{count} videos written to {args.out}")


def _sample(args: argparse.Namespace) -> None:
    from bpnet.errors import ConfigError
    from bpnet_features.extract_many import extract_videos
    from bpnet_features.sample import NUM_VIDEOS, render_sample

    root = Path(args.dir)
    if args.confounder is not None:
        _confounder(args, root)
        return
    if args.render:
        raise ConfigError("--render: expected --confounder beside it; the sample is rendered")
    number = NUM_VIDEOS if args.videos is None else args.videos
    videos = render_sample(root, number, args.seed, args.jobs)
    extract_videos(videos, root / "features.h5", jobs=args.jobs)
    print(f"{len(videos)} videos, their sentences and features written to {root}")
    print(f"train on them with: bpnet train data=sample data.root={root}")


def _confounder(args: argparse.Namespace, root: Path) -> None:
    from bpnet.errors import ConfigError
    from bpnet_features.confounded_videos import RENDERED, render_confounded
    from bpnet_features.confounder_files import write_confounded
    from bpnet_features.confounder_knobs import Confounder
    from bpnet_features.extract_many import extract_videos

    if args.videos is not None:
        raise ConfigError(
            f"--videos {args.videos} with --confounder: expected the knobs num_train, num_val and "
            "num_test"
        )
    given = dict(one.partition("=")[::2] for one in args.confounder)
    knobs = Confounder.from_texts(given, RENDERED if args.render else {})
    if args.render:
        videos = render_confounded(root, knobs, args.seed, args.jobs)
        extract_videos(videos, root / "features.h5", jobs=args.jobs)
        number = len(videos)
    else:
        number = write_confounded(root, knobs, args.seed)
    print(f"{number} videos with a planted confounder written to {root} (docs/weak.md)")
    print(f"where the contexts are: {root / 'contexts.jsonl'}")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
