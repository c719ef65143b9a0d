"""What a context pool has found, for a person to read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch

from bpnet.contexts.pool import (
    ADJUSTED,
    FEW_EFFECTIVE,
    FEW_VIDEOS,
    NO_CONTEXT,
    NOT_IDENTIFIABLE,
    Clips,
    ContextPool,
)
from bpnet.weak.concepts import Concepts

STATUS = {
    ADJUSTED: "adjusted",
    NO_CONTEXT: "no context found",
    FEW_VIDEOS: "too few videos",
    NOT_IDENTIFIABLE: "not identifiable",
    FEW_EFFECTIVE: "too few effective samples",
}
NUM_EXAMPLES = 3
NUM_NAMED = 5  # concepts of a kind that nothing is done about


@dataclasses.dataclass(frozen=True)
class Example:
    """Where a stratum is seen.

    Attributes:
        video: Number of the video, as it was given.
        first_clip: First clip of the window that is most like it.
        end_clip: The clip behind its last.
        cosine: How alike.
    """

    video: int
    first_clip: int
    end_clip: int
    cosine: float


@dataclasses.dataclass(frozen=True)
class StratumRow:
    """A context of a concept.

    Attributes:
        prototype: Its number.
        with_concept: Share of the concept's videos that have it, before the adjustment.
        without_concept: Share of the other videos.
        after: Share of the concept's videos that have it as the adjusted training sees them.
        examples: Where it is seen in the concept's videos.
    """

    prototype: int
    with_concept: float
    without_concept: float
    after: float
    examples: tuple[Example, ...]


@dataclasses.dataclass(frozen=True)
class ConceptRow:
    """A concept, and what comes with it.

    Attributes:
        concept: Its number.
        name: Its words.
        num_videos: Videos that have it.
        status: What was done, a value of `STATUS`.
        effective: Effective samples, ``(sum w)^2 / sum w^2``, that weighting leaves or would leave.
        strata: Its contexts, the strongest first.
    """

    concept: int
    name: str
    num_videos: int
    status: str
    effective: float
    strata: tuple[StratumRow, ...]


def pool_report(
    pool: ContextPool, concepts: Concepts, videos: Sequence[Clips] = ()
) -> list[ConceptRow]:
    """What the pool says of each concept.

    Args:
        pool: A fitted pool.
        concepts: The concepts that it was fitted with.
        videos: The videos that it was fitted to, for examples; may be read from a file when asked.

    Returns:
        A row a concept, those with most videos first.
    """
    given, otherwise = pool.rates()
    examples = _examples(pool, videos)
    rows = []
    for concept in pool.concept_videos.argsort(descending=True, stable=True).tolist():
        found = pool.strata[concept].nonzero().flatten().tolist()
        found.sort(key=lambda place: float(otherwise[concept, place] - given[concept, place]))
        strata = tuple(
            StratumRow(
                place,
                float(given[concept, place]),
                float(otherwise[concept, place]),
                _after(pool, concept, place),
                examples.get(place, ()),
            )
            for place in found
        )
        rows.append(
            ConceptRow(
                concept,
                concepts.name(concept),
                int(pool.concept_videos[concept]),
                STATUS[int(pool.status[concept])],
                float(pool.effective[concept]),
                strata,
            )
        )
    return rows


def report_lines(
    rows: Sequence[ConceptRow], seconds: Callable[[int, int], str] | None = None
) -> list[str]:
    """The concepts that have contexts as text, and how many of the others are left as they are.

    Args:
        rows: What `pool_report` gave.
        seconds: Says where a clip is, from the numbers of its video and of itself; None: both are
            written.

    Returns:
        Lines.
    """
    lines = []
    others: dict[str, list[str]] = {}
    for row in rows:
        if not row.strata:
            others.setdefault(row.status, []).append(row.name)
            continue
        lines.append(
            f"{row.name}: {row.num_videos} videos, {row.status}, "
            f"{row.effective:.0f} effective samples"
        )
        for one in row.strata:
            lines.append(
                f"  context {one.prototype}: in {one.with_concept:.1%} of its videos, in "
                f"{one.without_concept:.1%} of the others; after the adjustment {one.after:.1%}"
            )
            places = [
                seconds(example.video, example.first_clip)
                if seconds is not None
                else f"video {example.video} clips {example.first_clip}-{example.end_clip}"
                for example in one.examples
            ]
            lines += [f"    seen at {', '.join(places)}"] if places else []
    for status, names in others.items():
        more = ", ..." if len(names) > NUM_NAMED else ""
        lines.append(f"{status}: {len(names)} concepts ({'; '.join(names[:NUM_NAMED])}{more})")
    return lines


def _after(pool: ContextPool, concept: int, place: int) -> float:
    """How often the stratum is with the concept as training sees it."""
    rate = float(pool.rates()[0][concept, place])
    match pool.config.intervention:
        case "backdoor":
            # The sum over contexts takes each at its rate in all videos, whatever the sentence is.
            return float(pool.present_videos[place] / pool.num_videos)
        case "stratified" if place == int(pool.strongest[concept]):
            return rate * float(pool.weights[concept, 1])
        case _:
            return rate


@torch.no_grad()
def _examples(pool: ContextPool, videos: Sequence[Clips]) -> dict[int, tuple[Example, ...]]:
    """The windows that are most like each stratum."""
    used = pool.strata.any(dim=0).nonzero().flatten()
    best: dict[int, list[Example]] = {int(place): [] for place in used}
    for number, clips in enumerate(videos):
        if not best:
            break
        cosines, width = pool.windows_of(clips)
        values, first = cosines[:, used].max(dim=0)
        for place, value, start in zip(used.tolist(), values.tolist(), first.tolist(), strict=True):
            best[place].append(Example(number, start, start + width, value))
            best[place] = sorted(best[place], key=lambda one: -one.cosine)[:NUM_EXAMPLES]
    return {place: tuple(found) for place, found in best.items()}
