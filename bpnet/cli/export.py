"""`bpnet export`: a checkpoint -> an ONNX file or a torch.export program, checked against it."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpnet.cli.paths import must_exist
from bpnet.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from bpnet.config import EvaluateConfig
    from bpnet.export.accuracy import Accuracy
    from bpnet.export.run import Exported

_EPILOG = """\
The file reads video (videos, clips, C) float, video_mask (videos, clips) bool, video_index
(queries) int64 (the video of each query), query_ids (queries, tokens) int64, char_ids (queries,
tokens, letters) int64 and query_mask (queries, tokens) bool; masks are True where an entry is real.
It gives spans (queries, K, 2) in clip positions, scores (queries, K), and mask (queries, K): which
of them are answers; the best is the one with the highest score. Vocabulary, feature spec and
everything else that the checkpoint knows lie as JSON in its metadata. Sizes may be any up to the
printed ones.

For example:

  bpnet export runs/demo/train --out model.onnx --int8 --split test
"""


def main(arguments: list[str]) -> None:
    """Export a checkpoint; see ``bpnet export --help``."""
    args = _parser().parse_args(arguments)
    must_exist("checkpoint", args.checkpoint, CheckpointError)
    for name in ("annotations", "features"):
        path = getattr(args, name)
        if path is None:
            continue
        if args.split is None:
            raise ConfigError(f"--{name} {path!r} without --split: nothing is evaluated")
        must_exist(f"--{name}", path, ConfigError)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)

    from bpnet.export.run import export

    evaluation = None if args.split is None else _evaluation(args)
    made = export(Path(args.checkpoint), Path(args.out), int8=args.int8, evaluation=evaluation)
    print("\n".join(_summary(made)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bpnet export",
        description="Write a checkpoint's network as a graph that runs without this toolkit.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", help="checkpoint file, or run folder")
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="FILE.onnx (ONNX) or FILE.pt2 (torch.export)"
    )
    parser.add_argument(
        "--int8", action="store_true", help="also write FILE.int8.onnx, its weights in 8 bits"
    )
    measured = parser.add_argument_group("accuracy of what was written")
    measured.add_argument("--split", help="part to evaluate on, such as test; without it, none")
    measured.add_argument("--protocol", default="vslnet", help="rules of counting (vslnet)")
    measured.add_argument("--batch-size", type=int, default=32, metavar="N", help="pairs a step")
    measured.add_argument("--annotations", metavar="PATH", help="as trained, unless given")
    measured.add_argument("--features", metavar="PATH", help="as trained, unless given")
    return parser


def _evaluation(args: argparse.Namespace) -> EvaluateConfig:
    from bpnet.config import EvaluateConfig
    from bpnet.evaluation.protocols import protocol

    protocol(args.protocol)
    data: dict[str, Any] = {}
    if args.annotations is not None:
        data["annotations"] = args.annotations
    if args.features is not None:
        data["features"] = {"path": args.features}
    return EvaluateConfig(
        checkpoint=args.checkpoint,
        split=args.split,
        protocol=args.protocol,
        batch_size=args.batch_size,
        device="cpu",
        data=data,
    )


def _summary(made: Exported) -> list[str]:
    lines = []
    for number, file in enumerate(made.files):
        apart = file.difference
        asked = f"{apart.num_queries} random queries"
        if number == 0:
            told = f"at most {apart.spans:.1e} clips and {apart.scores:.1e} in score on {asked}"
            if apart.num_undecided:
                told += f" ({apart.num_undecided} left out: rounding decides between equals)"
        else:
            told = (
                f"the best answer is the same (temporal IoU >= 0.9) on {apart.num_near} of {asked}"
            )
        lines.append(f"{file.path}: {file.num_bytes / 1e6:.2f} MB; against the checkpoint: {told}")
    for title, named in (("in", made.signature.inputs), ("out", made.signature.outputs)):
        lines += [f"  {title:<4}{name:<15}{_axes(axes)}" for name, axes in named.items()]
    lines.append(f"  sizes: {_ranges(made.signature.ranges)}")
    return lines if made.accuracy is None else [*lines, *_table(made.accuracy)]


def _axes(axes: tuple[str | int, ...]) -> str:
    return f"({', '.join(map(str, axes))})"


def _ranges(ranges: Mapping[str, tuple[int, int | None]]) -> str:
    return ", ".join(
        f"{name} {least} or more" if most is None else f"{name} {least} to {most}"
        for name, (least, most) in ranges.items()
    )


def _table(measured: Accuracy) -> list[str]:
    from bpnet.export.accuracy import COLUMNS

    width = max(map(len, measured.rows))
    heads = "".join(f"{name.replace(',IoU=', ' '):>9}" for name in COLUMNS)
    lines = [
        f"protocol {measured.protocol}, {measured.dataset} {measured.split}, "
        f"{measured.num_queries} queries, percent",
        " " * width + heads,
    ]
    for name, row in measured.rows.items():
        lines.append(f"{name:<{width}}" + "".join(f"{row[column]:9.2f}" for column in COLUMNS))
    return lines


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
