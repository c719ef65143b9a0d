"""What the moments, videos and sentences of a dataset are like: numbers, part by part."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bpnet.types import Annotation

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Words that say nothing about what a dataset is about; they are left out of the frequent ones.
_FUNCTION_WORDS = frozenset(
    "a about across after again against all along also am an and another any anyone "
    "anything are around as at be been before behind being between both but by can could "
    "did do does down during each everyone everything for from had has have he her here "
    "hers herself him himself his i if in inside into is it its itself may me might more "
    "most must my near no nor not of off on onto or other our out outside over shall she "
    "should so some somebody someone something than that the their theirs them themselves "
    "then there these they this those through to toward towards under until up upon us "
    "very was we were what when where which while who whom whose will with without would "
    "you your".split()
)


@dataclasses.dataclass(frozen=True, eq=False)
class Statistics:
    """One part of a dataset, as arrays; times in seconds.

    Attributes:
        split: Name of the part.
        moments: Start and end of every moment of every query (N, 2).
        durations: Length of the video of each moment (N,).
        video_seconds: Length of each video (V,), in the order of their first query.
        words_per_query: Words of each query (Q,), as white space parts them.
        moments_per_query: (Q,), >= 1.
        words: How often each word occurs, most frequent first; in lower case, without the
            punctuation at its ends, and without function words such as "the".
        num_distinct_words: Distinct words, function words among them.
    """

    split: str
    moments: Floats
    durations: Floats
    video_seconds: Floats
    words_per_query: Ints
    moments_per_query: Ints
    words: tuple[tuple[str, int], ...]
    num_distinct_words: int

    @property
    def moment_seconds(self) -> Floats:
        """Length of each moment (N,)."""
        return self.moments[:, 1] - self.moments[:, 0]

    @property
    def relative_lengths(self) -> Floats:
        """Length of each moment as a share of its video (N,), in (0, 1]."""
        return self.moment_seconds / self.durations

    @property
    def relative_moments(self) -> Floats:
        """Start and end of each moment as a share of its video (N, 2), in [0, 1]."""
        return self.moments / self.durations[:, None]

    @property
    def hours(self) -> float:
        """Length of all videos together."""
        return float(self.video_seconds.sum()) / 3600


def describe(annotations: Sequence[Annotation], split: str) -> Statistics:
    """Count and measure one part of a dataset.

    Args:
        annotations: Its queries, at least one.
        split: Name of the part.

    Returns:
        The numbers. A video counts once, with the duration that its first query gives.
    """
    assert annotations, split
    videos: dict[str, float] = {}
    counts: Counter[str] = Counter()
    for annotation in annotations:
        videos.setdefault(annotation.video_id, annotation.duration_seconds)
        counts.update(filter(None, map(_bare, annotation.query.split())))
    pairs = [
        (*moment, annotation.duration_seconds)
        for annotation in annotations
        for moment in annotation.moments
    ]
    times = np.array(pairs, dtype=np.float64)
    # Equally frequent words in alphabetic order: the same picture whatever the order of the lines.
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Statistics(
        split=split,
        moments=times[:, :2],
        durations=times[:, 2],
        video_seconds=np.array(list(videos.values()), dtype=np.float64),
        words_per_query=np.array([len(a.query.split()) for a in annotations], dtype=np.int64),
        moments_per_query=np.array([len(a.moments) for a in annotations], dtype=np.int64),
        words=tuple((word, count) for word, count in ranked if word not in _FUNCTION_WORDS),
        num_distinct_words=len(counts),
    )


def table(parts: Sequence[Statistics]) -> str:
    """The numbers as text, a line a part.

    Args:
        parts: At least one.

    Returns:
        Lines of equal columns. Seconds, shares and words are means, with medians in parentheses.
    """
    heads = ("part", "queries", "moments", "videos", "hours", "video s", "moment s")
    rows = [(*heads, "share of video", "words", "distinct words")]
    for part in parts:
        rows.append(
            (
                part.split,
                f"{len(part.words_per_query):,}",
                f"{len(part.moments):,}",
                f"{len(part.video_seconds):,}",
                f"{part.hours:,.1f}",
                _mean_and_median(part.video_seconds, 1),
                _mean_and_median(part.moment_seconds, 1),
                _mean_and_median(part.relative_lengths, 3),
                _mean_and_median(part.words_per_query, 1),
                f"{part.num_distinct_words:,}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:<{widths[0]}}", *cells]))
    return "\n".join([*lines, "seconds, share and words: mean (median)"])


def _mean_and_median(values: Floats | Ints, digits: int) -> str:
    return f"{values.mean():,.{digits}f} ({np.median(values):,.{digits}f})"


def _bare(word: str) -> str:
    """In lower case, without what is neither letter nor digit at its ends."""
    first = next((i for i, sign in enumerate(word) if sign.isalnum()), len(word))
    last = next((i for i, sign in enumerate(reversed(word)) if sign.isalnum()), 0)
    return word[first : len(word) - last].lower()
