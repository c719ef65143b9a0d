"""Options that say which features to read, shared by the subcommands of `bpnet features`."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from bpnet.errors import FeatureError

if TYPE_CHECKING:
    from bpnet_features import FeatureSource

_TEXTS = ("backbone", "layer", "normalisation")  # fields of the feature spec that are no numbers


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add the features, and how they are to be read, to a subcommand.

    Args:
        parser: The subcommand.
    """
    parser.add_argument(
        "source", help="feature file, or file or folder of a release as its authors publish it"
    )
    parser.add_argument(
        "--layout", default="auto", metavar="NAME", help="layout or release (auto: look inside)"
    )
    parser.add_argument(
        "--streams", metavar="A,B", help="files or folders below SOURCE, joined in this order"
    )
    parser.add_argument(
        "--normalise",
        default="none",
        choices=("none", "l2"),
        help="what is done to each clip of each stream before they are joined (none)",
    )
    add_spec_options(parser, "how the features were made, where the source does not say")


def add_spec_options(parser: argparse.ArgumentParser, title: str) -> None:
    """Add the entries of a feature spec to a subcommand.

    Args:
        parser: The subcommand.
        title: What stands above them in its help.
    """
    made = parser.add_argument_group(title)
    made.add_argument("--backbone", metavar="NAME", help="extractor, such as i3d")
    made.add_argument("--seconds-per-clip", type=float, metavar="S", help="time base")
    made.add_argument(
        "--spec",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="other entries of the feature spec, such as fps=24 layer=fc6",
    )


def open_source(args: argparse.Namespace, *, to_look: bool = False) -> FeatureSource:
    """Open the features.

    Args:
        args: The command line.
        to_look: Whether they are only looked at, for which nobody needs to know what made them.

    Returns:
        The features.

    Raises:
        FeatureError: They cannot be read, or an option is wrong.
    """
    from bpnet_features import FeatureSpec, open_features

    return open_features(
        args.source,
        layout=args.layout,
        streams=args.streams.split(",") if args.streams else (),
        normalise=args.normalise,
        spec=spec_entries(args),
        default_spec=FeatureSpec("unknown", 1) if to_look else None,  # the width is measured
    )


def spec_entries(args: argparse.Namespace) -> dict[str, Any]:
    """The entries of the feature spec that stand on the command line.

    Args:
        args: The command line.

    Returns:
        Values by name.

    Raises:
        FeatureError: An entry is not of the form KEY=VALUE, or its value is no number.
    """
    spec: dict[str, Any] = {}
    for item in args.spec:
        key, _, text = item.partition("=")
        if not (key and text):
            raise FeatureError(f"--spec {item!r}: expected KEY=VALUE, such as fps=24")
        spec[key] = _value(key, text)
    given = {"backbone": args.backbone, "seconds_per_clip": args.seconds_per_clip}
    return spec | {key: value for key, value in given.items() if value is not None}


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
