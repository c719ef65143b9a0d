"""`bpnet images`: where in a picture, learned from pictures with class names alone."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from bpnet.errors import CheckpointError, ConfigError

_INTERVENTIONS = ("none", "cicam", "backdoor", "stratified")
_WEIGHTINGS = ("top", "quadratic", "sum_1")


def main(arguments: list[str]) -> None:
    """Run ``bpnet images compose|train|evaluate|locate``; see ``--help``."""
    parser = argparse.ArgumentParser(prog="bpnet images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_train(commands)
    _add_evaluate(commands)
    _add_locate(commands)
    _add_compose(commands)
    args = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    args.run(args)


_Commands = argparse._SubParsersAction


def _add_train(commands: _Commands[argparse.ArgumentParser]) -> None:
    text = "train on FOLDER/CLASS/picture.jpg; no box is read"
    add = commands.add_parser("train", help=text, description=text)
    add.add_argument("folder")
    add.add_argument("--out", required=True, metavar="FILE", help="the model, a safetensors file")
    add.add_argument(
        "--intervention",
        default="backdoor",
        choices=_INTERVENTIONS,
        help="what is done about what comes with a class (backdoor)",
    )
    add.add_argument(
        "--validation",
        metavar="FOLDER",
        help="other pictures, with boxes.csv: the threshold of boxes is chosen on them",
    )
    add.add_argument(
        "--weighting", default="quadratic", choices=_WEIGHTINGS, help="of the maps (quadratic)"
    )
    add.add_argument("--size", type=int, default=64, help="side that pictures are scaled to (64)")
    add.add_argument("--epochs", type=int, default=20, help="passes over the pictures (20)")
    add.add_argument("--seed", type=int, default=0, help="(0)")
    add.set_defaults(run=_train)


def _add_evaluate(commands: _Commands[argparse.ArgumentParser]) -> None:
    text = "Top-1 and Top-5 localization, GT-known, CorLoc, MaxBoxAcc on pictures with boxes.csv"
    add = commands.add_parser("evaluate", help=text, description=text)
    add.add_argument("model")
    add.add_argument("folder")
    add.add_argument("--json", action="store_true", help="print the same as JSON")
    add.set_defaults(run=_evaluate)


def _add_locate(commands: _Commands[argparse.ArgumentParser]) -> None:
    text = "boxes in a picture, or in the frames of a moment of a video"
    add = commands.add_parser("locate", help=text, description=text)
    add.add_argument("model")
    add.add_argument("file", help="a picture, or a video")
    add.add_argument("--class", dest="name", help="what is looked for (what is likeliest)")
    add.add_argument("--start", type=float, help="beginning of the moment, in seconds: a video")
    add.add_argument("--end", type=float, help="its end, in seconds")
    add.add_argument("--frames", type=int, default=8, help="frames of the moment (8)")
    add.add_argument("--out", metavar="DIR", help="boxes.json, and pictures with the boxes")
    add.set_defaults(run=_locate)


def _add_compose(commands: _Commands[argparse.ArgumentParser]) -> None:
    text = "draw digits with a planted context, to see what a training makes of it"
    add = commands.add_parser("compose", help=text, description=text)
    add.add_argument("folder")
    add.add_argument("knobs", nargs="*", metavar="KNOB=VALUE", help="rho=0.9, salience=1.6, ...")
    add.add_argument("--seed", type=int, default=0, help="(0)")
    add.set_defaults(run=_compose)


def _train(args: argparse.Namespace) -> None:
    for folder in (args.folder, args.validation):
        if folder is not None and not Path(folder).is_dir():
            raise ConfigError(f"pictures {folder!r}: no such folder")

    from bpnet.images.evaluate import fit_threshold
    from bpnet.images.folder import read_folder
    from bpnet.images.settings import ImageConfig
    from bpnet.images.train import train_images

    config = ImageConfig(
        intervention=args.intervention, size=args.size, epochs=args.epochs, seed=args.seed
    )
    pictures = read_folder(args.folder, config.size)
    validation = None
    if args.validation is not None:
        validation = read_folder(args.validation, config.size, pictures.classes)
    model = train_images(pictures.pictures, pictures.labels, pictures.classes, config)
    model.weighting = args.weighting
    if validation is not None:
        count = fit_threshold(model, validation)
        print(f"boxes from {model.threshold:g} of the range of a map: chosen on {count} pictures")
    else:
        print(f"boxes from {model.threshold:g} of the range of a map: not chosen, no --validation")
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    model.save(out)
    print(f"written to {out}")


def _evaluate(args: argparse.Namespace) -> None:
    _check_model(args.model)

    from bpnet.images.evaluate import evaluate_images, image_table
    from bpnet.images.folder import read_folder
    from bpnet.images.model import ImageModel

    model = ImageModel.load(args.model)
    results = evaluate_images(model, read_folder(args.folder, model.config.size, model.classes))
    print(json.dumps(results, indent=1) if args.json else image_table(results))


def _locate(args: argparse.Namespace) -> None:
    _check_model(args.model)
    if not Path(args.file).is_file():
        raise ConfigError(f"{args.file!r}: no such file")
    if (args.start is None) != (args.end is None):
        raise ConfigError(f"--start {args.start} --end {args.end}: expected both, or none")

    from bpnet.images.frames import FrameBoxes, boxes_in_moment, write_boxes
    from bpnet.images.model import ImageModel
    from bpnet.images.picture_files import read_picture

    model = ImageModel.load(args.model)
    if args.start is None:
        picture = read_picture(Path(args.file))
        found = [FrameBoxes(0.0, picture, model.locate([picture], args.name)[0])]
    else:
        found = boxes_in_moment(
            args.file, args.start, args.end, model, name=args.name, num_frames=args.frames
        )
    print(json.dumps([one.to_dict() for one in found], indent=1))
    if args.out is not None:
        write_boxes(found, args.out)


def _compose(args: argparse.Namespace) -> None:
    from bpnet.images.composites import CompositeConfig
    from bpnet.images.planted_files import write_composites

    write_composites(args.folder, CompositeConfig.from_texts(args.knobs), args.seed)
    print(f"written to {args.folder}")


def _check_model(path: str) -> None:
    if not Path(path).is_file():
        raise CheckpointError(f"image model {path!r}: no such file")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
