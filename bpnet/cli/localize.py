"""`bpnet localize`: sentences about one video -> moments, as a table, JSON, clips or subtitles."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bpnet.cli.paths import must_exist
from bpnet.errors import AnnotationError, CheckpointError, ConfigError, FeatureError

if TYPE_CHECKING:
    from bpnet.inference.localizer import Localizer
    from bpnet.report import ReportAnswer
    from bpnet.types import Moment

NOTHING_FOUND = 1  # exit status, as grep's


def main(arguments: list[str]) -> None:
    """Find sentences in a video; see ``bpnet localize --help``."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    if args.library is not None and args.video is not None:  # no video: it is the first sentence
        args.queries.insert(0, args.video)
        args.video = None
    _check(args)
    queries = [*args.queries, *_listed(args.list)]
    if not queries:
        raise AnnotationError("no sentence: give some behind the video, or --list FILE")
    if args.plot is not None:
        from bpnet.report.plot import check_count

        check_count(len(queries))

    from bpnet.cli.library import ask_library
    from bpnet.inference.localizer import Localizer

    localizer = Localizer.from_pretrained(args.checkpoint, args.device, args.weights)
    min_score = _min_score(args.min_score, localizer.least_score)
    ask = _ask_video if args.library is None else ask_library
    if not ask(args, queries, localizer, min_score):
        sys.exit(NOTHING_FOUND)


def _ask_video(
    args: argparse.Namespace, queries: Sequence[str], localizer: Localizer, min_score: float
) -> bool:
    """Answer sentences about one video, print and write the answers; says whether there are any."""
    from bpnet.cli.bars import progress_bar

    image_model = None
    if args.boxes is not None:  # a damaged one is told before any work
        from bpnet.images.model import ImageModel

        image_model = ImageModel.load(args.image_model)
    if args.features is None:
        with progress_bar("extract", "s of video") as told:
            video = localizer.open_video(args.video, progress=told)
    else:
        video = localizer.open_video(args.features, args.video, duration_seconds=args.duration)
    drawn: list[ReportAnswer] = []
    if args.report is None and args.plot is None:
        with progress_bar("answer", "sentences") as told:
            answers = video.localize(queries, args.top, min_score, told)
    else:  # which draw more than the moments
        drawn = video.draw(queries, args.top, min_score)
        answers = [list(one.moments) for one in drawn]
    if args.json:
        print(json.dumps([[moment.to_dict() for moment in moments] for moments in answers]))
    else:
        from rich.console import Console

        from bpnet.report.terminal import print_answers

        print_answers(queries, answers, video.duration_seconds, Console(highlight=False))
    if image_model is not None:
        from bpnet.images.frames import write_answer_boxes

        write_answer_boxes(args.video, queries, answers, image_model, args.boxes)
    _write(args, queries, answers, drawn)
    return any(answers)


