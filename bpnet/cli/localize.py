"""`bpnet localize`: sentences about one video -> moments, as text or JSON."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from bpnet.errors import CheckpointError, ConfigError, FeatureError


def main(arguments: list[str]) -> None:
    """Find sentences in a video; see ``bpnet localize --help``."""
    parser = argparse.ArgumentParser(
        prog="bpnet localize", description="Find the moments of a video that sentences describe."
    )
    parser.add_argument("video", help="id of a video of --features; without it, a video file")
    parser.add_argument("queries", nargs="+", metavar="sentence")
    parser.add_argument("--checkpoint", required=True, help="checkpoint file, or run folder")
    parser.add_argument("--features", help="features that hold the video, of any layout")
    parser.add_argument("--duration", type=float, help="seconds, for features that do not say")
    parser.add_argument("--top", type=int, default=5, help="moments a sentence (5)")
    parser.add_argument("--json", action="store_true", help="print lists of moments as JSON")
    parser.add_argument("--report", metavar="FILE.html", help="also draw the answers")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    args = parser.parse_args(arguments)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    if not Path(args.checkpoint).exists():  # seen before the heavy imports
        raise CheckpointError(f"checkpoint {args.checkpoint!r}: no such file or folder")
    if args.features is not None and not Path(args.features).exists():
        raise FeatureError(f"features {args.features!r}: no such file or folder")
    if args.features is None and not Path(args.video).is_file():
        raise FeatureError(
            f"video {args.video!r}: no such file; for the id of a video in a feature store give "
            "--features"
        )
    if args.top < 1:
        raise ConfigError(f"top={args.top}: expected an integer >= 1")

    from bpnet.inference.localizer import Localizer

    localizer = Localizer.from_pretrained(args.checkpoint, args.device)
    if args.features is None:
        video = localizer.open_video(args.video)
    else:
        video = localizer.open_video(args.features, args.video, duration_seconds=args.duration)
    predictions = video.predict(args.queries)
    answers = [prediction.moments[: args.top] for prediction in predictions]
    if args.json:
        print(json.dumps([[moment.to_dict() for moment in moments] for moments in answers]))
    else:
        for query, moments in zip(args.queries, answers, strict=True):
            print(query)
            for moment in moments:
                times = f"{moment.start_seconds:8.2f} s to {moment.end_seconds:8.2f} s"
                print(f"  {times}   score {moment.score:.3f}")
    if args.report is not None:
        from bpnet.report import answer_of, write_report

        file = Path(args.video) if args.features is None else None
        drawn = [
            answer_of(prediction, query, Path(args.video).stem, video.duration_seconds, file)
            for prediction, query in zip(predictions, args.queries, strict=True)
        ]
        write_report(args.report, drawn, title=f"Moments of {Path(args.video).name}", metrics=None)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
