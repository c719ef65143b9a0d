"""Dirty queries with their moments -> list[Annotation], and the report of what was done.

A *query* is a sentence about one video; a *pair* is a query with one of its moments. Most datasets
give a query one moment, so that both numbers are the same; QVHighlights and its kin give several.

What is done about dirt; every rule is counted in the `RepairReport`. Of a pair, by its times:

- ``non_finite_time``: a time is NaN or infinite: the pair is dropped;
- ``start_not_before_end``: start >= end, as written or after the times were moved into the video:
  the pair is dropped (as 2D-TAN does; VSLNet's own copies have none);
- ``start_before_zero``: the start becomes 0;
- ``end_after_duration``: the end becomes the duration;
- ``repeated_moment``: the query gives the same moment twice: the second is dropped;
- ``duplicate``: video, sentence and times equal those of an earlier query: kept.

Of a query, which goes when none of its pairs is left:

- ``no_moment``: the file gives it none: dropped;
- ``empty_sentence``: the sentence has no word: dropped; counted for each of its pairs;
- ``white_space``: runs of white space in a sentence become one space, its ends are cut;
- ``duration_differs``: its video has another duration than in the video's first line: kept as
  written.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from bpnet.data.annotation_text import Faults, raise_faults, shown
from bpnet.types import Annotation, Saliency

RULES = {
    "non_finite_time": "dropped",
    "no_moment": "dropped",
    "empty_sentence": "dropped",
    "start_not_before_end": "dropped",
    "repeated_moment": "dropped",
    "start_before_zero": "start set to 0",
    "end_after_duration": "end set to the duration",
    "white_space": "collapsed",
    "duplicate": "kept",
    "duration_differs": "kept",
}
NUM_EXAMPLES = 3
MAX_ID_LENGTH = 255  # a file name can be no longer


@dataclasses.dataclass(frozen=True)
class RepairReport:
    """What was read, and what had to be repaired or dropped.

    Attributes:
        dataset: Name of the dataset.
        split: Name of the part, as asked for.
        paths: The files that were read.
        num_queries: Queries in the file.
        num_pairs: Pairs in the file, one for each moment of each query.
        num_file_videos: Videos of the queries in the file.
        num_kept_queries: Queries that are left.
        num_kept: Pairs that are left: ``num_pairs`` less the pairs dropped by a rule.
        num_videos: Videos of the queries that are left.
        counts: How often each rule of `RULES` was applied: to how many queries for ``no_moment``,
            ``white_space`` and ``duration_differs``, to how many pairs for all others.
        examples: The first cases of each rule that occurred.
        notes: Other things worth a line in the log.
    """

    dataset: str
    split: str
    paths: tuple[str, ...]
    num_queries: int
    num_pairs: int
    num_file_videos: int
    num_kept_queries: int
    num_kept: int
    num_videos: int
    counts: dict[str, int]
    examples: dict[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """A line on what was read, and one for each rule that occurred and each note."""
        queries = ""
        if (self.num_queries, self.num_kept_queries) != (self.num_pairs, self.num_kept):
            queries = f"{self.num_kept_queries} of {self.num_queries} queries with "
        lines = [
            f"{self.dataset} {self.split}: {queries}{self.num_kept} of {self.num_pairs} pairs from "
            f"{self.num_videos} videos ({', '.join(self.paths)})"
        ]
        for rule, count in self.counts.items():
            if count:
                lines.append(f"  {rule}: {count} {RULES[rule]}, such as {self.examples[rule][0]}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return dataclasses.asdict(self)


class RawQuery(NamedTuple):
    """A sentence and its moments as the file has them.

    Attributes:
        qid: Id of the query.
        video_id: Id of the video.
        query: The sentence.
        moments: Start and end of each moment in seconds, in any state; none: the file has none.
        duration: Length of the video in seconds; NaN where the file does not say it.
        saliency: Scores of single clips, where the file has them.
    """

    qid: str
    video_id: str
    query: str
    moments: tuple[tuple[float, float], ...]
    duration: float
    saliency: Saliency | None = None


def check_queries(file: Path, durations_file: Path, queries: list[RawQuery]) -> None:
    """Refuse what no rule can repair.

    Args:
        file: The annotation file.
        durations_file: The file that says how long the videos are; often the same.
        queries: What was read.

    Raises:
        AnnotationError: An id cannot be one, a sentence is no text, a video has no duration, or an
            id is given twice; all of a kind are counted.
    """
    videos = dict.fromkeys(query.video_id for query in queries)
    faults = Faults(
        f"video id {shown(name)}: {why}" for name in videos if (why := _no_video_id(name))
    )
    for query in queries:
        if why := _no_id(query.qid):
            faults.append(f"qid {shown(query.qid)}: {why}")
    for query in queries:
        if not _is_text(query.query):
            what = "a sentence that no file can hold as UTF-8"
            faults.append(f"query {query.qid!r}: {shown(query.query)}: {what}")
    raise_faults(file, faults)
    unknown = dict.fromkeys(
        query.video_id
        for query in queries
        if not (math.isfinite(query.duration) and query.duration > 0)
    )
    raise_faults(durations_file, Faults(f"video {name!r} has no duration > 0" for name in unknown))
    repeated = [qid for qid, count in Counter(query.qid for query in queries).items() if count > 1]
    raise_faults(file, Faults(f"qid {qid!r} is given more than once" for qid in repeated))


def repair(
    queries: list[RawQuery], split: str
) -> tuple[list[Annotation], dict[str, int], dict[str, tuple[str, ...]]]:
    """Apply the rules of this module.

    Args:
        queries: What was read, checked by `check_queries`.
        split: Name of the part.

    Returns:
        The queries that are left, in order, with the moments that are left, in order; how often
        each rule was applied, as `RepairReport.counts` says; the first cases of each rule.
    """
    counts = dict.fromkeys(RULES, 0)
    examples: dict[str, list[str]] = defaultdict(list)

    def count(rule: str, query: RawQuery, moment: tuple[float, float] | None = None) -> None:
        counts[rule] += 1
        if counts[rule] <= NUM_EXAMPLES:
            times = "" if moment is None else f"{moment[0]:g} to {moment[1]:g} s of "
            what = f"{times}{query.duration:g} s, {shown(query.query)}"
            examples[rule].append(f"{query.qid} ({what})")

    annotations = []
    seen: set[tuple[str, str, float, float]] = set()
    durations: dict[str, float] = {}
    for query in queries:
        sentence = " ".join(query.query.split())
        has_word = any(character.isalnum() for character in sentence)
        kept: dict[tuple[float, float], None] = {}  # in order, and quick to look into
        if not query.moments:
            count("no_moment", query)
        for moment in query.moments:
            start, end = max(moment[0], 0.0), min(moment[1], query.duration)
            if not (math.isfinite(moment[0]) and math.isfinite(moment[1])):
                count("non_finite_time", query, moment)
            elif not has_word:
                count("empty_sentence", query, moment)
            elif moment[0] >= moment[1] or start >= end:
                count("start_not_before_end", query, moment)
            elif (start, end) in kept:
                count("repeated_moment", query, moment)
            else:
                kept[start, end] = None
                if moment[0] < 0:
                    count("start_before_zero", query, moment)
                if moment[1] > query.duration:
                    count("end_after_duration", query, moment)
        if not kept:
            continue
        first = query.moments[0]
        if sentence != query.query:
            count("white_space", query, first)
        if durations.setdefault(query.video_id, query.duration) != query.duration:
            count("duration_differs", query, first)
        for moment in kept:
            key = (query.video_id, sentence, *moment)
            if key in seen:
                count("duplicate", query, moment)
            seen.add(key)
        annotations.append(
            Annotation(
                query.qid,
                query.video_id,
                sentence,
                *next(iter(kept)),
                query.duration,
                split,
                other_moments=tuple(kept)[1:],
                saliency=query.saliency,
            )
        )
    return annotations, counts, {rule: tuple(lines) for rule, lines in examples.items()}


def _no_video_id(name: str) -> str | None:
    """Why a name cannot be the id of a video; None: it can.

    Video ids become names of files and of HDF5 entries, where a slash or dots would lead elsewhere.
    """
    if "/" in name or "\\" in name or name in (".", ".."):
        return "a path: expected an id without / and \\"
    return _no_id(name)


def _no_id(name: str) -> str | None:
    if not name or len(name) > MAX_ID_LENGTH:
        return f"{len(name)} characters: expected 1 to {MAX_ID_LENGTH}"
    if not _is_text(name) or not name.isprintable():
        return "characters that cannot be printed"
    return None


def _is_text(text: str) -> bool:
    """Whether a string can be written as UTF-8: JSON can hold halves of characters alone."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
