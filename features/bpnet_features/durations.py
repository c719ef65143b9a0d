"""A small file that says how long each video is, as releases of features have one beside them."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path
from typing import Any

from bpnet_features.bounds import MAX_JSON_BYTES, check_file
from bpnet_features.errors import FeatureError

NUM_SHOWN = 5


def read_durations(path: str | os.PathLike[str]) -> dict[str, float]:
    """Lengths of videos by id.

    Args:
        path: ``.json``: an object ``{id: seconds}``. Anything else: csv with the columns ``id`` and
            ``length``, and any others, as `Charades_v1_train.csv`.

    Returns:
        Seconds > 0 by video id.

    Raises:
        FeatureError: The file is missing or of another form, or lengths are no numbers > 0.
    """
    path = Path(path)
    where = f"durations {str(path)!r}"
    try:
        check_file(path, MAX_JSON_BYTES, where)
        text = path.read_text(encoding="utf-8-sig")
        rows = _json_rows(text, where) if path.suffix == ".json" else _csv_rows(text, where)
    except OSError as err:
        raise FeatureError(f"{where}: cannot be read ({err.strerror}); check the path") from err
    except FeatureError:
        raise
    except (ValueError, RecursionError, csv.Error) as err:  # of text, JSON, csv or its numbers
        raise FeatureError(
            f"{where}: {err}: expected a json object {{id: seconds}}, or csv with the columns id "
            "and length"
        ) from err
    durations = {video_id: _seconds(value) for video_id, value in rows.items()}
    bad = [video_id for video_id, seconds in durations.items() if not 0 < seconds < math.inf]
    if bad:
        shown = ", ".join(f"{video_id!r}: {rows[video_id]!r:.40}" for video_id in bad[:NUM_SHOWN])
        raise FeatureError(
            f"{where}: {len(bad)} of {len(rows)} lengths are no numbers of seconds > 0: {shown}"
            + (", ..." if len(bad) > NUM_SHOWN else "")
        )
    return durations


def _json_rows(text: str, where: str) -> dict[str, Any]:
    values = json.loads(text)
    if not isinstance(values, dict):
        raise FeatureError(f"{where}: a json {type(values).__name__}: expected {{id: seconds}}")
    return values


def _csv_rows(text: str, where: str) -> dict[str, Any]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = reader.fieldnames or []
    if not {"id", "length"} <= set(columns):
        raise FeatureError(
            f"{where}: columns {list(columns)[:10]}: expected 'id' and 'length' among them"
        )
    return {row["id"]: row["length"] for row in reader}


def _seconds(value: Any) -> float:
    """The number that a value stands for; NaN where it is none."""
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
