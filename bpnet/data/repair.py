"""Dirty pairs of sentence and moment -> list[Annotation], and the report of what was done.

What is done about dirt; every rule is counted in the `RepairReport`:

- ``non_finite_time``: a time is NaN or infinite: the pair is dropped;
- ``empty_sentence``: the sentence has no word: the pair is dropped;
- ``start_not_before_end``: start >= end, as written or after the times were moved into the video:
  the pair is dropped (as 2D-TAN does; VSLNet's own copies have none);
- ``start_before_zero``: the start becomes 0;
- ``end_after_duration``: the end becomes the duration;
- ``white_space``: runs of white space in a sentence become one space, its ends are cut;
- ``duplicate``: video, sentence and times equal those of an earlier pair: kept;
- ``duration_differs``: a video has another duration than in its first line: kept as written.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from bpnet.errors import AnnotationError
from bpnet.types import Annotation

RULES = {
    "non_finite_time": "dropped",
    "empty_sentence": "dropped",
    "start_not_before_end": "dropped",
    "start_before_zero": "start set to 0",
    "end_after_duration": "end set to the duration",
    "white_space": "collapsed",
    "duplicate": "kept",
    "duration_differs": "kept",
}
NUM_EXAMPLES = 3


@dataclasses.dataclass(frozen=True)
class RepairReport:
    """What was read, and what had to be repaired or dropped.

    Attributes:
        dataset: Name of the dataset.
        split: Name of the part, as asked for.
        paths: The files that were read.
        num_pairs: Sentence-moment pairs in the file.
        num_kept: Pairs that are left.
        num_videos: Videos of the pairs that are left.
        counts: Pairs by rule, for every rule of `RULES`.
        examples: The first pairs of each rule that occurred.
        notes: Other things worth a line in the log.
    """

    dataset: str
    split: str
    paths: tuple[str, ...]
    num_pairs: int
    num_kept: int
    num_videos: int
    counts: dict[str, int]
    examples: dict[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """A line on what was read, and one for each rule that occurred and each note."""
        lines = [
            f"{self.dataset} {self.split}: {self.num_kept} of {self.num_pairs} pairs from "
            f"{self.num_videos} videos ({', '.join(self.paths)})"
        ]
        for rule, count in self.counts.items():
            if count:
                lines.append(f"  {rule}: {count} {RULES[rule]}, such as {self.examples[rule][0]}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return dataclasses.asdict(self)


class RawPair(NamedTuple):
    """A sentence and its moment as the file has them, in seconds; a duration may be NaN."""

    qid: str
    video_id: str
    query: str
    start: float
    end: float
    duration: float


def check_pairs(files: list[Path], pairs: list[RawPair]) -> None:
    """Refuse what no rule can repair.

    Args:
        files: The annotation file first, the one with the durations last.
        pairs: What was read.

    Raises:
        AnnotationError: A video has no duration, or an id is given twice; all are counted.
    """
    unknown = dict.fromkeys(
        pair.video_id for pair in pairs if not (math.isfinite(pair.duration) and pair.duration > 0)
    )
    raise_faults(files[-1], [f"video {name!r} has no duration > 0" for name in unknown])
    repeated = [qid for qid, count in Counter(pair.qid for pair in pairs).items() if count > 1]
    raise_faults(files[0], [f"qid {qid!r} is given more than once" for qid in repeated])


def raise_faults(file: Path, faults: list[str]) -> None:
    """Raise an `AnnotationError` with the first five faults and their number, if there are any."""
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise AnnotationError(
            f"annotation file {str(file)!r}: {len(faults)} fault{'s' * (len(faults) > 1)}: "
            f"{'; '.join(faults[:5])}{more}"
        )


def repair(
    pairs: list[RawPair], split: str
) -> tuple[list[Annotation], dict[str, int], dict[str, tuple[str, ...]]]:
    """Apply the rules of this module.

    Args:
        pairs: What was read, checked by `check_pairs`.
        split: Name of the part.

    Returns:
        The pairs that are left, in order; the number of pairs by rule; the first pairs by rule.
    """
    counts = dict.fromkeys(RULES, 0)
    examples: dict[str, list[str]] = defaultdict(list)

    def count(rule: str, pair: RawPair) -> None:
        counts[rule] += 1
        if counts[rule] <= NUM_EXAMPLES:
            examples[rule].append(
                f"{pair.qid} ({pair.start:g} to {pair.end:g} s of {pair.duration:g} s, "
                f"{textwrap.shorten(pair.query, 60)!r})"
            )

    annotations = []
    seen: set[tuple[str, str, float, float]] = set()
    durations: dict[str, float] = {}
    for pair in pairs:
        query = " ".join(pair.query.split())
        start, end = max(pair.start, 0.0), min(pair.end, pair.duration)
        if not (math.isfinite(pair.start) and math.isfinite(pair.end)):
            count("non_finite_time", pair)
            continue
        if not any(character.isalnum() for character in query):
            count("empty_sentence", pair)
            continue
        if pair.start >= pair.end or start >= end:
            count("start_not_before_end", pair)
            continue
        if pair.start < 0:
            count("start_before_zero", pair)
        if pair.end > pair.duration:
            count("end_after_duration", pair)
        if query != pair.query:
            count("white_space", pair)
        if durations.setdefault(pair.video_id, pair.duration) != pair.duration:
            count("duration_differs", pair)
        key = (pair.video_id, query, start, end)
        if key in seen:
            count("duplicate", pair)
        seen.add(key)
        annotations.append(
            Annotation(pair.qid, pair.video_id, query, start, end, pair.duration, split)
        )
    return annotations, counts, {rule: tuple(lines) for rule, lines in examples.items()}
