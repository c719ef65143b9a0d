"""Words to ids and vectors: tokenisers, unknown words, vector files and their faults."""

from __future__ import annotations

import gzip
import json
import os
import ssl
import sys
import zipfile
from pathlib import Path
from typing import Any
from urllib.error import ContentTooShortError, URLError

import numpy as np
import pytest
import torch
import torchtext.vocab

from bpnet.data.vocabulary import (
    MAX_CHARACTERS,
    MIN_CHARACTERS,
    UNKNOWN,
    Vocabulary,
    _nltk,
    build_vocabulary,
    load_vectors,
    tokenize,
)
from bpnet.errors import AnnotationError, ConfigError

VECTORS = "door 1 2 3\nopen -1 0.5 1e-2\nperson 0 0 4\n"


def vocabulary(*queries: str, **values: Any) -> Vocabulary:
    settings: dict[str, Any] = {
        "tokenizer": "words",
        "characters": True,
        "max_query_tokens": 6,
        "min_character_count": 1,
    }
    return build_vocabulary(queries, **{**settings, **values})[0]


def vector_file(folder: Path, text: str = VECTORS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "vectors.txt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("tokenizer", "text", "tokens"),
    [
        (
            "words",
            "A person's Dog, can\N{RIGHT SINGLE QUOTATION MARK}t run!",
            ["a", "person's", "dog", "can't", "run"],
        ),
        ("words", "two-door\u00a0car (2nd)", ["two", "door", "car", "2nd"]),
        ("words", "naïve_café", ["naïve", "café"]),
        ("words", "'quoted' ...", ["quoted"]),
        ("words", " \t\n ?", []),
        ("basic_english", "A dog, runs.", ["a", "dog", ",", "runs", "."]),
        ("split", "A dog,  runs.", ["a", "dog,", "runs."]),
        ("blank", "A dog runs.", ["video"]),
    ],
)
def test_tokenizers(tokenizer: str, text: str, tokens: list[str]) -> None:
    assert tokenize(text, tokenizer) == tokens


def test_most_frequent_first() -> None:
    words = vocabulary("open the door", "the red door", "the end")
    # the 3, door 2, then once each by alphabet.
    assert words.words == ("<pad>", "<unk>", "the", "door", "end", "open", "red")
    # Letters: e 6 (the x 3, red, end, open), d and o 4 (door x 2; red, end; open), h and t 3,
    # n and r 3 and so on; of equal counts by alphabet.
    assert words.characters[:3] == ("<pad>", "<unk>", "e")
    assert words.characters.index("d") < words.characters.index("p")


def test_rare_words_and_characters_are_unknown() -> None:
    words = vocabulary("a a b", min_word_count=2, min_character_count=2)
    assert words.words == ("<pad>", "<unk>", "a")
    assert words.characters == ("<pad>", "<unk>", "a")
    ids, letters = words.encode("b a")
    assert ids.tolist() == [UNKNOWN, 2]
    assert letters[:, 0].tolist() == [UNKNOWN, 2]


def test_encode() -> None:
    words = vocabulary("open the door")  # door 2, open 3, the 4; letters by count: o 3, e 2, ...
    ids, letters = words.encode("Open a door!")
    assert ids.dtype == letters.dtype == np.int64
    assert ids.tolist() == [3, UNKNOWN, 2]
    spelled = [[words.characters[char] for char in row if char] for row in letters]
    assert ["".join(row) for row in spelled] == ["open", "<unk>", "door"]
    assert letters.shape == (3, 4)


def test_characters_reach_from_four_to_the_longest() -> None:
    words = vocabulary("ab c")
    assert words.encode("c")[1].shape == (1, MIN_CHARACTERS)
    assert words.encode("c")[1][0, 1:].tolist() == [0, 0, 0]
    assert words.encode("ab " + "c" * 9)[1].shape == (2, 9)
    long = words.encode("c" * 100)[1]
    assert long.shape == (1, MAX_CHARACTERS) and (long > 0).all()
    assert vocabulary("ab c", characters=False).encode("ab c")[1].shape == (2, 0)


def test_query_is_cut() -> None:
    words = vocabulary("a b c d e f g h", max_query_tokens=3)
    assert [words.words[i] for i in words.encode("h g f e d")[0]] == ["h", "g", "f"]
    assert words.tokens("h g f e d") == ["h", "g", "f", "e", "d"]
    # A long word behind the cut does not widen the letters.
    assert words.encode("a b c ddddddddd")[1].shape == (3, MIN_CHARACTERS)


def test_only_unknown_words() -> None:
    ids, letters = vocabulary("open the door").encode("xyz qqq")
    assert ids.tolist() == [UNKNOWN, UNKNOWN]
    assert (letters[:, :3] == UNKNOWN).all()


