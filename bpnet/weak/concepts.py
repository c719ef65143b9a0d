"""Queries -> concepts: what a sentence is about, as a few numbers.

A concept is a class of content words. There is no part-of-speech tagger: words of a fixed list are
no content, and the others are gathered around spherical k-means centres of their word vectors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bpnet.contexts.clusters import spherical_kmeans
from bpnet.errors import AnnotationError, ConfigError

NUM_CONCEPTS = 128
# Function words of English, forms of the auxiliaries, and words that name any person or any video.
STOP_WORDS = frozenset(
    """
    a an the this that these those some any each every either neither no all both half several many
    few much more most other another such same own one ones two first second
    i me my mine myself you your yours yourself he him his himself she her hers herself it its
    itself we us our ours ourselves they them their theirs themselves someone somebody something
    anyone anybody anything everyone everybody everything nobody nothing who whom whose which what
    person persons people man men woman women boy girl guy lady
    am is are was were be been being do does did doing done have has had having can could may might
    must shall should will would ought
    and or but nor so yet if then else than because while when whenever where wherever why how
    whether though although until unless since after before as
    of in on at to from by with without within into onto upon over under above below between among
    through during about against along across around near behind beside besides beyond inside
    outside off out up down for per via toward towards
    not never ever always often again also too very just only even still already now here there
    once away back together almost quite rather
    video videos clip clips scene scenes camera shown show shows see seen we're it's he's she's
    they're that's there's who's what's don't doesn't isn't aren't
    """.split()
)

Vectors = Mapping[str, npt.ArrayLike]


def content_words(tokens: Iterable[str]) -> list[str]:
    """The tokens that say what a query is about.

    Args:
        tokens: Lower-case tokens of a query.

    Returns:
        Those with a letter that are not in `STOP_WORDS`, in order.
    """
    return [
        token
        for token in tokens
        if token not in STOP_WORDS and any(letter.isalpha() for letter in token)
    ]


@dataclasses.dataclass(frozen=True)
class Concepts:
    """Which concept each content word belongs to.

    Attributes:
        words: Number of the concept by word.
        count: Number of concepts K.
    """

    words: Mapping[str, int]
    count: int

    def of(self, tokens: Iterable[str]) -> tuple[int, ...]:
        """The concepts of a query.

        Args:
            tokens: Its lower-case tokens.

        Returns:
            Different numbers in [0, K), sorted; empty where no content word is known.
        """
        found = {self.words[word] for word in content_words(tokens) if word in self.words}
        return tuple(sorted(found))

    def name(self, concept: int, most: int = 3) -> str:
        """Its words, for a person to read.

        Args:
            concept: Its number.
            most: How many words are written out.

        Returns:
            Words in order of the alphabet, such as ``"close, open, shut"``.
        """
        words = sorted(word for word, number in self.words.items() if number == concept)
        return ", ".join(words[:most]) + (", ..." if len(words) > most else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a file beside the training state."""
        return {"words": dict(self.words), "count": self.count}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Concepts:
        """Read what `to_dict` gave."""
        return cls(
            {str(word): int(number) for word, number in values["words"].items()},
            int(values["count"]),
        )


def fit_concepts(
    queries: Iterable[Sequence[str]],
    vectors: Vectors,
    num_concepts: int = NUM_CONCEPTS,
    seed: int = 0,
) -> Concepts:
    """Gather the content words of the training queries into concepts.

    Args:
        queries: The lower-case tokens of each training query.
        vectors: Word vectors (E,) by word; a word without one belongs to no concept.
        num_concepts: Most concepts; with fewer words each word is one.
        seed: Of the first centres.

    Returns:
        The concepts.

    Raises:
        ConfigError: ``num_concepts`` is less than 1.
        AnnotationError: No content word has a vector.
    """
    if num_concepts < 1:
        raise ConfigError(f"num_concepts={num_concepts}: expected an integer >= 1")
    said = {word for tokens in queries for word in content_words(tokens)}
    words = sorted(word for word in said if word in vectors)
    if not words:
        raise AnnotationError(
            f"none of the {len(said)} content words of the queries has a vector: expected some "
            "(data.vectors); vectors of another language or case do not fit"
        )
    table = torch.from_numpy(np.stack([np.asarray(vectors[word], np.float32) for word in words]))
    if num_concepts >= len(words):
        return Concepts({word: number for number, word in enumerate(words)}, len(words))
    centres = spherical_kmeans(table, num_concepts, seed)
    nearest = (table @ centres.T).argmax(dim=1)
    # Numbers without gaps: a centre may have lost its words.
    kept, numbers = np.unique(nearest.numpy(), return_inverse=True)
    return Concepts(dict(zip(words, numbers.tolist(), strict=True)), len(kept))
