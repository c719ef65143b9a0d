"""`bpnet localize --library`: sentences about many videos -> moments of any of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bpnet.cli.bars import progress_bar
from bpnet.cli.user_cache import user_cache

if TYPE_CHECKING:
    from bpnet.inference.localizer import Localizer


def ask_library(
    args: argparse.Namespace, queries: Sequence[str], localizer: Localizer, min_score: float
) -> bool:
    """Answer sentences over a library, and print the answers.

    Args:
        args: What ``bpnet localize`` was given.
        queries: The sentences, at least one.
        localizer: The model.
        min_score: Moments with a lower score are left out.

    Returns:
        Whether anything was found.

    Raises:
        BPNetError: A file, the checkpoint or a sentence is not what it must be.
    """
    from bpnet.inference.collection import open_collection
    from bpnet.inference.library import open_library

    videos = open_collection(localizer, Path(args.library))
    cache = Path(args.cache) if args.cache else user_cache("libraries")
    with progress_bar("encode", "videos") as told:
        library = open_library(localizer, videos, cache, told)
    with progress_bar("answer", "sentences") as told:
        answers = library.localize(queries, args.top, min_score, progress=told)
    if args.json:
        print(json.dumps([[one.to_dict() for one in found] for found in answers]))
    else:
        from rich.console import Console

        from bpnet.report.terminal import print_found

        print_found(queries, answers, Console(highlight=False))
    return any(answers)