def test_special_tokens_in_a_query_are_unknown_words() -> None:
    # Never 0, which would be a word that counts as padding.
    words = vocabulary("open the door", tokenizer="split")
    assert words.encode("<pad> <unk>")[0].tolist() == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("query", ["", "   ", "...?!", "_"])
def test_query_without_words(query: str) -> None:
    words = vocabulary("open the door")
    for ask in (words.encode, words.tokens):
        with pytest.raises(AnnotationError, match=r"has no words: write a sentence"):
            ask(query)


def test_round_trip() -> None:
    words = vocabulary("person's naïve door", tokenizer="words")
    again = Vocabulary.from_dict(json.loads(json.dumps(words.to_dict())))
    assert again == words
    query = "a person's door"
    for one, other in zip(again.encode(query), words.encode(query), strict=True):
        assert np.array_equal(one, other)


def test_vectors_of_the_words(tmp_path: Path) -> None:
    vectors = load_vectors(str(vector_file(tmp_path)), str(tmp_path / "cache"))
    queries = ["open the door", "Open it"]
    words, table = build_vocabulary(
        queries, tokenizer="words", characters=True, max_query_tokens=6, vectors=vectors
    )
    # Only words with a vector are known, however often the others occur.
    assert words.words == ("<pad>", "<unk>", "open", "door")
    assert table is not None
    expected = [[0, 0, 0], [0, 0, 0], [-1, 0.5, 1e-2], [1, 2, 3]]
    torch.testing.assert_close(table, torch.tensor(expected))


def test_no_word_has_a_vector(tmp_path: Path) -> None:
    vectors = load_vectors(str(vector_file(tmp_path)), str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match="none of the 2 words"):
        build_vocabulary(
            ["une porte", "porte"],
            tokenizer="words",
            characters=False,
            max_query_tokens=6,
            vectors=vectors,
        )


def test_files_of_one_name_are_not_mixed_up(tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    one = vector_file(tmp_path / "one")
    other = vector_file(tmp_path / "other", VECTORS.replace("door 1 2 3", "door 7 8 9"))
    os.utime(one, ns=(10, 10))  # of one size and time, as copies of one archive may be
    os.utime(other, ns=(10, 10))
    for _ in range(2):  # parsed, then from the parsed copy
        assert load_vectors(str(one), cache)["door"].tolist() == [1, 2, 3]
        assert load_vectors(str(other), cache)["door"].tolist() == [7, 8, 9]
    one.write_text(VECTORS.replace("door 1 2 3", "door 4 5 6"))  # a new file under an old name
    assert load_vectors(str(one), cache)["door"].tolist() == [4, 5, 6]
    os.utime(one, ns=(10, 10))
    one.write_text("door 4 5 6 7\n")
    os.utime(one, ns=(10, 10))
    assert load_vectors(str(one), cache)["door"].tolist() == [4, 5, 6, 7]


def test_parsed_copy_is_used_and_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = vector_file(tmp_path), tmp_path / "cache"
    load_vectors(str(path), str(cache))
    (parsed,) = cache.iterdir()
    assert [file.name for file in parsed.iterdir()] == ["vectors.txt.pt"]
    # Not read again.
    monkeypatch.setattr(torchtext.vocab, "_infer_shape", lambda file: 1 / 0)
    assert load_vectors(str(path), str(cache))["door"].tolist() == [1, 2, 3]


def test_another_process_was_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = vector_file(tmp_path), tmp_path / "cache"
    replace = Path.replace

    def late(self: Path, target: Path) -> Path:
        target.mkdir()
        (target / "vectors.txt.pt").write_bytes((self / "vectors.txt.pt").read_bytes())
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", late)
    assert load_vectors(str(path), str(cache))["door"].tolist() == [1, 2, 3]
    assert len(list(cache.iterdir())) == 1
    assert load_vectors(str(path), str(cache))["door"].tolist() == [1, 2, 3]


def test_non_breaking_spaces_and_headers(tmp_path: Path) -> None:
    # As in GloVe: a token may hold a no-break space; as in fastText: a header of two numbers.
    path = vector_file(tmp_path, "2 3\nnew\u00a0york 1 2 3\ncafé 4 5 6 \n")
    vectors = load_vectors(str(path), str(tmp_path / "cache"))
    assert vectors.itos == ["new\u00a0york", "café"]
    assert vectors["new\u00a0york"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("door 1 2 3\nopen 1 2\nperson 1 2 3\n", "2 dimensions, but previously .* 3"),
        ("door 1 2 3\nopen 1 2 3 4\n", "4 dimensions, but previously .* 3"),
        ("door 1 2 3\nopen 1 two 3\n", "could not convert"),
        ("door\t1\t2\t3\nopen\t1\t2\t3\n", "not a vector file"),
        ("", "not a vector file"),
        ("<html>\n<body>not found</body>\n</html>\n", "not a vector file"),
    ],
)
def test_damaged_vector_file(tmp_path: Path, text: str, match: str) -> None:
    path, cache = vector_file(tmp_path, text), tmp_path / "cache"
    for _ in range(2):  # the first failure leaves nothing behind that a second would take
        with pytest.raises(ConfigError, match=match) as info:
            load_vectors(str(path), str(cache))
        assert str(path) in str(info.value)
        assert list(cache.iterdir()) == []


