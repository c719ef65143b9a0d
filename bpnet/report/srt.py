"""Answers as subtitles (SubRip): each sentence is shown while its moment lasts."""

from __future__ import annotations

from collections.abc import Sequence

from bpnet.types import Moment


def subtitles(queries: Sequence[str], answers: Sequence[Sequence[Moment]]) -> str:
    """The text of an ``.srt`` file.

    Args:
        queries: The sentences.
        answers: The moments of each, best first.

    Returns:
        Entries in order of time: the sentence, and the score of this moment. Line breaks in a
        sentence become spaces, for an empty line ends an entry.
    """
    found = [
        (one, rank, " ".join(query.split()))
        for query, moments in zip(queries, answers, strict=True)
        for rank, one in enumerate(moments, start=1)
    ]
    found.sort(key=lambda entry: (entry[0].start_seconds, entry[0].end_seconds))
    lines = []
    for number, (moment, rank, query) in enumerate(found, start=1):
        times = f"{_stamp(moment.start_seconds)} --> {_stamp(moment.end_seconds)}"
        lines.append(f"{number}\n{times}\n{query} ({rank}: {moment.score:.2f})\n")
    return "\n".join(lines)


def _stamp(seconds: float) -> str:
    """``HH:MM:SS,mmm``."""
    total = round(seconds * 1000)
    whole, thousandths = divmod(total, 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d},{thousandths:03d}"
