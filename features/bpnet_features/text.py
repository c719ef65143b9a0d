"""Features as text: a file a vector (AllenAI), or a csv file a video (mmaction2)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bpnet_features.bounds import (
    MAX_ARRAY_BYTES,
    MAX_TEXT_BYTES,
    check_claim,
    check_file,
    reading,
)
from bpnet_features.errors import FeatureError
from bpnet_features.source import MAX_CLIPS, Entry

MAX_VECTOR_BYTES = 2**22  # about 300,000 numbers


def vectors_entry(folder: Path, where: str) -> Entry:
    """What a folder of text files, one vector (C,) each, holds; the first one is read."""
    files = _vector_files(folder, where)
    first = _vector(folder, files[0], where)
    return Entry(len(files), len(first), "text")


def vectors_read(folder: Path, where: str) -> npt.NDArray[np.floating]:
    """Features (T, C) float32 of a folder of text files, sorted by name."""
    files = _vector_files(folder, where)
    first = _vector(folder, files[0], where)
    check_claim((len(files), len(first)), np.float32, where)
    clips = np.empty((len(files), len(first)), np.float32)
    clips[0] = first
    for row, name in enumerate(files[1:], start=1):
        vector = _vector(folder, name, where)
        if len(vector) != len(first):
            raise FeatureError(
                f"{where}: {name!r} has {len(vector)} numbers, {files[0]!r} has {len(first)}: "
                "truncated or damaged data; download it again",
                kind="damaged data",
            )
        clips[row] = vector
    return clips


def csv_entry(path: Path, where: str) -> Entry:
    """What a csv file of features holds; its lines are counted, not read."""
    lines = _csv_lines(path, where)
    return Entry(len(lines) - 1, lines[0].count(",") + 1, "text")


def csv_read(path: Path, where: str) -> npt.NDArray[np.floating]:
    """Features (T, C) float32 of a csv file: a row of column names, then a row a clip."""
    header, *rows = _csv_lines(path, where)
    width = header.count(",") + 1
    check_claim((len(rows), width), np.float32, where)
    clips = np.empty((len(rows), width), np.float32)
    for number, line in enumerate(rows, start=2):
        values = _numbers(line.split(","), f"{where}, line {number}")
        if len(values) != width:
            raise FeatureError(
                f"{where}, line {number}: {len(values)} numbers under {width} column names; "
                "truncated or damaged data: download it again",
                kind="damaged data",
            )
        clips[number - 2] = values
    return clips


def _csv_lines(path: Path, where: str) -> list[str]:
    text = _text(path, MAX_TEXT_BYTES, where).rstrip()
    num_rows = text.count("\n")
    if num_rows > MAX_CLIPS:
        raise FeatureError(
            f"{where}: {num_rows} rows: at most {MAX_CLIPS} clips are read", kind="too large"
        )
    lines = text.split("\n")
    if lines == [""]:
        raise FeatureError(f"{where}: an empty file; download it again", kind="damaged data")
    if lines[0].count(",") * len(lines) > MAX_ARRAY_BYTES // 4:
        raise FeatureError(
            f"{where}: {len(lines)} lines under {lines[0].count(',') + 1} column names: more than "
            f"{MAX_ARRAY_BYTES} bytes as float32, the most that one video may take",
            kind="too large",
        )
    try:
        float(lines[0].split(",")[0])
    except ValueError:
        return lines
    raise FeatureError(
        f"{where}, line 1: {lines[0][:40]!r}: expected a row of column names, as mmaction2 writes "
        "it; add one, or save the features as npy"
    )


def _vector_files(folder: Path, where: str) -> list[str]:
    with reading(where), os.scandir(folder) as found:
        files = sorted(item.name for item in found if item.name.endswith(".txt") and item.is_file())
    if not files:
        raise FeatureError(f"{where}: no .txt file in the folder of this video", kind="zero clips")
    return files


def _vector(folder: Path, name: str, where: str) -> npt.NDArray[np.float32]:
    text = _text(folder / name, MAX_VECTOR_BYTES, f"{where}, {name!r}")
    vector = _numbers(text.split(), f"{where}, {name!r}")
    if not len(vector):
        raise FeatureError(
            f"{where}, {name!r}: an empty file: truncated; download it again", kind="damaged data"
        )
    return vector


def _numbers(words: list[str], where: str) -> npt.NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # an infinite value is reported as such later
            return np.array(words, dtype=np.float32)
    except ValueError as err:
        raise FeatureError(
            f"{where}: {err}: expected numbers; download it again", kind="damaged data"
        ) from err


def _text(path: Path, most: int, where: str) -> str:
    with reading(where), path.open("rb") as file:
        check_file(path, most, where)
        return file.read().decode("utf-8")
