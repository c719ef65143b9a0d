"""Everything that reads files from strangers, called as a run would call it."""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from subject import Subject

from bpnet.data.annotations import check_files, read_annotations
from bpnet.data.inspection import inspect_parts
from bpnet.evaluation.matching import match_predictions
from bpnet.evaluation.prediction_files import read_predictions
from bpnet.evaluation.score import score
from bpnet.types import Annotation
from bpnet_features import BPNetError, FeatureSource, FeatureStore, QueryFeatureStore, open_features
from bpnet_features.check import check, inspect
from bpnet_features.convert import convert
from bpnet_features.durations import read_durations

NUM_READ = 4
MANY = 2000
MAX_MESSAGE = 6000
HOSTILE_IDS = ("../../etc/passwd", "", "/", ".", "..", "a\0b", "\udcff", "x" * 5000, "v_", ".avi")
# Stands in the files outside of a subject, which links may lead to.
SECRET = 1234.5
ASKED = [
    Annotation("7", "v0", "a dog runs", 1.0, 4.0, 20.0, "val", ((6.0, 8.0),)),
    Annotation("8", "v1", "a man walks", 0.0, 2.0, 9.0, "val"),
]
GIVEN = {"backbone": "tiny", "seconds_per_clip": 0.5}


class Leaked(AssertionError):
    """What came out is not what a reader may give."""


@contextlib.contextmanager
def refusing(seen: list[str]) -> Iterator[None]:
    """Take an error of ours, with a message that a person can read, for an answer.

    Args:
        seen: Gets the message.

    Yields:
        Nothing.

    Raises:
        Leaked: The message is empty, endless, or cannot be printed; or memory ran out.
    """
    try:
        yield
    except BPNetError as err:
        message = str(err)
        seen.append(message)
        if not 0 < len(message) < MAX_MESSAGE:
            raise Leaked(f"a message of {len(message)} characters: {message[:200]!r}") from err
        inner: BaseException | None = err
        while inner is not None:
            if isinstance(inner, MemoryError) and not _is_of_parser(inner):
                raise Leaked(f"out of memory: {message}") from err
            inner = inner.__cause__ or inner.__context__


def _is_of_parser(error: BaseException) -> bool:
    """Python's parser says "out of memory" where an expression is nested too deeply for it."""
    frames = traceback.extract_tb(error.__traceback__)
    return Path(frames[-1].filename).name == "ast.py"


def features(subject: Subject, out: Path, seen: list[str]) -> None:
    """Open with the layout's name and with ``auto``, with a spec and without; read, check."""
    for number, layout in enumerate(dict.fromkeys((subject.name, "auto"))):
        for spec in (subject.spec, GIVEN):
            with refusing(seen):
                source = open_features(
                    subject.path,
                    layout=layout,
                    spec=spec,
                    streams=subject.streams,
                    normalise="l2" if subject.streams and spec else "none",
                )
                try:
                    _read_all(source, seen, slowly=spec is GIVEN)
                    if spec is GIVEN and len(source) <= MANY:
                        _convert(source, out, seen, drop=number == 0)
                finally:
                    source.close()


def largest(subject: Subject, out: Path, seen: list[str]) -> None:
    """Features so large that once is enough."""
    with refusing(seen):
        source = open_features(
            subject.path, layout=subject.name, spec=subject.spec, streams=subject.streams
        )
        for video_id in source.video_ids():
            with refusing(seen):
                source.read(video_id)
        convert(source, out / "store.h5")
        (out / "store.h5").unlink()


def _read_all(source: FeatureSource, seen: list[str], slowly: bool) -> None:
    ids = source.video_ids()
    assert len(ids) == len(source)
    for video_id in ids[:NUM_READ]:
        assert video_id in source
        with refusing(seen):
            source.entry(video_id)
        with refusing(seen):
            source.grid(video_id, 10.0)
        with refusing(seen):
            clips, grid = source.read(video_id, None if slowly else 10.0)
            _check_array(clips)
            if grid.num_clips != len(clips):
                raise Leaked(f"{len(clips)} clips, {grid.num_clips} places in time")
    if slowly and len(ids) <= MANY:
        for video_id in HOSTILE_IDS:
            for ask in (source.entry, source.read, source.files):
                with refusing(seen):
                    ask(video_id)
        for line in inspect(source).lines():
            line.encode("utf-8", "surrogateescape")
        wanted: dict[str, float | None] = dict.fromkeys(ids[:NUM_READ], 10.0)
        check(source, {**wanted, "gone": None, "../x": 1.0}).lines()


