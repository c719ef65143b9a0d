"""Words to ids and vectors; the only user of torchtext."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import re
import ssl
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchtext.data.utils import get_tokenizer
from torchtext.vocab import Vectors, Vocab, pretrained_aliases

from bpnet.errors import AnnotationError, ConfigError

PAD, UNKNOWN = 0, 1
SPECIALS = ["<pad>", "<unk>"]
# The widest character filter reads four characters, so no word is shorter (models/layers.py).
MIN_CHARACTERS = 4
MAX_CHARACTERS = 24

# The short names of the two that papers name.
_SHORT = {"glove.6B": "glove.6B.300d", "glove.840B": "glove.840B.300d"}

_WORDS = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


def _split(text: str) -> list[str]:
    return text.lower().split()


@functools.cache
def _nltk() -> tuple[Any, Any]:
    """NLTK's splitters of texts and of sentences, as far as they need no downloaded data."""
    try:
        punkt = importlib.import_module("nltk.tokenize.punkt")
        treebank = importlib.import_module("nltk.tokenize.destructive")
    except ImportError as err:
        raise ConfigError("data.tokenizer='nltk' needs NLTK: `pip install nltk`") from err
    return punkt.PunktSentenceTokenizer(), treebank.NLTKWordTokenizer()


def _treebank(text: str) -> list[str]:
    # As NLTK's word_tokenize on the lower-case text, but that every full stop before white space
    # ends a sentence: which abbreviations do not ("st. mark") is data that NLTK downloads.
    sentences, words = _nltk()
    return [
        token
        for sentence in sentences.tokenize(text.strip().lower())
        for token in words.tokenize(sentence)
    ]


def _blank(text: str) -> list[str]:
    return ["video"]  # a word that every set of vectors knows


_TOKENIZERS: dict[str, str | Callable[[str], list[str]]] = {
    "words": _words,
    "basic_english": "basic_english",
    "split": _split,
    "nltk": _treebank,
    "blank": _blank,
}


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What a model knows of words: it travels inside the checkpoint.

    Attributes:
        words: Words by id; 0 is padding, 1 the unknown word.
        characters: Characters by id; 0 is padding, 1 the unknown one. Empty where the model reads
            none.
        tokenizer: Name of the tokeniser, see `bpnet.config.DataConfig`.
        max_query_tokens: Longer queries are cut to this many tokens.
    """

    words: tuple[str, ...]
    characters: tuple[str, ...]
    tokenizer: str
    max_query_tokens: int

    def __post_init__(self) -> None:
        # Without padding: a query may hold the token "<pad>", which is a word that is not known.
        words = {word: i for i, word in enumerate(self.words) if i != PAD}
        object.__setattr__(self, "_word_ids", words)
        object.__setattr__(self, "_char_ids", {char: i for i, char in enumerate(self.characters)})

    def tokens(self, query: str) -> list[str]:
        """The tokens of a query, not cut.

        Args:
            query: The sentence.

        Returns:
            At least one token.

        Raises:
            AnnotationError: The query has no token.
        """
        found = tokenize(query, self.tokenizer)
        if not found:
            raise AnnotationError(f"query {query!r} has no words: write a sentence")
        return found

    def knows_any(self, tokens: Iterable[str]) -> bool:
        """Whether one of some tokens is a word that the model knows."""
        word_ids: dict[str, int] = self._word_ids  # type: ignore[attr-defined]
        return any(word_ids.get(token, UNKNOWN) != UNKNOWN for token in tokens)

    def encode(self, query: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Token and character ids of a query, cut to ``max_query_tokens``.

        Args:
            query: The sentence.

        Returns:
            Token ids (L,) and character ids (L, W); W is 0 where the model reads no characters.

        Raises:
            AnnotationError: The query has no token.
        """
        tokens = self.tokens(query)[: self.max_query_tokens]
        word_ids: dict[str, int] = self._word_ids  # type: ignore[attr-defined]
        ids = np.array([word_ids.get(token, UNKNOWN) for token in tokens], dtype=np.int64)
        if not self.characters:
            return ids, np.zeros((len(tokens), 0), dtype=np.int64)
        char_ids: dict[str, int] = self._char_ids  # type: ignore[attr-defined]
        longest = max(MIN_CHARACTERS, min(MAX_CHARACTERS, max(map(len, tokens))))
        letters = np.zeros((len(tokens), longest), dtype=np.int64)
        for row, token in zip(letters, tokens, strict=True):
            known = [char_ids.get(char, UNKNOWN) for char in token[:MAX_CHARACTERS]]
            row[: len(known)] = known
        return ids, letters

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Vocabulary:
        """Read what `to_dict` gave."""
        return cls(
            words=tuple(values["words"]),
            characters=tuple(values["characters"]),
            tokenizer=values["tokenizer"],
            max_query_tokens=int(values["max_query_tokens"]),
        )


def tokenize(text: str, tokenizer: str) -> list[str]:
    """Split a text with a named tokeniser; see `bpnet.config.DataConfig.tokenizer`.

    Args:
        text: The text.
        tokenizer: Name of the tokeniser.

    Returns:
        The tokens.

    Raises:
        ConfigError: It is ``nltk``, and NLTK is not installed.
    """
    return list(get_tokenizer(_TOKENIZERS[tokenizer])(text))


