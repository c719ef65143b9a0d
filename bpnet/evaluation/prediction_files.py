"""Anyone's predictions: a JSON or JSONL file -> `PredictedQuery`, by the form that it has.

The form is recognised by the names in the file, never by its own name:

- ``bpnet``, our ``predictions.jsonl``: a line a query with ``qid`` and ``moments``, a list of
  ``{"start_seconds", "end_seconds", "score"}``; ``stage_one`` the same, where there is one, and
  ``saliency_scores``, a score for each clip, where wanted.
- ``moment-detr``, the submission of Moment-DETR and its followers: a line a query with ``qid``,
  ``pred_relevant_windows``, a list of ``[start, end, score]``, and, where wanted,
  ``pred_saliency_scores``, a score for each clip.
- ``2d-tan``: a list, or a line a query, of ``vid``, ``description`` and ``timestamps``, a list of
  ``[start, end]``, best first; ``scores`` where there are any. This is what the test loop of
  MS-2D-TAN collects and saves with ``torch.save``; that file is a pickle, which is not read here:
  write the same list with ``json.dump``. (2D-TAN's own ``save_scores`` keeps the last query of each
  video only, which cannot be scored.)
- ``vslnet``: a list, or a line a query, of ``vid``, ``words`` (or ``sentence``), and ``start_time``
  and ``end_time`` (or ``timestamp``, ``[start, end]``). VSLNet, SeqPAN and BPNet write no
  predictions; these are the names of their test loop's records and variables.
- ``nlq``: ``{"results": [{"clip_uid", "annotation_uid", "query_idx", "predicted_times"}]}``, which
  the VSLNet of the Ego4D benchmark writes; its qid is ``ANNOTATION-UID_QUERY-IDX``.
- ``pairs``: one object of ``QID: [start, end]`` or ``QID: [[start, end], ...]``.

Where ``2d-tan`` and ``vslnet`` entries have a ``qid``, it is used; other names in an entry are
ignored. Times are seconds. The rank of a moment is its place in the file, as in all evaluation
codes that read such files; scores order moments for average precision and soft-NMS only.
"""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bpnet.data.annotation_text import file_size, parse_json, shown
from bpnet.errors import AnnotationError
from bpnet.evaluation.prediction_entries import PredictedQuery, read_entry

# A file is read whole. Its values take some eight times its size in memory; a hostile file, forty.
MAX_FILE_BYTES = 2**28

# A name that only entries of that form have.
_MARKS = {
    "moments": "bpnet",
    "pred_relevant_windows": "moment-detr",
    "timestamps": "2d-tan",
    "start_time": "vslnet",
    "timestamp": "vslnet",
    "predicted_times": "nlq",
}
_FORMS = (
    "our predictions.jsonl (names qid, moments), a Moment-DETR submission (qid, "
    "pred_relevant_windows), 2D-TAN's list (vid, description, timestamps), VSLNet's records (vid, "
    "words, start_time, end_time), Ego4D-NLQ results (predicted_times), or one object of "
    "qid: [start, end]"
)


@dataclasses.dataclass(frozen=True, eq=False)
class PredictionFile:
    """What a file holds.

    Attributes:
        path: The file.
        form: Its form, as this module names it.
        reason: Why it was taken for that form.
        queries: The answers, in file order.
        notes: What a reader of the numbers should know about the file.
    """

    path: str
    form: str
    reason: str
    queries: tuple[PredictedQuery, ...]
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class _Entries:
    """The entries of a file: ``kind`` and number say where each is."""

    kind: str
    numbers: range | array[int]
    values: list[Any]

    @staticmethod
    def of(values: list[Any]) -> _Entries:
        return _Entries("entry", range(1, len(values) + 1), values)


