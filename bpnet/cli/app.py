"""`bpnet app`: the web page over a checkpoint, or over a model that was trained on the sample."""

from __future__ import annotations

import argparse
import importlib.util
import logging
from pathlib import Path

from bpnet.cli.paths import must_exist
from bpnet.errors import CheckpointError, ConfigError
from bpnet_features.video import video_files

EXTRA = ("gradio", "av", "PIL")


def main(arguments: list[str]) -> None:
    """Serve the page; see ``bpnet app --help``."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    _check(args)

    from bpnet.app.limits import Limits

    limits = Limits(args.max_megabytes, args.max_minutes, args.max_sentences)
    library = {} if args.videos is None else _videos(Path(args.videos))
    note, examples, checkpoint = "", {}, args.checkpoint
    if checkpoint is None:
        from bpnet.cli import sample_model

        model = sample_model.find_or_train()
        checkpoint, note = model.checkpoint, sample_model.NOTE
        if args.videos is None:
            examples = sample_model.examples(model.sample)
            library = {name: model.sample / "videos" / name for name in examples}

    from bpnet.app.server import serve
    from bpnet.inference.localizer import Localizer

    serve(
        Localizer.from_pretrained(checkpoint, args.device, args.weights),
        host=args.host,
        port=args.port,
        limits=limits,
        library=library,
        note=note,
        examples=examples,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bpnet app",
        description="A web page: drop a video, type sentences, play the moments.",
        epilog="Without --checkpoint, the page runs on a model that was trained on the built-in "
        "sample of rendered shapes: runs/demo/train if it is there, else one that is trained at "
        "the first start (a few minutes, once) and kept in the user's cache folder.",
    )
    parser.add_argument("--checkpoint", help="checkpoint file, or run folder")
    parser.add_argument("--videos", metavar="FOLDER", help="videos that can be chosen on the page")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at (127.0.0.1: this machine only; 0.0.0.0: all who reach it)",
    )
    parser.add_argument("--port", type=int, default=7860, help="(7860); 0: any that is free")
    parser.add_argument("--max-megabytes", type=float, default=500, help="of a video file (500)")
    parser.add_argument("--max-minutes", type=float, default=60, help="of a video (60)")
    parser.add_argument("--max-sentences", type=int, default=50, help="at a time (50)")
    parser.add_argument("--weights", help="weights of the extractor that the checkpoint names")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    return parser


def _check(args: argparse.Namespace) -> None:
    """Everything that can be refused before the heavy imports."""
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the page needs {', '.join(missing)}, which is not installed; run: "
            "pip install 'bpnet-nlvl[app]'"
        )
    if args.checkpoint is not None:
        must_exist("checkpoint", args.checkpoint, CheckpointError)
    if args.videos is not None and not Path(args.videos).is_dir():
        raise ConfigError(f"--videos {args.videos!r}: no such folder")


def _videos(folder: Path) -> dict[str, Path]:
    """The video files of a folder, by name."""
    files = {file.name: file for file in video_files(folder)}
    if not files:
        raise ConfigError(f"--videos {str(folder)!r}: no video files in it")
    return files


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