def _write(
    args: argparse.Namespace,
    queries: Sequence[str],
    answers: Sequence[Sequence[Moment]],
    drawn: list[ReportAnswer],
) -> None:
    """Write the answers about one video into the files that were asked for."""
    if args.clips is not None:
        from bpnet.report.clips import cut_moments

        cut_moments(Path(args.video), queries, answers, Path(args.clips))
    if args.srt is not None:
        from bpnet.report.srt import subtitles
        from bpnet_features.atomic import write_text_atomically

        write_text_atomically(Path(args.srt), subtitles(queries, answers))
    if args.report is not None:
        from bpnet.report import write_report

        title = f"Moments of {Path(args.video).name}"
        write_report(args.report, drawn, title=title, embed=args.embed)
    if args.plot is not None:
        from bpnet.report.plot import write_plot

        write_plot(args.plot, drawn)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bpnet localize",
        description="Find the moments of a video that sentences describe.",
        epilog="Exit status: 0 if a moment was found, 1 if none has --min-score, 2 on errors.",
    )
    parser.add_argument(
        "video",
        nargs="?",
        help="id of a video of --features; without it, a video file; none with --library",
    )
    parser.add_argument("queries", nargs="*", metavar="sentence")
    parser.add_argument("--checkpoint", required=True, help="checkpoint file, or run folder")
    parser.add_argument(
        "--list", metavar="FILE", help="more sentences, one a line; - for standard input"
    )
    parser.add_argument("--features", help="features that hold the video, of any layout")
    parser.add_argument("--weights", help="weights of the extractor, for a video file")
    parser.add_argument("--duration", type=float, help="seconds, for features that do not say")
    parser.add_argument(
        "--library", metavar="PATH", help="ask all videos of these features, or of this folder"
    )
    parser.add_argument(
        "--cache", metavar="DIR", help="keeps what is computed of a library (the user's cache)"
    )
    parser.add_argument("--top", type=int, default=5, help="moments a sentence (5)")
    parser.add_argument(
        "--min-score",
        default="0",
        metavar="SCORE",
        help="leave out moments below; `auto`: what validation says is not in the video (0)",
    )
    parser.add_argument("--json", action="store_true", help="print lists of moments as JSON")
    parser.add_argument("--clips", metavar="DIR", help="cut the moments out of the video file")
    parser.add_argument(
        "--boxes",
        metavar="DIR",
        help="where in the frames of the best moments: needs --image-model",
    )
    parser.add_argument("--image-model", metavar="FILE", help="of `bpnet images train`")
    parser.add_argument("--srt", metavar="FILE.srt", help="write the moments as subtitles")
    parser.add_argument(
        "--report", metavar="FILE.html", help="write a page that shows and plays the moments"
    )
    parser.add_argument(
        "--embed", action="store_true", help="put the video into the report, if it has up to 20 MB"
    )
    parser.add_argument(
        "--plot", metavar="FILE", help="draw the answers: .png, .svg or .pdf (extra `plots`)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    return parser


def _check(args: argparse.Namespace) -> None:
    """Everything that can be refused before the heavy imports."""
    must_exist("checkpoint", args.checkpoint, CheckpointError)
    if args.features is not None:
        must_exist("features", args.features, FeatureError)
    if args.library is not None:
        must_exist("library", args.library, FeatureError)
        alone = ("features", "duration", "clips", "srt", "report", "plot")
        given = [f"--{name}" for name in alone if getattr(args, name) is not None]
        if given:
            raise ConfigError(f"{given[0]} with --library: expected one video; it is for one alone")
    elif args.video is None:
        raise FeatureError("no video: give a file, an id with --features, or --library")
    elif args.features is None and not Path(args.video).is_file():
        raise FeatureError(
            f"video {args.video!r}: no such file; for the id of a video in a feature store give "
            "--features"
        )
    if args.top < 1:
        raise ConfigError(f"top={args.top}: expected an integer >= 1")
    if args.clips is not None and args.features is not None:
        raise ConfigError("--clips with --features: expected a video file, to cut moments out of")
    if args.embed and (args.report is None or args.features is not None):
        raise ConfigError("--embed: expected a video file and --report FILE.html, to put it into")
    if args.plot is not None:
        from bpnet.report.figure_file import check_matplotlib, check_suffix

        check_suffix(args.plot)
        check_matplotlib()
    if (args.boxes is None) != (args.image_model is None):
        raise ConfigError("--boxes and --image-model: expected both, or none")
    if args.boxes is not None and (args.features is not None or args.library is not None):
        raise ConfigError("--boxes: expected a video file, to look at its frames")
    if args.image_model is not None and not Path(args.image_model).is_file():
        raise CheckpointError(f"--image-model {args.image_model!r}: no such file")


def _listed(source: str | None) -> list[str]:
    """The sentences of a file, or of standard input; empty lines are none."""
    if source is None:
        return []
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise AnnotationError(f"--list {source!r}: cannot be read as UTF-8 text ({err})") from err
    return [line.strip() for line in text.splitlines() if line.strip()]


def _min_score(asked: str, fitted: float | None) -> float:
    if asked == "auto":
        if fitted is None:
            raise ConfigError(
                "--min-score auto: the checkpoint has no fitted score; train with "
                "trainer.calibrate=true and a validation part, or give a number"
            )
        return fitted
    try:
        return float(asked)
    except ValueError as err:
        raise ConfigError(f"--min-score {asked!r}: expected a number, or auto") from err


if __name__ == "__main__":
    main(sys.argv[1:])