def test_damaged_archive(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt.gz"
    whole = gzip.compress(VECTORS.encode() * 100)
    path.write_bytes(whole)
    assert load_vectors(str(path), str(tmp_path / "cache"))["door"].tolist() == [1, 2, 3]
    path.write_bytes(whole[:-12])
    with pytest.raises(ConfigError, match=r"vectors\.txt\.gz"):
        load_vectors(str(path), str(tmp_path / "cache"))


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError, match=r"set data\.vectors_cache"):
        load_vectors(str(vector_file(tmp_path)), str(blocked / "cache"))


@pytest.mark.parametrize("source", ["glove.7B.300d", "no/such/file.txt", "."])
def test_neither_file_nor_name(tmp_path: Path, source: str) -> None:
    with pytest.raises(ConfigError, match=r"neither a file nor a name.*glove\.6B\.300d"):
        load_vectors(source, str(tmp_path))


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that works: kept in a folder of its own, parsed only, and not fetched again."""
    fetched = []

    def retrieve(url: str, dest: str, reporthook: object) -> None:
        fetched.append(url)
        # Certificates are checked while it runs, although torchtext has just turned that off.
        assert ssl._create_default_https_context is ssl.create_default_context
        with zipfile.ZipFile(dest, "w") as archive:
            archive.writestr("glove.6B.50d.txt", VECTORS)

    monkeypatch.setattr(ssl, "_create_default_https_context", ssl.create_default_context)
    monkeypatch.setattr(torchtext.vocab, "urlretrieve", retrieve)
    for _ in range(2):
        assert load_vectors("glove.6B.50d", str(tmp_path))["door"].tolist() == [1, 2, 3]
    assert len(fetched) == 1
    files = [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()]
    assert files == ["glove.6B.50d/glove.6B.50d.txt.pt"]


@pytest.mark.parametrize(
    "error",
    [
        URLError("no network"),
        ContentTooShortError("got 10 of 100 bytes", b""),
        ValueError("unknown url type"),
        EOFError("end of archive"),
        None,  # a page of HTML where the archive should be
    ],
)
def test_failed_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    def retrieve(url: str, dest: str, reporthook: object) -> None:
        Path(dest).write_text("<html>half a file")
        if error is not None:
            raise error

    monkeypatch.setattr(torchtext.vocab, "urlretrieve", retrieve)
    before = ssl._create_default_https_context, ssl._create_unverified_context
    for _ in range(2):  # the half file of the first try is not taken for a whole one
        with pytest.raises(ConfigError, match=r"'glove\.6B\.50d': download to .* failed") as info:
            load_vectors("glove.6B.50d", str(tmp_path))
        assert str(error if error is not None else "not a zip file") in str(info.value)
        assert list(tmp_path.iterdir()) == []
    assert (ssl._create_default_https_context, ssl._create_unverified_context) == before


def test_certificate_checks_stay_on(tmp_path: Path) -> None:
    before = ssl._create_default_https_context, ssl._create_unverified_context
    path = vector_file(tmp_path)
    for _ in range(2):
        load_vectors(str(path), str(tmp_path / "cache"))
        after = ssl._create_default_https_context, ssl._create_unverified_context
        assert after == before
    path.write_text("damaged")
    with pytest.raises(ConfigError):
        load_vectors(str(path), str(tmp_path / "cache"))
    assert (ssl._create_default_https_context, ssl._create_unverified_context) == before


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A person opens the door.", ["a", "person", "opens", "the", "door", "."]),
        (" The man's dog can't jump ", ["the", "man", "'s", "dog", "ca", "n't", "jump"]),
        # Two sentences: a full stop belongs to the last word only inside one of them.
        ("He sits. She eats.", ["he", "sits", ".", "she", "eats", "."]),
        # Where NLTK's downloaded list of abbreviations would keep "st." whole.
        ("near st. mark", ["near", "st", ".", "mark"]),
        ('says "go", 2,000 times', ["says", "``", "go", "''", ",", "2,000", "times"]),
    ],
)
def test_nltk_tokenizer(text: str, tokens: list[str]) -> None:
    pytest.importorskip("nltk")
    assert tokenize(text, "nltk") == tokens


def test_nltk_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nltk.tokenize.punkt", None)
    _nltk.cache_clear()
    with pytest.raises(ConfigError, match="needs NLTK: `pip install nltk`"):
        tokenize("a person", "nltk")
    _nltk.cache_clear()