def build_vocabulary(
    queries: Iterable[str],
    *,
    tokenizer: str,
    characters: bool,
    max_query_tokens: int,
    vectors: Vectors | None = None,
    min_word_count: int = 1,
    min_character_count: int = 5,
) -> tuple[Vocabulary, Tensor | None]:
    """The words and characters of some queries, most frequent first.

    With vectors, a word is known when it has one; without, when it is frequent enough.

    Args:
        queries: The sentences.
        tokenizer: Name of the tokeniser.
        characters: Whether to keep characters too.
        max_query_tokens: Longest query.
        vectors: Word vectors, from `load_vectors`.
        min_word_count: Occurrences that a word needs where there are no vectors.
        min_character_count: Occurrences that a character needs (5 in VSLNet).

    Returns:
        The vocabulary, and the vectors of its words (words, dim) with zeros in the first two rows;
        None where no vectors were given.

    Raises:
        ConfigError: Not one word has a vector.
    """
    word_counts: Counter[str] = Counter()
    char_counts: Counter[str] = Counter()
    for query in queries:
        tokens = tokenize(query, tokenizer)
        word_counts.update(tokens)
        char_counts.update("".join(tokens))
    if vectors is not None:
        all_words = len(word_counts)
        known = {w: n for w, n in word_counts.items() if w in vectors.stoi}
        word_counts, min_word_count = Counter(known), 1
        if not word_counts:
            raise ConfigError(
                f"data.vectors: none of the {all_words} words of the queries has a vector: the "
                "file is of another language, or of another case (words are lower-case)"
            )
    vocab = Vocab(word_counts, min_freq=min_word_count, specials=SPECIALS)
    letters: list[str] = []
    if characters:
        letters = Vocab(char_counts, min_freq=min_character_count, specials=SPECIALS).itos
    vocabulary = Vocabulary(tuple(vocab.itos), tuple(letters), tokenizer, max_query_tokens)
    if vectors is None:
        return vocabulary, None
    table = torch.zeros(len(vocabulary.words), vectors.dim)
    for row, word in enumerate(vocabulary.words[len(SPECIALS) :], start=len(SPECIALS)):
        table[row] = vectors.vectors[vectors.stoi[word]]
    return vocabulary, table


def load_vectors(source: str, cache: str | None = None) -> Vectors:
    """Word vectors by name or from a file, through torchtext.

    Args:
        source: A name that torchtext knows, such as ``glove.6B.300d``, which is downloaded at its
            first use; or a text file with ``word v1 v2 ...`` a line.
        cache: Folder for downloads and parsed files; None: ``~/.cache/bpnet/vectors``.

    Returns:
        torchtext's vectors.

    Raises:
        ConfigError: The file is missing or not a vector file, or the download failed.
    """
    folder = Path(cache).expanduser() if cache else Path.home() / ".cache" / "bpnet" / "vectors"
    path = Path(source).expanduser()
    if path.is_file():
        return _load_file(path, folder)
    source = _SHORT.get(source, source)
    if source not in pretrained_aliases:
        raise ConfigError(
            f"data.vectors={source!r}: neither a file nor a name that torchtext knows "
            f"({', '.join(sorted(n for n in pretrained_aliases if n.startswith('glove')))})"
        )
    try:
        return _load_once(folder / source, pretrained_aliases[source])
    except Exception as err:  # of the network, the archive, its text or the parsed copy
        raise ConfigError(
            f"data.vectors={source!r}: download to {folder} failed ({err}); fetch the file by "
            "other means and give its path"
        ) from err


def _load_file(path: Path, folder: Path) -> Vectors:
    # torchtext keeps a parsed copy under the file's bare name, so two files of one name would be
    # taken for each other; each file gets a folder of its own.
    stat = path.stat()
    key = f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}"
    parsed = folder / hashlib.sha256(key.encode()).hexdigest()[:16]
    try:
        return _load_once(parsed, functools.partial(Vectors, str(path)))
    except OSError as err:
        raise ConfigError(
            f"data.vectors={str(path)!r}: cannot be read, or its parsed copy not kept in {folder} "
            f"({err}); set data.vectors_cache to a folder that can be written"
        ) from err
    except Exception as err:  # torchtext checks little; numbers, tensors, archives fail their way
        raise ConfigError(
            f"data.vectors={str(path)!r}: not a vector file ({err}): expected lines "
            "`word v1 v2 ...`, separated by single spaces, all of one length"
        ) from err


def _load_once(parsed: Path, load: Callable[..., Vectors]) -> Vectors:
    """Load vectors from their parsed copy, which is put in place only when it is complete."""
    with _certificates_checked():
        if parsed.is_dir():
            return load(cache=str(parsed))
        parsed.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parsed.parent) as name:
            fresh = Path(name) / "parsed"
            vectors = load(cache=str(fresh))
            for file in fresh.iterdir():
                if file.suffix != ".pt" and file.is_file():  # downloaded archive, and its text
                    file.unlink()
            with contextlib.suppress(OSError):  # another process was first
                fresh.replace(parsed)
        return vectors


@contextlib.contextmanager
def _certificates_checked() -> Iterator[None]:
    """Undo what torchtext 0.6 does: it turns certificate checks off for the whole process.

    The download itself is checked too; otherwise, since Python 3.12, urllib would keep the
    unchecked settings of its first connection.
    """
    checked, unchecked = ssl._create_default_https_context, ssl._create_unverified_context
    ssl._create_unverified_context = checked  # type: ignore[assignment]
    try:
        yield
    finally:
        ssl._create_default_https_context, ssl._create_unverified_context = checked, unchecked
