"""`bpnet localize --library`: sentences about many videos -> moments of any of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from bpnet.cli.bars import progress_bar
from bpnet.cli.user_cache import user_cache
from bpnet.errors import ConfigError


def ask_library(
    args: argparse.Namespace, queries: Sequence[str], min_score: Callable[[float | None], float]
) -> bool:
    """Answer sentences over a library, and print the answers.

    Args:
        args: What ``bpnet localize`` was given.
        queries: The sentences, at least one.
        min_score: The least score, given the checkpoint's fitted one.

    Returns:
        Whether anything was found.

    Raises:
        BPNetError: A file, the checkpoint or a sentence is not what it must be.
    """
    alone = ("features", "duration", "clips", "srt", "report", "plot")
    given = [f"--{name}" for name in alone if getattr(args, name) is not None]
    if given:
        raise ConfigError(f"{given[0]} with --library: expected one video; it is for one alone")

    from bpnet.inference.collection import open_collection
    from bpnet.inference.library import open_library
    from bpnet.inference.localizer import Localizer

    localizer = Localizer.from_pretrained(args.checkpoint, args.device, args.weights)
    least = min_score(localizer.least_score)
    videos = open_collection(localizer, Path(args.library))
    cache = Path(args.cache) if args.cache else user_cache("libraries")
    with progress_bar("encode", "videos") as told:
        library = open_library(localizer, videos, cache, told)
    with progress_bar("answer", "sentences") as told:
        answers = library.localize(queries, args.top, least, progress=told)
    if args.json:
        print(json.dumps([[one.to_dict() for one in found] for found in answers]))
    else:
        from rich.console import Console

        from bpnet.report.terminal import print_found

        print_found(queries, answers, Console(highlight=False))
    return any(answers)
