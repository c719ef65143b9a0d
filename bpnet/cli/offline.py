"""`bpnet offline`: extraction and localization over very many videos, by processes of Ray."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Hashable
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpnet.cli.extract import add_extraction_options, extraction_of, video_files
from bpnet.cli.paths import must_exist
from bpnet.errors import CheckpointError, ConfigError, FeatureError

if TYPE_CHECKING:
    from bpnet.offline.run import Resources

_EPILOG = """\
The folder --out gets a file for each shard, whole or not at all. The same line goes on where a job
was cut off. A video or query that fails stands there with its error; the exit status is then 1.

For example:

  bpnet offline extract videos/ --out features.parts
  bpnet features join features.parts features.h5
  bpnet offline localize runs/demo/train --features features.h5 --queries asked.jsonl --out answers
"""


def main(arguments: list[str]) -> None:
    """Run a job; see ``bpnet offline --help``."""
    args = _parser().parse_args(arguments)
    for name in ("shard_size", "top", "processes"):
        value = getattr(args, name, None)
        if value is not None and value < 1:
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} {value}: expected an integer >= 1")
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)

    from bpnet.offline.run import Resources, need_ray

    need_ray()
    args.run(args, Resources(args.processes, args.gpus, args.address))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bpnet offline",
        description="Work over very many videos, on this machine or on a Ray cluster.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = commands.add_parser("extract", help="video files -> a folder of stores")
    add.add_argument("videos", nargs="*", help="video files, or folders of them")
    add.add_argument("--list", metavar="FILE", help="a file with the path of a video a line")
    _add_job(add, 100, "videos")
    add_extraction_options(add)
    add.set_defaults(run=_extract)
    add = commands.add_parser("localize", help="sentences about many videos -> answers as JSONL")
    add.add_argument("checkpoint", help="checkpoint file, or run folder")
    add.add_argument("--features", required=True, help="features of any layout")
    add.add_argument(
        "--queries", required=True, metavar="FILE", help='JSONL: {"video_id": ..., "query": ...}'
    )
    add.add_argument("--top", type=int, default=5, help="moments a sentence (5)")
    add.add_argument("--device", default="auto", help="auto, cpu, cuda")
    _add_job(add, 1000, "queries")
    add.set_defaults(run=_localize)
    return parser


def _add_job(add: argparse.ArgumentParser, size: int, items: str) -> None:
    add.add_argument("--out", required=True, metavar="DIR", help="folder for the shards")
    add.add_argument("--shard-size", type=int, default=size, help=f"{items} a shard ({size})")
    add.add_argument("--processes", type=int, help="at most so many (one a core or GPU)")
    add.add_argument("--gpus", type=float, default=0.0, help="GPUs a process, may be a share (0)")
    add.add_argument("--address", help="of a Ray cluster, such as auto; this machine without it")


def _extract(args: argparse.Namespace, resources: Resources) -> None:
    from bpnet.offline.workers import STORE, ExtractShard
    from bpnet_features.backbones.choose import load_backbone
    from bpnet_features.extract_many import check_stems
    from bpnet_features.header import check_dtype

    files = video_files(args.videos, args.list)
    if not files:
        raise FeatureError(f"no videos to extract for --out {args.out!r}: give at least one file")
    check_stems(files)
    check_dtype(args.dtype)
    paths = [str(file.resolve()) for file in files]
    extraction = extraction_of(args)
    if extraction.weights is not None and Path(extraction.weights).exists():
        weights = str(Path(extraction.weights).resolve())  # other processes stand in other folders
        extraction = dataclasses.replace(extraction, weights=weights)
    # What is wrong with it is told now; the machine that starts a job need not have its GPUs.
    spec = load_backbone(dataclasses.replace(extraction, device="cpu")).spec.to_json()
    arguments = {
        "extraction": dataclasses.asdict(extraction),
        "spec": spec,
        "folder": str(Path(args.out).resolve()),
        "dtype": args.dtype,
    }
    job = {"kind": "extract", "spec": spec, "dtype": args.dtype}
    _do(args, resources, job, paths, str, STORE, ExtractShard, arguments)


def _localize(args: argparse.Namespace, resources: Resources) -> None:
    must_exist("checkpoint", args.checkpoint, CheckpointError)
    must_exist("features", args.features, FeatureError)

    from bpnet.offline.queries import read_queries
    from bpnet.offline.workers import ANSWERS, LocalizeShard

    queries = [vars(query) for query in read_queries(Path(args.queries))]
    arguments = {
        "checkpoint": str(Path(args.checkpoint).resolve()),
        "features": str(Path(args.features).resolve()),
        "folder": str(Path(args.out).resolve()),
        "device": args.device,
        "top": args.top,
    }
    decides = ("checkpoint", "features", "top")
    job = {"kind": "localize", **{name: arguments[name] for name in decides}}
    _do(args, resources, job, queries, itemgetter("video_id"), ANSWERS, LocalizeShard, arguments)


def _do(
    args: argparse.Namespace,
    resources: Resources,
    job: dict[str, Any],
    items: list[Any],
    key: Callable[[Any], Hashable],
    suffix: str,
    worker: type,
    arguments: dict[str, Any],
) -> None:
    """Do the shards that are left, and tell what was done."""
    from tqdm import tqdm

    from bpnet.offline.run import run_shards
    from bpnet.offline.shards import begin, cut, digest, left, num_rows
    from bpnet.offline.workers import CORRUPT, FAILED

    out = Path(args.out)
    job |= {"shard_size": args.shard_size, "num_items": len(items), "items": digest(items)}
    begin(out, job)
    shards = cut(items, args.shard_size, key)
    numbers = left(out, len(shards), suffix)
    if numbers:
        total = sum(len(shards[number]) for number in numbers)
        with tqdm(total=total, desc=job["kind"], unit="item", disable=None) as bar:
            for row in run_shards(shards, numbers, worker, arguments, resources):
                bar.update(row["items"])
    counts = {"shards": len(shards), "done_before": len(shards) - len(numbers)}
    failed, corrupt = num_rows(out, FAILED), num_rows(out, CORRUPT)
    print(json.dumps({"out": str(out), "items": len(items), **counts, "failed": failed}))
    if corrupt:
        print(
            f"{corrupt} videos have corrupt frames, which were skipped: see {out}/*{CORRUPT}",
            file=sys.stderr,
        )
    if failed:
        print(f"{failed} failed: see {out}/*{FAILED}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
