"""The console script `bpnet`: finds the subcommand; imports what it needs when it runs."""

from __future__ import annotations

import importlib
import os
import re
import sys

import bpnet
from bpnet.cli.output import standard_output
from bpnet.errors import BPNetError

COMMANDS = {
    "train": "train a model (Hydra overrides: data=... model=... optim=... trainer=...)",
    "evaluate": "score a checkpoint (checkpoint=... split=test)",
    "localize": "find sentences in a video",
    "app": "a web page: drop a video, type sentences, play the moments",
    "serve": "answer over HTTP (extra: serve)",
    "features": "inspect, check, convert, extract feature files; render the built-in sample",
    "data": "check, draw and download annotation files",
    "images": "where in a picture: train on class names alone, find boxes in frames",
    "export": "checkpoint -> ONNX or torch.export file",
    "offline": "extract features of, or ask, very many videos (Ray)",
    "import-vslnet": "trained weights of VSLNet's PyTorch code -> checkpoint",
}


def main(arguments: list[str] | None = None) -> None:
    """Run ``bpnet SUBCOMMAND ...``.

    Args:
        arguments: The command line without the program's name; None: that of the process.

    Raises:
        SystemExit: With 2 where the command line or an input is wrong; with 141 where nobody reads
            what is printed any more.
    """
    with standard_output():
        _run(sys.argv[1:] if arguments is None else arguments)


def _run(arguments: list[str]) -> None:
    match arguments:
        case [] | ["-h" | "--help", *_]:
            print(_help())
        case ["-sc" | "--shell-completion", *_]:
            _complete(arguments)
        case ["--version", *_]:
            print(f"bpnet {bpnet.__version__}")
        case [command, *rest] if command in COMMANDS:
            module = importlib.import_module(f"bpnet.cli.{command.replace('-', '_')}")
            try:
                module.main(rest)
            except BPNetError as err:
                print(f"{type(err).__name__}: {err}", file=sys.stderr)
                raise SystemExit(2) from None
            except KeyboardInterrupt:
                print("interrupted", file=sys.stderr)
                raise SystemExit(130) from None
        case [command, *_]:
            print(f"bpnet: no command {command!r}\n\n{_help()}", file=sys.stderr)
            raise SystemExit(2)


def _complete(arguments: list[str]) -> None:
    """Answer a shell on TAB; Hydra, which knows no subcommands, gets the line without it."""
    found = re.match(r"\s*(\S+)\s+(\S+)(\s.*)", os.environ.get("COMP_LINE", ""))
    if found is None:
        print("\n".join(COMMANDS))
    elif found[2] in ("train", "evaluate"):
        os.environ["COMP_LINE"] = found[1] + found[3]
        importlib.import_module(f"bpnet.cli.{found[2]}").main(arguments)


def _help() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return (
        "usage: bpnet [--version] COMMAND ...\n\n"
        "Natural-language video localization: a sentence in, the moment of a video out.\n\n"
        f"{commands}\n\n`bpnet COMMAND --help` says more."
    )


if __name__ == "__main__":
    main()
