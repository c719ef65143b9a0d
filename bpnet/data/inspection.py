"""Annotation files against the published counts: what each part holds, and what was repaired."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bpnet.data.annotations import read_annotations
from bpnet.data.parts import FREE_DATASETS, check_dataset, find_part, part_in_name, parts_of
from bpnet.data.published import PublishedCount, published_counts
from bpnet.data.repair import RULES, RepairReport
from bpnet.data.rows import splits_of
from bpnet.errors import AnnotationError


@dataclasses.dataclass(frozen=True)
class PartInspection:
    """One part.

    Attributes:
        report: What was read, repaired and dropped.
        num_hours: Length of all its videos together, of those that are left.
        published: The published counts of this part; none where there are none.
    """

    report: RepairReport
    num_hours: float
    published: tuple[PublishedCount, ...]

    @property
    def equal(self) -> bool | None:
        """Whether the file has as many queries and videos as published; None: nobody says."""
        if not self.published:
            return None
        return any(self._is_equal(count) for count in self.published)

    def _is_equal(self, count: PublishedCount) -> bool:
        here = (self.report.num_queries, self.report.num_file_videos)
        return (count.num_queries, count.num_videos) == here

    def lines(self) -> list[str]:
        """The part as lines of text."""
        report = self.report
        verdict = {
            True: "as published",
            False: "DIFFERS from the published counts",
            None: "no published counts",
        }[self.equal]
        lines = [
            f"{report.dataset} {report.split}: {verdict}",
            f"  files    {', '.join(report.paths)}",
            f"  queries  {report.num_queries:,}, {report.num_kept_queries:,} kept",
            f"  moments  {report.num_pairs:,}, {report.num_kept:,} kept",
            f"  videos   {report.num_file_videos:,}, {report.num_videos:,} kept "
            f"({self.num_hours:,.1f} hours)",
        ]
        for count in self.published:
            if self.equal and not self._is_equal(count):
                continue
            queries = f"{count.num_queries:,} queries{_gap(report.num_queries, count.num_queries)}"
            videos = f"{count.num_videos:,} videos{_gap(report.num_file_videos, count.num_videos)}"
            lines.append(f"  published: {queries}, {videos} ({count.status}: {count.source})")
        for rule, number in report.counts.items():
            if number:
                lines.append(f"  {rule}: {number:,} {RULES[rule]}")
                lines += [f"    {example}" for example in report.examples[rule]]
        return [*lines, *(f"  {note}" for note in report.notes)]

    def to_dict(self) -> dict[str, Any]:
        """The part as plain values, for JSON."""
        return {
            "part": self.report.split,
            "equal": self.equal,
            "hours": self.num_hours,
            **self.report.to_dict(),
            "published": [dataclasses.asdict(count) for count in self.published],
        }


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What `inspect_parts` found.

    Attributes:
        dataset: Name of the dataset.
        parts: The parts that are there.
        absent: Why each other part of the dataset could not be found.
    """

    dataset: str
    parts: tuple[PartInspection, ...]
    absent: dict[str, str]

    @property
    def differing(self) -> list[str]:
        """Names of the parts whose counts are not the published ones."""
        return [part.report.split for part in self.parts if part.equal is False]

    def lines(self) -> list[str]:
        """All as lines of text; the last one is the verdict."""
        lines = [line for part in self.parts for line in part.lines()]
        lines += [f"{self.dataset} {part}: not here: {why}" for part, why in self.absent.items()]
        known = [part.report.split for part in self.parts if part.equal is not None]
        if self.differing:
            lines.append(f"counts differ from the published ones in: {', '.join(self.differing)}")
        elif known:
            lines.append(f"counts equal the published ones in: {', '.join(known)}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """All as plain values, for JSON."""
        return {
            "dataset": self.dataset,
            "differing": self.differing,
            "parts": [part.to_dict() for part in self.parts],
            "absent": self.absent,
        }


def inspect_parts(
    dataset: str, path: str | Path, splits: Sequence[str] | None = None
) -> Inspection:
    """Read parts of a dataset and compare them with what is published.

    Args:
        dataset: As in `read_annotations`.
        path: As in `read_annotations`.
        splits: Names of the parts; None: all that are found there.

    Returns:
        The parts, in that order.

    Raises:
        AnnotationError: A part is damaged, one of ``splits`` is missing, or none is found.
        ConfigError: There is no such dataset.
    """
    check_dataset(dataset)
    absent: dict[str, str] = {}
    if splits is None:
        splits, absent = found_parts(dataset, path)
    parts = []
    for split in splits:
        annotations, report = read_annotations(dataset, path, split)
        durations: dict[str, float] = {}
        for annotation in annotations:
            durations.setdefault(annotation.video_id, annotation.duration_seconds)
        hours = sum(durations.values()) / 3600
        parts.append(PartInspection(report, hours, published_counts(dataset, split)))
    return Inspection(dataset, tuple(parts), absent)


def found_parts(dataset: str, path: str | Path) -> tuple[list[str], dict[str, str]]:
    """Look which parts of a dataset are there.

    Args:
        dataset: As in `read_annotations`.
        path: As in `read_annotations`.

    Returns:
        Names of the parts whose files are there, at least one, in their usual order; and the others
        that the dataset has, with the reason, where ``path`` is a folder.

    Raises:
        AnnotationError: There is none.
        ConfigError: There is no such dataset.
    """
    path = Path(path)
    names = list(parts_of(dataset))
    try:
        if dataset in FREE_DATASETS:
            names = _free_parts(dataset, path)
        elif dataset == "activitynet" and any(
            path.name == name or (path / name).is_file() for name in ("val.json", "test.json")
        ):
            names = ["train", "val", "test", "val_merged"]  # the files of 2D-TAN
    except OSError as err:
        raise AnnotationError(f"annotations {str(path)!r}: cannot be read: {err}") from err
    found, absent = [], {}
    for name in names:
        try:
            find_part(dataset, path, name)
        except AnnotationError as err:
            absent[name] = str(err)
        else:
            found.append(name)
    if not found:
        find_part(dataset, path, names[0])  # raises
    return found, ({} if path.is_file() else absent)


def _free_parts(dataset: str, path: Path) -> list[str]:
    """The parts that files, or their lines, name."""
    suffix = ".csv" if dataset == "csv" else ".jsonl"
    found: dict[str, None] = {}
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if file.suffix != suffix:
                continue
            if dataset == "lighthouse":
                parts: tuple[str | None, ...] = (part_in_name(file.stem, ""),)
            elif file.stem == "annotations":
                parts = splits_of(file)
            else:
                parts = (file.stem,)
            found |= dict.fromkeys(part for part in parts if part is not None)
        return sorted(found, key=_usual_order) or ["train"]
    if path.is_file() and dataset != "lighthouse":
        found = dict.fromkeys(splits_of(path))
    named = part_in_name(path.stem, "")
    if not found and named is None and path.is_file():
        raise AnnotationError(
            f"annotation file {str(path)!r}: neither its lines nor its name say a part: "
            "give --split"
        )
    return sorted(found, key=_usual_order) or [named or "train"]


def _usual_order(part: str) -> tuple[int, str]:
    order = ("train", "val", "test")
    return (order.index(part) if part in order else len(order)), part


def _gap(here: int, published: int) -> str:
    gap = here - published
    return f" (here {abs(gap):,} {'more' if gap > 0 else 'fewer'})" if gap else ""
