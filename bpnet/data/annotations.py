"""A dataset's annotation files -> list[Annotation], with a report of what had to be repaired.

Dirt is repaired or dropped by the rules of `bpnet.data.repair`, and counted in its report.
Anything else that is wrong (syntax, types, a video without a duration, an id given twice) is an
error that names the places.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from bpnet.data import video_json
from bpnet.data.charades import read_charades_sta, which_copy
from bpnet.data.didemo import read_didemo
from bpnet.data.parts import PartFiles, find_part
from bpnet.data.repair import RawQuery, RepairReport, check_queries, repair
from bpnet.data.rows import Rows, read_rows
from bpnet.data.tacos_samples import read_tacos_samples
from bpnet.data.video_json import read_video_json
from bpnet.errors import AnnotationError, ConfigError
from bpnet.types import Annotation, Query


def read_annotations(
    dataset: str, path: str | Path, split: str
) -> tuple[list[Annotation], RepairReport]:
    """Read one part of a dataset.

    Args:
        dataset: One of `bpnet.config.DATASETS`:

            - ``charades_sta``: train, test; durations are looked for in the same folder and the
              one above;
            - ``charades_cd`` and ``activitynet_cd``: train, val, test_iid, test_ood;
            - ``tacos_2dtan`` and ``tacos_tall``: train, val, test; two processings of the same
              videos, whose scores do not compare;
            - ``activitynet``: train, val_1, val_2; val_merged, both with ids that begin with
              ``val_1_`` and ``val_2_``; val and test for ``val.json`` and ``test.json`` where a
              folder holds these (2D-TAN), otherwise for val_1 and val_2;
            - ``qvhighlights``: train, val, test; several moments a query, and clip scores;
            - ``didemo``: train, val, test; see `bpnet.data.didemo` for the moment of a query;
            - ``lighthouse``: JSONL files with the part in their name, as Lighthouse, UniVTG and
              CG-DETR write them;
            - ``jsonl`` and ``csv``: your own, see `bpnet.data.rows`.
        path: The folder as the dataset publishes it, or the file of that part alone.
        split: Name of the part. A jsonl folder holds ``SPLIT.jsonl`` or ``annotations.jsonl``.

    Returns:
        The queries in file order, and what was done to them.

    Raises:
        AnnotationError: A file is missing or damaged, or the dataset has no such part.
        ConfigError: There is no such dataset.
    """
    found = find_part(dataset, Path(path), split)
    queries, notes = _read(dataset, found, split)
    check_queries(found.annotations[0], found.durations or found.annotations[0], queries)
    annotations, counts, examples = repair(queries, split)
    if not annotations:
        dropped = {rule: count for rule, count in counts.items() if count}
        raise AnnotationError(
            f"annotation file {str(found.annotations[0])!r}: no usable pair among {len(queries)} "
            f"({dropped}): expected at least 1"
        )
    report = RepairReport(
        dataset=dataset,
        split=split,
        paths=tuple(str(file) for file in found.paths),
        num_queries=len(queries),
        num_pairs=sum(len(query.moments) for query in queries),
        num_file_videos=len({query.video_id for query in queries}),
        num_kept_queries=len(annotations),
        num_kept=sum(len(annotation.moments) for annotation in annotations),
        num_videos=len({annotation.video_id for annotation in annotations}),
        counts=counts,
        examples=examples,
        notes=notes,
    )
    return annotations, report


def read_queries(dataset: str, path: str | Path, split: str) -> list[Query]:
    """Read the sentences of one part, and not the moments: the file need not have any.

    Args:
        dataset: As in `read_annotations`.
        path: As there.
        split: As there.

    Returns:
        The queries with a word in them, in file order.

    Raises:
        AnnotationError: A file is missing or damaged, or has no such query.
        ConfigError: There is no such dataset.
    """
    found = find_part(dataset, Path(path), split)
    queries = _read(dataset, found, split, moments_needed=False)[0]
    check_queries(found.annotations[0], found.durations or found.annotations[0], queries)
    sentences = [(query, " ".join(query.query.split())) for query in queries]
    kept = [
        Query(query.qid, query.video_id, sentence, query.duration, split)
        for query, sentence in sentences
        if any(character.isalnum() for character in sentence)
    ]
    if not kept:
        raise AnnotationError(
            f"annotation file {str(found.annotations[0])!r}: none of its {len(queries)} queries of "
            f"split {split!r} has a word: expected at least one"
        )
    return kept


def read_labelled(dataset: str, path: str | Path, split: str) -> list[Annotation]:
    """Read the queries of one part that have a moment; others may have none.

    Args:
        dataset: As in `read_annotations`.
        path: As there.
        split: As there.

    Returns:
        Those queries, repaired as there; there may be none.

    Raises:
        AnnotationError: A file is missing or damaged.
        ConfigError: There is no such dataset.
    """
    found = find_part(dataset, Path(path), split)
    queries = _read(dataset, found, split, moments_needed=False)[0]
    check_queries(found.annotations[0], found.durations or found.annotations[0], queries)
    return repair(queries, split)[0]


def check_files(dataset: str, path: str | Path, split: str) -> None:
    """Make sure that the files of a part are there, without reading them.

    Args:
        dataset: As in `read_annotations`.
        path: As in `read_annotations`.
        split: As in `read_annotations`.

    Raises:
        AnnotationError: A file is missing, or the dataset has no such part.
        ConfigError: There is no such dataset.
    """
    find_part(dataset, Path(path), split)


def carve_validation(
    annotations: list[Annotation], fraction: float, seed: int
) -> tuple[list[Annotation], list[Annotation]]:
    """Split off validation pairs by video.

    The videos are ranked by a hash of the seed and their id, so the choice depends neither on the
    order of the pairs nor on the machine. Pairs keep their order and their ``split``.

    Args:
        annotations: The pairs of the training part.
        fraction: Share of the *videos* that goes to validation, in [0, 1); where it is > 0, at
            least one video goes and at least one stays.
        seed: Another seed chooses other videos.

    Returns:
        The pairs for training and those for validation; the latter are none when fraction is 0.

    Raises:
        ConfigError: The fraction is out of range.
        AnnotationError: There are fewer than two videos to split.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"data.validation_fraction={fraction}: expected a number in [0, 1)")
    if fraction == 0:
        return list(annotations), []
    videos = {annotation.video_id for annotation in annotations}
    if len(videos) < 2:
        raise AnnotationError(
            f"data.validation_fraction={fraction} of {len(videos)} videos: expected at least 2, so "
            "that both parts get one; give more videos, or set it to 0"
        )
    ranked = sorted(videos, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    chosen = set(ranked[: min(max(round(fraction * len(videos)), 1), len(videos) - 1)])
    return (
        [annotation for annotation in annotations if annotation.video_id not in chosen],
        [annotation for annotation in annotations if annotation.video_id in chosen],
    )


def _read(
    dataset: str, found: PartFiles, split: str, moments_needed: bool = True
) -> tuple[list[RawQuery], tuple[str, ...]]:
    """The queries of a part, and notes for the log."""
    file = found.annotations[0]
    match dataset:
        case "charades_sta":
            assert found.durations is not None
            queries = read_charades_sta(file, found.durations)
            return queries, (which_copy(queries),) if split == "train" else ()
        case "charades_cd":
            return read_video_json(file, video_json.CHARADES_CD), ()
        case "tacos_2dtan":
            return read_video_json(file, video_json.TACOS_2DTAN), ()
        case "tacos_tall" if found.durations is not None:
            return read_tacos_samples(file, found.durations), ()
        case "tacos_tall":
            return read_video_json(file, video_json.TACOS_TALL), ()
        case "activitynet" if split == "val_merged":
            return _merged(found.annotations), ()
        case "activitynet" | "activitynet_cd":
            return read_video_json(file, video_json.ACTIVITYNET), ()
        case "didemo":
            return read_didemo(file), ()
        case "qvhighlights":
            rows = read_rows(file, split, moments_needed=False)
            if moments_needed:
                _check_moments(rows, file)
            return rows.queries, (*rows.notes, *_shorter_than_named(rows.queries))
        case "lighthouse":
            rows = read_rows(file, split, moments_needed=False)
            if moments_needed:
                _check_moments(rows, file)
            return rows
        case _:
            return read_rows(file, split, moments_needed)


def _merged(files: tuple[Path, ...]) -> list[RawQuery]:
    """ActivityNet's two validation files, which describe the same videos; ids get their names."""
    queries = []
    for part, file in zip(("val_1", "val_2"), files, strict=True):
        read = read_video_json(file, video_json.ACTIVITYNET)
        check_queries(file, file, read)
        queries += [query._replace(qid=f"{part}_{query.qid}") for query in read]
    return queries


def _check_moments(rows: Rows, file: Path) -> None:
    """Refuse files of which no query has a moment, and say what they are."""
    if any(query.moments for query in rows.queries):
        return
    message = (
        f"annotation file {str(file)!r}: none of its {len(rows.queries)} queries has a moment "
        "(relevant_windows): "
    )
    if file.name.startswith("highlight_test"):
        raise AnnotationError(
            f"{message}these are the questions of QVHighlights' test part; the answers are public "
            "since March 2026: put highlight_test_with_gt.jsonl (github.com/jayleicn/moment_detr, "
            "folder data) beside it"
        )
    raise AnnotationError(
        f"{message}expected some; files for highlight detection, such as TVSum and YouTube "
        "Highlights, have none, and there is nothing in them to localize"
    )


def _shorter_than_named(queries: list[RawQuery]) -> tuple[str, ...]:
    """Videos that end before their id (``YOUTUBE_START_END``) says; ``duration`` is right."""
    shorter = set()
    for query in queries:
        try:
            _, start, end = query.video_id.rsplit("_", 2)
            if query.duration < float(end) - float(start):
                shorter.add(query.video_id)
        except ValueError:  # an id of another form says no length
            continue
    if not shorter:
        return ()
    return (f"{len(shorter)} videos are shorter than their ids say; 'duration' is taken",)