def read_predictions(path: str | Path) -> PredictionFile:
    """Read a file of predictions of any form of this module.

    Args:
        path: The file: JSON or JSONL, UTF-8, at most `MAX_FILE_BYTES`.

    Returns:
        The answers, not yet matched to annotations.

    Raises:
        AnnotationError: The file cannot be read, is of no form or of more than one, or an entry
            is not what its form says; the first five faults are shown with their places.
    """
    file = Path(path)
    form, reason, entries = _recognise(file, _read_text(file))
    queries, faults, num_faults = [], [], 0
    for place, value in zip(entries.numbers, entries.values, strict=True):
        where = f"{entries.kind} {place}"
        try:
            queries.append(read_entry(where, value, form))
        except ValueError as err:
            num_faults += 1
            if num_faults <= 5:  # no more are kept, however many a file has
                faults.append(f"{where}: {err}")
    if faults:
        more = f"; and {num_faults - 5} more" if num_faults > 5 else ""
        raise _error(
            file,
            f"read as {form} because {reason}: {num_faults} fault{'s' * (num_faults > 1)}: "
            f"{'; '.join(faults)}{more}",
        )
    return PredictionFile(str(file), form, reason, tuple(queries), _notes(queries))


def _read_text(file: Path) -> str:
    try:
        size = file_size(file)
        if size > MAX_FILE_BYTES:
            raise _error(
                file,
                f"{size} bytes: expected at most {MAX_FILE_BYTES}; keep the best hundred moments "
                "of each query",
            )
        return file.read_text(encoding="utf-8-sig")
    except OSError as err:
        raise _error(file, f"cannot be read: {err}") from err
    except UnicodeDecodeError as err:
        raise _error(
            file, f"{err}: expected JSON or JSONL in UTF-8; pickles (.pkl, .pt) are not read"
        ) from err


def _recognise(file: Path, text: str) -> tuple[str, str, _Entries]:
    """The form of a file, why, and its entries."""
    try:
        value = parse_json(text)
    except ValueError as err:
        entries = _parse_lines(file, text, err)
    else:
        match value:
            case {"results": list(results)}:
                value = results
            case dict() if value and not _MARKS.keys() & value.keys():
                if all(isinstance(one, list) for one in value.values()):
                    reason = "it is one object that gives a list for each name"
                    return "pairs", reason, _Entries.of(list(value.items()))
            case _:
                pass
        entries = _Entries.of(value if isinstance(value, list) else [value])
    if not entries.values:
        raise _error(file, "no entry: expected one for each query")
    first = entries.values[0]
    names = list(first) if isinstance(first, dict) else []
    marks = {_MARKS[name]: name for name in names if name in _MARKS}
    if len(marks) != 1:
        found = f"its first entry has the names {shown(names)}" if names else shown(first)
        unsure = f"which mark {' and '.join(marks)}: " if marks else ""
        raise _error(file, f"{found}: {unsure}expected one of these forms: {_FORMS}")
    ((form, name),) = marks.items()
    return form, f"its entries have {name!r}", entries


def _parse_lines(file: Path, text: str, problem: ValueError) -> _Entries:
    """The values of a JSONL file."""
    numbers = array("L")
    entries = _Entries("line", numbers, [])
    for place, line in enumerate(_lines(text), start=1):
        if line.strip():
            try:
                entries.values.append(parse_json(line))
            except ValueError as err:
                # Where not even the first line is a value, the file was meant to be one value.
                told = f"line {place}: {err}" if entries.values else str(problem)
                raise _error(file, f"neither JSON nor JSONL: {told}") from err
            numbers.append(place)
    return entries


def _lines(text: str) -> Iterator[str]:
    """The lines one by one; other characters than "\\n" that end lines may stand in JSON."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end + 1


def _notes(queries: list[PredictedQuery]) -> tuple[str, ...]:
    notes = []
    unsorted = without = empty = 0
    for query in queries:
        scores = query.answer.scores
        assert scores is None or isinstance(scores, list)
        without += scores is None
        unsorted += scores is not None and scores != sorted(scores, reverse=True)
        empty += not query.answer.moments
    if empty:
        notes.append(f"{empty} of {len(queries)} queries have no moment, and count as missed")
    if unsorted:
        notes.append(
            f"the scores of {unsorted} of {len(queries)} queries do not descend: ranks are the "
            "order in the file"
        )
    if 0 < without < len(queries):
        notes.append(f"{without} of {len(queries)} queries have no scores, so none are used")
    return tuple(notes)


def _error(file: Path, message: str) -> AnnotationError:
    return AnnotationError(f"predictions file {str(file)!r}: {message}")
