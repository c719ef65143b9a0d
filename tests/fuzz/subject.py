"""What a case of the fuzzer is about: files in a folder, and how they are to be opened."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What reading a damaged file may take beyond a multiple of its size, unless a subject says more.
SLACK_BYTES = 64 * 2**20
CASE_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Subject:
    """Files that may be hostile.

    Attributes:
        kind: A name of `exercise.KINDS`: what they are for.
        path: The file or folder that is opened.
        name: The layout of features, or the dataset of annotations.
        spec: Given to the reader of features.
        streams: As `open_features` takes them.
        split: The part of annotations.
        most_bytes: What reading may take, beyond what was taken before.
        seconds: What all that is done with it may take.
    """

    kind: str
    path: Path
    name: str = "auto"
    spec: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    streams: tuple[str, ...] = ()
    split: str = "val"
    most_bytes: int = SLACK_BYTES
    seconds: float = CASE_SECONDS