def _convert(
    source: FeatureSource,
    out: Path,
    seen: list[str],
    drop: bool,
) -> None:
    store_path = out / "store.h5"
    with refusing(seen):
        convert(
            source,
            store_path,
            dtype="float16" if drop else "float32",
            max_clips=4 if drop else None,
            durations=dict.fromkeys(source.video_ids()[:NUM_READ], 10.0),
            faulty="drop" if drop else "error",
        )
        store = FeatureStore(store_path)
        for video_id in store.video_ids()[:NUM_READ]:
            stored = store.read_clips(video_id)
            _check_array(stored)
            if not drop and not np.array_equal(stored, source.read_clips(video_id)):
                raise Leaked(f"{video_id!r}: other numbers in the store than in its source")
        store.close()
    for path in out.iterdir():
        if path.name not in ("store.h5", ".store.h5.convert.part", ".store.h5.convert.journal"):
            raise Leaked(f"{path} was written")
        path.unlink()


def _check_array(clips: Any) -> None:
    if clips.dtype != np.float32 or clips.ndim != 2 or len(clips) == 0:
        raise Leaked(f"{clips.dtype} of shape {clips.shape}")
    if not np.isfinite(clips).all():
        raise Leaked("NaN or infinite values")
    if (clips == SECRET).any():
        raise Leaked("the content of a file outside of the subject")


def queries(subject: Subject, out: Path, seen: list[str]) -> None:
    """Token features, both arrays, with a spec and without."""
    for key in ("last_hidden_state", "pooler_output"):
        for spec in (subject.spec, {"backbone": "clip"}):
            with refusing(seen):
                store = QueryFeatureStore(subject.path, key, spec)
                for qid in ("7", "12", *HOSTILE_IDS):
                    with refusing(seen):
                        store.num_tokens(qid)
                    with refusing(seen):
                        _check_array(store.read(qid))
                store.close()


def annotations(subject: Subject, out: Path, seen: list[str]) -> None:
    """Annotation files, as ``evaluate`` and ``data check`` read them."""
    with refusing(seen):
        check_files(subject.name, subject.path, subject.split)
    with refusing(seen):
        found, report = read_annotations(subject.name, subject.path, subject.split)
        report.summary().encode()
        for one in found:
            one.query.encode()
            if any(not 0 <= start < end <= one.duration_seconds for start, end in one.moments):
                raise Leaked(f"moments {one.moments} of {one.duration_seconds} s")
            if "/" in one.video_id or not one.video_id.isprintable():
                raise Leaked(f"video id {one.video_id!r}")
    with refusing(seen):
        inspect_parts(subject.name, subject.path).lines()


def predictions(subject: Subject, out: Path, seen: list[str]) -> None:
    """Predictions of others, matched and scored."""
    with refusing(seen):
        file = read_predictions(subject.path)
        for missing in ("error", "drop"):
            with refusing(seen):
                match_predictions(file, ASKED, missing)
        for protocol in ("moment-detr", "vslnet", "ms-tan"):
            with refusing(seen):
                rows = score(file, ASKED, ASKED, protocol, "qvhighlights", "val", "drop")
                numbers = rows["metrics"].values()
                if not all(math.isfinite(number) for number in numbers):
                    raise Leaked(f"{protocol}: {rows['metrics']}")


def durations(subject: Subject, out: Path, seen: list[str]) -> None:
    """Lengths of videos."""
    with refusing(seen):
        for name, seconds in read_durations(subject.path).items():
            if not 0 < seconds < math.inf:
                raise Leaked(f"{name!r}: {seconds} s")


KINDS: dict[str, Callable[[Subject, Path, list[str]], None]] = {
    "features": features,
    "largest": largest,
    "queries": queries,
    "annotations": annotations,
    "predictions": predictions,
    "durations": durations,
}
