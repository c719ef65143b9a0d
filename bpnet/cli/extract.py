"""`bpnet features extract`: video files -> feature file."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bpnet.errors import FeatureError
from bpnet_features.backbones.backbone import Extraction
from bpnet_features.backbones.choose import NAMES
from bpnet_features.video import video_files as videos_in


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``extract`` to the commands of `bpnet features`."""
    add = commands.add_parser(
        "extract",
        help="video files -> feature file",
        description="Extract clip features; interrupted, the same command goes on. Exit status: 0 "
        "all videos were extracted, 1 some could not be read, 2 nothing was written.",
    )
    add.add_argument("videos", nargs="*", help="video files, or folders of them")
    add.add_argument("out", help="feature file to write")
    add.add_argument("--list", metavar="FILE", help="more videos, a path a line")
    add.add_argument("--jobs", type=int, help="processes (grid: one a core; others: 1)")
    add_extraction_options(add)
    add.set_defaults(run=run)


def add_extraction_options(add: argparse.ArgumentParser) -> None:
    """Add what is to be extracted to a command; see `extraction_of`."""
    add.add_argument("--backbone", default="grid", metavar="NAME", help=", ".join(NAMES))
    add.add_argument("--weights", help="its weights: file, folder, or name on the hub")
    add.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    add.add_argument("--batch-size", type=int, help="clips computed at once; changes no number")
    add.add_argument("--dtype", default="float32", help="as stored: float32, float16")
    what = add.add_argument_group("what a clip is", "without them, the backbone's own")
    what.add_argument("--fps", type=float, help="frames a second that are looked at")
    what.add_argument("--clip-length", type=int, metavar="FRAMES", help="frames a clip sees")
    what.add_argument("--clip-stride", type=int, metavar="FRAMES", help="frames from clip to clip")
    what.add_argument("--picture", help="such as 'short side 256, centre 224, bilinear'")
    what.add_argument("--normalise", metavar="HOW", help="none, l2: of each vector")


def extraction_of(args: argparse.Namespace) -> Extraction:
    """What a command line says is to be extracted."""
    return Extraction(
        args.backbone,
        args.weights,
        args.device,
        fps=args.fps,
        clip_length_frames=args.clip_length,
        clip_stride_frames=args.clip_stride,
        picture=args.picture,
        normalisation=args.normalise,
        batch_size=args.batch_size,
    )


def run(args: argparse.Namespace) -> None:
    """Extract what the command line says."""
    from bpnet_features.extract_many import extract_videos

    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO)
    files = video_files(args.videos, args.list)
    jobs = args.jobs
    if jobs is None:
        jobs = (os.cpu_count() or 1) if args.backbone == "grid" else 1
    summary = extract_videos(files, args.out, extraction_of(args), jobs=jobs, dtype=args.dtype)
    for path, number in summary.corrupt.items():
        print(f"{path}: {number} corrupt frames were skipped", file=sys.stderr)
    for line in summary.failures:
        print(line, file=sys.stderr)
    resumed = f", {summary.num_resumed} of them done before" if summary.num_resumed else ""
    print(f"{summary.num_written} videos written to {args.out}{resumed}")
    if summary.failures:
        print(f"{len(summary.failures)} videos could not be extracted", file=sys.stderr)
        raise SystemExit(1)


def video_files(paths: Sequence[str], list_file: str | None = None) -> list[Path]:
    """The files among some paths, the video files in the folders among them, those of a list.

    Args:
        paths: Files and folders; folders below a folder are not searched.
        list_file: A text file with a path of a video a line.

    Returns:
        The files.

    Raises:
        FeatureError: A folder has no videos, or the list is missing or no text.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            files.append(path)
            continue
        inside = [file for file in path.iterdir() if file.is_file()]
        videos = videos_in(path)
        if not videos:
            raise FeatureError(
                f"folder {str(path)!r}: no video files in it ({len(inside)} others; folders below "
                "it are not searched); give the folder that they are in"
            )
        if len(videos) < len(inside):
            print(f"{path}: {len(inside) - len(videos)} files that are no videos are left out")
        files += videos
    if list_file is not None:
        if not Path(list_file).is_file():
            raise FeatureError(f"--list {list_file!r}: no such file")
        try:
            lines = Path(list_file).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as err:
            raise FeatureError(f"--list {list_file!r}: not a text file in UTF-8") from err
        files += [Path(line) for line in lines if line.strip()]
    return files
