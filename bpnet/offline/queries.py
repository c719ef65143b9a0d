"""A JSONL of sentences about videos, without moments."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from bpnet.errors import AnnotationError


@dataclasses.dataclass(frozen=True)
class Query:
    """A sentence about a video.

    Attributes:
        qid: Its name; that of the file's line where none is given.
        video_id: The video.
        query: The sentence.
    """

    qid: str
    video_id: str
    query: str


def read_queries(path: Path) -> list[Query]:
    """Read a file with ``video_id``, ``query`` and perhaps ``qid`` a line.

    Args:
        path: The file.

    Returns:
        The queries, those about one video side by side, otherwise in the file's order.

    Raises:
        AnnotationError: The file cannot be read, or a line is not such an object.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise AnnotationError(f"queries {str(path)!r}: cannot be read ({err})") from err
    found = [
        _query(line, number, path) for number, line in enumerate(lines, start=1) if line.strip()
    ]
    if not found:
        raise AnnotationError(f"queries {str(path)!r}: there is none in it")
    order = {video: place for place, video in reversed(list(enumerate(q.video_id for q in found)))}
    return sorted(found, key=lambda one: order[one.video_id])


def _query(line: str, number: int, path: Path) -> Query:
    where = f"queries {str(path)!r}, line {number}"
    try:
        row = json.loads(line)
    except ValueError as err:
        raise AnnotationError(f"{where}: not JSON ({err})") from err
    wanted = '{"video_id": "...", "query": "..."}'
    if not isinstance(row, dict):
        raise AnnotationError(f"{where}: {line[:80]!r}: expected {wanted}")
    texts = {name: row.get(name) for name in ("video_id", "query")}
    for name, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise AnnotationError(f"{where}: {name} is {text!r}: expected text, as in {wanted}")
    return Query(str(row.get("qid", number)), str(texts["video_id"]), str(texts["query"]))
