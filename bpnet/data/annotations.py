"""A dataset's annotation files -> list[Annotation], with a report of what had to be repaired.

Dirt is repaired or dropped by the rules of `bpnet.data.repair`, and counted in its report.
Anything else that is wrong (syntax, types, a video without a duration, an id given twice) is an
error that names the places.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bpnet.data.repair import RawPair, RepairReport, check_pairs, raise_faults, repair
from bpnet.errors import AnnotationError, ConfigError
from bpnet.types import Annotation

# The pairs in which the two copies of the Charades-STA training file differ.
_CHARADES_ORIGINAL = {("LEOL6", 8.0, 7.0), ("IOL8Q", 20.9, 12.0), ("AKKWU", 38.0, 13.0)}
_CHARADES_REPAIRED = {("LEOL6", 0.0, 2.5), ("IOL8Q", 20.9, 25.8), ("AKKWU", 3.4, 8.8)}


def read_annotations(
    dataset: str, path: str | Path, split: str
) -> tuple[list[Annotation], RepairReport]:
    """Read one part of a dataset.

    Args:
        dataset: ``"charades_sta"``, ``"tacos"`` (the json files of 2D-TAN), ``"activitynet"`` or
            ``"jsonl"`` (native: ``qid, video_id, query, start, end, duration, split`` a line).
        path: The folder as the dataset publishes it, or the file of that part alone. Durations of
            Charades-STA are looked for in that folder and the one above. A jsonl folder holds
            ``SPLIT.jsonl`` or ``annotations.jsonl``.
        split: Name of the part. ActivityNet has ``"train"``, ``"val_1"`` and ``"val_2"``, and
            ``"val"`` and ``"test"`` for ``val.json`` and ``test.json`` where a folder holds these
            (2D-TAN), otherwise for ``val_1`` and ``val_2``.

    Returns:
        The pairs in file order, and what was done to them.

    Raises:
        AnnotationError: A file is missing or damaged, or the dataset has no such part.
        ConfigError: The dataset is not one of the four.
    """
    files = _find_files(dataset, Path(path), split)
    notes: list[str] = []
    match dataset:
        case "charades_sta":
            pairs = _read_charades(files[0], files[1])
            if split == "train":
                notes.append(_which_charades_copy(pairs))
        case "jsonl":
            pairs = _read_jsonl(files[0], split)
        case _:
            pairs = _read_video_json(files[0], in_frames=dataset == "tacos")
    check_pairs(files, pairs)
    annotations, counts, examples = repair(pairs, split)
    if not annotations:
        dropped = {rule: count for rule, count in counts.items() if count}
        raise AnnotationError(
            f"annotation file {str(files[0])!r}: no usable pair among {len(pairs)} ({dropped}): "
            "expected at least 1"
        )
    report = RepairReport(
        dataset=dataset,
        split=split,
        paths=tuple(str(file) for file in files),
        num_pairs=len(pairs),
        num_kept=len(annotations),
        num_videos=len({annotation.video_id for annotation in annotations}),
        counts=counts,
        examples=examples,
        notes=tuple(notes),
    )
    return annotations, report


def check_files(dataset: str, path: str | Path, split: str) -> None:
    """Make sure that the files of a part are there, without reading them.

    Args:
        dataset: As in `read_annotations`.
        path: As in `read_annotations`.
        split: As in `read_annotations`.

    Raises:
        AnnotationError: A file is missing, or the dataset has no such part.
        ConfigError: The dataset is not one of the four.
    """
    _find_files(dataset, Path(path), split)


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


def _find_files(dataset: str, path: Path, split: str) -> list[Path]:
    """The annotation file and, for Charades-STA, the file of durations."""
    parts: dict[str, tuple[str, ...]]
    match dataset:
        case "charades_sta":
            parts = {part: (f"charades_sta_{part}.txt",) for part in ("train", "test")}
        case "tacos":
            parts = {part: (f"{part}.json",) for part in ("train", "val", "test")}
        case "activitynet":
            parts = {part: (f"{part}.json",) for part in ("train", "val_1", "val_2")}
            parts |= {"val": ("val.json", "val_1.json"), "test": ("test.json", "val_2.json")}
        case "jsonl":
            parts = {split: (f"{split}.jsonl", "annotations.jsonl")}
        case _:
            raise ConfigError(
                f"dataset={dataset!r}: expected 'charades_sta', 'tacos', 'activitynet' or 'jsonl'"
            )
    if dataset == "charades_sta" and split == "val":
        raise AnnotationError(
            "split='val': charades_sta has no validation part, only train and test; carve one out "
            "of train by video (carve_validation)"
        )
    if split not in parts:
        raise AnnotationError(f"split={split!r}: {dataset} has {', '.join(parts)}")
    names = parts[split]
    if dataset == "jsonl" and path.is_file():
        return [path]
    # A file of another name would be another part, and a test on the training pairs goes unnoticed.
    folder = path if path.is_dir() else path.parent
    if path.is_file() and path.name not in names:
        raise AnnotationError(
            f"annotation file {str(path)!r}: expected {_either(names)} for split {split!r} of "
            f"{dataset}; give that file, or the folder"
        )
    if not path.exists():
        raise AnnotationError(
            f"annotations {str(path)!r}: no such file or folder: expected {_either(names)} for "
            f"split {split!r} of {dataset}, or the folder that holds it"
        )
    files = [path if path.is_file() else _first_of(names, [folder], dataset, split)]
    if dataset == "charades_sta":
        durations = (f"Charades_v1_{split}.csv", "charades_durations.json", "charades.json")
        files.append(_first_of(durations, [folder, folder.absolute().parent], dataset, split))
    return files


def _first_of(names: tuple[str, ...], folders: list[Path], dataset: str, split: str) -> Path:
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    there = sorted(file.name for file in folders[0].iterdir())
    raise AnnotationError(
        f"annotation folder {str(folders[0])!r}: expected {_either(names)} for split {split!r} of "
        f"{dataset}, but it holds {', '.join(there[:8]) or 'nothing'}"
        + (f" and {len(there) - 8} more" if len(there) > 8 else "")
    )


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(repr(name) for name in names)


def _read_charades(file: Path, durations_file: Path) -> list[RawPair]:
    durations = _read_durations(durations_file)
    counters: Counter[str] = Counter()
    pairs, faults = [], []
    for where, line in _lines(file):
        left, mark, query = line.partition("##")
        try:
            video_id, start, end = left.split()
            times = float(start), float(end)
        except ValueError:
            mark = ""
        if not mark:
            faults.append(f"{where}: {line!r}: expected 'VIDEO START END##sentence'")
            continue
        qid = f"{video_id}_{counters[video_id]}"
        counters[video_id] += 1
        pairs.append(RawPair(qid, video_id, query, *times, durations.get(video_id, math.nan)))
    raise_faults(file, faults)
    return pairs


def _which_charades_copy(pairs: list[RawPair]) -> str:
    moments = {(pair.video_id, pair.start, pair.end) for pair in pairs}
    if moments >= _CHARADES_ORIGINAL:
        return "the original copy of the train file, with 4 reversed pairs (LEOL6, IOL8Q, AKKWU)"
    if moments >= _CHARADES_REPAIRED:
        return "the repaired copy of the train file (VSLNet, SeqPAN), without the 4 reversed pairs"
    return "neither of the two known copies of the Charades-STA train file"


def _read_durations(file: Path) -> dict[str, float]:
    """Seconds by video; NaN where the file does not say it legibly."""
    values: dict[str, Any]
    if file.suffix == ".csv":
        with file.open(encoding="utf-8-sig", newline="") as lines:
            try:
                values = {row["id"]: row["length"] for row in csv.DictReader(lines)}
            except (KeyError, csv.Error, UnicodeDecodeError) as err:
                raise AnnotationError(
                    f"duration file {str(file)!r}: {err!r}: expected columns 'id' and 'length'"
                ) from err
    else:
        values = {
            video_id: entry.get("duration") if isinstance(entry, dict) else None
            for video_id, entry in _load_json(file).items()
        }
    durations = {}
    for video_id, value in values.items():
        try:
            durations[video_id] = float(value)
        except (TypeError, ValueError):
            durations[video_id] = math.nan
    return durations


def _read_video_json(file: Path, in_frames: bool) -> list[RawPair]:
    """``{video: {timestamps, sentences}}`` with ``duration``, or ``fps`` and ``num_frames``."""
    pairs, faults = [], []
    for video_id, entry in _load_json(file).items():
        try:
            pairs.extend(_video_pairs(video_id, entry, in_frames))
        except ValueError as err:
            faults.append(f"video {video_id!r}: {err}")
    raise_faults(file, faults)
    return pairs


def _video_pairs(video_id: str, entry: Any, in_frames: bool) -> list[RawPair]:
    if not isinstance(entry, dict):
        raise ValueError(f"{entry!r}: expected an object with 'timestamps' and 'sentences'")
    moments, sentences = (_entry_list(entry, name) for name in ("timestamps", "sentences"))
    if len(moments) != len(sentences):
        raise ValueError(f"{len(moments)} timestamps and {len(sentences)} sentences: must be equal")
    unit = 1.0
    if in_frames:
        unit = _number(entry, "fps")
        if not unit > 0:
            raise ValueError(f"fps={unit}: expected a number > 0")
    # A missing duration is reported with all others of its kind.
    length = "num_frames" if in_frames else "duration"
    duration = math.nan if entry.get(length) is None else _number(entry, length) / unit
    video_id = video_id.removesuffix(".avi")  # only 2D-TAN writes TACoS ids with it
    if "qids" in entry:
        qids = [str(qid) for qid in _entry_list(entry, "qids")]
        if len(qids) != len(sentences):
            raise ValueError(f"{len(qids)} qids and {len(sentences)} sentences: must be equal")
    else:
        qids = [f"{video_id}_{index}" for index in range(len(sentences))]
    pairs = []
    for qid, moment, query in zip(qids, moments, sentences, strict=True):
        if not (isinstance(moment, list) and len(moment) == 2 and isinstance(query, str)):
            raise ValueError(f"{moment!r}, {query!r}: expected [start, end] and a sentence")
        start, end = (_number({"timestamps": time}, "timestamps") / unit for time in moment)
        pairs.append(RawPair(qid, video_id, query, start, end, duration))
    return pairs


def _read_jsonl(file: Path, split: str) -> list[RawPair]:
    pairs, faults = [], []
    splits: Counter[str] = Counter()
    for where, line in _lines(file):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("expected an object")
            if type(row.get("qid")) is int:
                row["qid"] = str(row["qid"])
            for name in ("qid", "video_id", "query", "split"):
                value = row.get(name)
                # An empty sentence is dirt that is dropped; the others cannot do without.
                if not isinstance(value, str) or not (value or name == "query"):
                    raise ValueError(f"{name}={value!r}: expected a string")
            times = [_number(row, name) for name in ("start", "end", "duration")]
        except (ValueError, RecursionError) as err:
            faults.append(f"{where}: {err}")
            continue
        splits[row["split"]] += 1
        if row["split"] == split:
            pairs.append(RawPair(row["qid"], row["video_id"], row["query"], *times))
    raise_faults(file, faults)
    if not pairs:
        raise AnnotationError(
            f"annotation file {str(file)!r}: no line of split {split!r}: it has {dict(splits)}"
        )
    return pairs


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """The lines that are not blank, with their numbers."""
    with file.open(encoding="utf-8-sig") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"line {number}", line.strip()
        except UnicodeDecodeError as err:
            raise AnnotationError(f"annotation file {str(file)!r}: {err}: expected UTF-8") from err


def _load_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as err:
        raise AnnotationError(f"annotation file {str(file)!r}: not JSON: {err}") from err
    if not isinstance(value, dict):
        raise AnnotationError(
            f"annotation file {str(file)!r}: a JSON {type(value).__name__}: expected an object "
            "with one entry a video"
        )
    return value


def _number(entry: dict[str, Any], name: str) -> float:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}={value!r}: expected a number")
    try:
        return float(value)
    except OverflowError as err:
        raise ValueError(f"{name}: a number beyond all floats") from err


def _entry_list(entry: dict[str, Any], name: str) -> list[Any]:
    value = entry.get(name)
    if not isinstance(value, list):
        raise ValueError(f"{name}={value!r}: expected a list")
    return value
