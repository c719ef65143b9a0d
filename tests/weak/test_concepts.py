"""Concepts: words that are no content are left out, and words of near vectors are one concept."""

from __future__ import annotations

import numpy as np
import pytest

from bpnet.errors import AnnotationError, ConfigError
from bpnet.weak.concepts import Concepts, content_words, fit_concepts

rng = np.random.default_rng(0)
DIRECTIONS = {name: rng.normal(size=20) for name in ("open", "dog", "cup")}
WORDS = {"open": ("open", "unlock"), "dog": ("dog", "puppy", "hound"), "cup": ("cup", "mug")}
VECTORS = {
    word: DIRECTIONS[name] + 0.1 * rng.normal(size=20)
    for name, words in WORDS.items()
    for word in words
}
SAID = [
    "a person starts to unlock the door".split(),
    "the dog and the puppy".split(),
    "they open a mug".split(),
    "the hound has the cup".split(),
]


def test_function_words_and_numbers_are_no_content() -> None:
    tokens = "the person is in front of a red door 2 times".split()
    assert content_words(tokens) == ["front", "red", "door", "times"]


def test_words_of_near_vectors_are_one_concept() -> None:
    concepts = fit_concepts(SAID, VECTORS, num_concepts=3)
    assert concepts.count == 3
    for words in WORDS.values():
        assert len({concepts.words[word] for word in words}) == 1
    assert len({concepts.words[words[0]] for words in WORDS.values()}) == 3
    assert concepts.of("the puppy and a hound".split()) == (concepts.words["dog"],)
    both = concepts.of("the mug of the dog".split())
    assert both == tuple(sorted({concepts.words["cup"], concepts.words["dog"]}))
    assert concepts.of("the door".split()) == ()  # it has no vector
    assert concepts.name(concepts.words["dog"]) == "dog, hound, puppy"
    assert concepts.name(concepts.words["dog"], most=1) == "dog, ..."


def test_with_room_for_all_each_word_is_a_concept() -> None:
    concepts = fit_concepts(SAID, VECTORS)
    assert concepts.count == len(VECTORS) == len(set(concepts.words.values()))


def test_the_order_of_the_queries_changes_nothing() -> None:
    assert fit_concepts(SAID, VECTORS, 3) == fit_concepts(SAID[::-1], VECTORS, 3)


def test_they_survive_as_plain_values() -> None:
    concepts = fit_concepts(SAID, VECTORS, 3)
    assert Concepts.from_dict(concepts.to_dict()) == concepts


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(AnnotationError, match="none of the 1 content words"):
        fit_concepts([["the", "zebra"]], VECTORS)
    with pytest.raises(ConfigError, match="num_concepts=0"):
        fit_concepts(SAID, VECTORS, 0)
