"""The two dictionaries of VSLNet, as JSON -> Vocabulary; its pickle is never opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bpnet.data.vocabulary import SPECIALS, Vocabulary
from bpnet.errors import CheckpointError

HOW = "`bpnet import-vslnet --help` says how to write it"
_THEIR_SPECIALS = ["<PAD>", "<UNK>"]


def read_vslnet_words(path: Path, tokenizer: str, max_query_tokens: int) -> Vocabulary:
    """Read the words and characters of a trained VSLNet, each at the row that it was trained at.

    Args:
        path: JSON with ``word_dict`` and ``char_dict``: id by word, and by character.
        tokenizer: As in `bpnet.config.DataConfig`; ``nltk`` is VSLNet's.
        max_query_tokens: Longer queries are cut to this many tokens.

    Returns:
        The vocabulary.

    Raises:
        CheckpointError: The file is missing or holds something else.
    """
    try:
        values = json.loads(path.read_bytes())
    except OSError as err:
        raise CheckpointError(f"words {str(path)!r}: cannot be read ({err}); {HOW}") from err
    except (ValueError, RecursionError) as err:
        raise CheckpointError(f"words {str(path)!r}: not JSON ({err}); {HOW}") from err
    lists = [_by_id(values, name, f"words {str(path)!r}") for name in ("word_dict", "char_dict")]
    return Vocabulary(lists[0], lists[1], tokenizer, max_query_tokens)


def _by_id(values: Any, name: str, where: str) -> tuple[str, ...]:
    """The keys of a dictionary whose values are 0, 1, 2 ..., in this order, with our specials."""
    ids = values.get(name) if isinstance(values, dict) else None
    if not isinstance(ids, dict):
        raise CheckpointError(f"{where}: {name} is missing: expected an object of ids; {HOW}")
    wrong = [key for key, i in ids.items() if type(i) is not int or not 0 <= i < len(ids)]
    if wrong or len(set(ids.values())) != len(ids):
        raise CheckpointError(
            f"{where}: {name} has {len(ids)} entries: expected the ids 0 to {len(ids) - 1}, each "
            f"once; see {wrong[:5] or 'equal ids'}"
        )
    ordered = sorted(ids, key=ids.__getitem__)
    if ordered[:2] != _THEIR_SPECIALS:
        raise CheckpointError(
            f"{where}: {name} begins with {ordered[:2]}: expected {_THEIR_SPECIALS}; {HOW}"
        )
    return (*SPECIALS, *ordered[2:])
