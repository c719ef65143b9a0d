"""TALL's lists of TACoS: ``VIDEO_START_END:sentence#sentence#`` a line, in frames."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from bpnet.data.annotation_text import Faults, lines, raise_faults, shown
from bpnet.data.repair import RawQuery
from bpnet.data.video_json import TACOS_FPS, read_lengths


def read_tacos_samples(file: Path, durations_file: Path) -> list[RawQuery]:
    """Read a list; it holds the same pairs as SCDM's json of that part.

    Within a video the two have the pairs in the same order, so that the ids agree; the videos come
    in another order.

    Args:
        file: ``TACoS_{train,val,test}_samples.txt``.
        durations_file: SCDM's json of that part, or 2D-TAN's.

    Returns:
        The pairs in file order, in seconds; ids are the video's, without ``.avi``, and the number
        among the video's pairs.

    Raises:
        AnnotationError: A file is damaged.
    """
    durations = read_lengths(durations_file)
    counters: Counter[str] = Counter()
    queries, faults = [], Faults()
    for where, line in lines(file):
        left, mark, sentences = line.partition(":")
        try:
            name, start, end = left.rsplit("_", 2)
            moment = int(start) / TACOS_FPS, int(end) / TACOS_FPS
        except (ValueError, OverflowError):
            mark = ""
        if not mark:
            faults.append(f"{where}: {shown(line)}: expected 'VIDEO_START_END:sentence#sentence#'")
            continue
        video_id = name.removesuffix(".avi")
        duration = durations.get(video_id, math.nan)
        for sentence in sentences.removesuffix("#").split("#"):
            qid = f"{video_id}_{counters[video_id]}"
            counters[video_id] += 1
            queries.append(RawQuery(qid, video_id, sentence, (moment,), duration))
    raise_faults(file, faults)
    return queries
