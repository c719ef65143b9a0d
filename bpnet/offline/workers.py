"""What a process of a job does with a shard: writes its file, whole, and tells how it went."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from bpnet.errors import BPNetError, FeatureError
from bpnet.inference.localizer import Localizer
from bpnet.offline.queries import Query
from bpnet.offline.shards import shard_path
from bpnet_features import FeatureWriter, open_features
from bpnet_features.atomic import write_text_atomically
from bpnet_features.backbones.backbone import Extraction
from bpnet_features.backbones.choose import load_backbone
from bpnet_features.extract import extract_video
from bpnet_features.spec import FeatureSpec

ANSWERS, STORE, FAILED, CORRUPT = ".jsonl", ".h5", ".failed.jsonl", ".corrupt.jsonl"


class LocalizeShard:
    """Answers the queries of a shard; a video is read and encoded once for its queries.

    Args:
        checkpoint: Checkpoint file, or folder of a run.
        features: Features of any layout.
        folder: Where the files go.
        device: Where to compute.
        top: Moments a query.
    """

    def __init__(self, checkpoint: str, features: str, folder: str, device: str, top: int) -> None:
        self.localizer = Localizer.from_pretrained(checkpoint, device)
        self.store = open_features(features, default_spec=self.localizer.feature_spec)
        self.folder = Path(folder)
        self.top = top

    def __call__(self, shard: Mapping[str, Any]) -> dict[str, int]:
        """Write the answers of a shard.

        Args:
            shard: Its ``"number"``, and its queries as JSON in ``"items"``.

        Returns:
            How many ``"items"`` it had.
        """
        queries = [Query(**row) for row in json.loads(shard["items"])]
        rows: list[dict[str, Any]] = []
        for video_id, group in groupby(queries, key=lambda one: one.video_id):
            rows += self._answers(video_id, list(group))
            self.localizer.session.clear()  # nobody asks about it again
        failed = [row for row in rows if "error" in row]
        _write_rows(self.folder, shard["number"], FAILED, failed)
        write_text_atomically(shard_path(self.folder, shard["number"], ANSWERS), _lines(rows))
        return {"items": len(rows)}

    def _answers(self, video_id: str, queries: list[Query]) -> list[dict[str, Any]]:
        try:
            video = self.localizer.open_video(self.store, video_id)
        except BPNetError as err:
            return [_failed(query, err) for query in queries]
        try:
            found = video.localize([query.query for query in queries], top=self.top)
        except BPNetError as err:
            if len(queries) == 1:
                return [_failed(queries[0], err)]
            # One of them is at fault, and the others have an answer.
            return [row for query in queries for row in self._answers(video_id, [query])]
        return [
            {**vars(query), "moments": [moment.to_dict() for moment in moments]}
            for query, moments in zip(queries, found, strict=True)
        ]


def _failed(query: Query, err: BPNetError) -> dict[str, Any]:
    return {**vars(query), "error": f"{type(err).__name__}: {err}"}


class ExtractShard:
    """Extracts the features of a shard of video files into a store.

    Args:
        extraction: What to extract, the fields of an `Extraction`.
        spec: What must come out, as JSON.
        folder: Where the stores go.
        dtype: As stored, see `FeatureWriter`.

    Raises:
        FeatureError: This machine has other weights than the one that started the job, or none.
    """

    def __init__(self, extraction: Mapping[str, Any], spec: str, folder: str, dtype: str) -> None:
        self.backbone = load_backbone(Extraction(**extraction))
        if lines := FeatureSpec.from_json(spec, "the job").differences(self.backbone.spec):
            raise FeatureError(f"another extractor than that of the job: {'; '.join(lines)}")
        self.folder = Path(folder)
        self.dtype = dtype

    def __call__(self, shard: Mapping[str, Any]) -> dict[str, int]:
        """Write the store of a shard; beside it what could not be read, and what not in full.

        Args:
            shard: Its ``"number"``, and the paths of its videos as JSON in ``"items"``.

        Returns:
            How many ``"items"`` it had.
        """
        files = [Path(path) for path in json.loads(shard["items"])]
        failed: list[dict[str, Any]] = []
        corrupt: list[dict[str, Any]] = []
        store = shard_path(self.folder, shard["number"], STORE)
        with FeatureWriter(store, self.backbone.spec, self.dtype) as writer:
            for file in files:
                try:
                    found = extract_video(file, self.backbone)
                    writer.add(file.stem, found.clips, found.duration_seconds)
                except BPNetError as err:
                    failed.append({"video": str(file), "error": f"{type(err).__name__}: {err}"})
                    continue
                if found.num_corrupt:
                    corrupt.append({"video": str(file), "corrupt_frames": found.num_corrupt})
            _write_rows(self.folder, shard["number"], FAILED, failed)
            _write_rows(self.folder, shard["number"], CORRUPT, corrupt)
        return {"items": len(files)}


def _write_rows(folder: Path, number: int, suffix: str, rows: list[dict[str, Any]]) -> None:
    """Say what failed, before the shard's own file is there: with that file the shard is done."""
    path = shard_path(folder, number, suffix)
    if rows:
        write_text_atomically(path, _lines(rows))
    else:
        path.unlink(missing_ok=True)  # of an attempt that was cut off


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
