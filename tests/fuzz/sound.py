"""Sound files of every kind that we read, for the fuzzer to damage."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from annotation_samples import SOUND, folder_with
from releases import AUTO_SPECS, LAYOUTS, STREAMS
from subject import Subject

from bpnet_features import FeatureSpec
from bpnet_features.header import APART, write_header

PREDICTIONS = {
    "bpnet": '{"qid": "7", "moments": [{"start_seconds": 1, "end_seconds": 4, "score": 0.5}], '
    '"stage_one": [{"start_seconds": 0, "end_seconds": 5.5, "score": 2}]}\n',
    "moment-detr": '{"qid": 7, "query": "a dog runs", "vid": "v0", "pred_relevant_windows": '
    '[[0.0, 4.0, 0.9], [6, 8, 0.5]], "pred_saliency_scores": [0.5, -1, 2]}\n',
    "2d-tan": '[{"vid": "v0", "timestamps": [[0.0, 4.25]], "description": "a dog runs"}]',
    "vslnet": '{"vid": "v0", "words": ["a", "dog", "runs"], "start_time": 1.5, "end_time": 4}\n',
    "nlq": '{"version": "1.0", "results": [{"clip_uid": "v0", "annotation_uid": "7", '
    '"query_idx": 3, "predicted_times": [[1.0, 2.0], [4.0, 8.0]]}]}',
    "pairs": '{"7": [1.5, 4], "8": [[0, 2], [3, 4]]}',
}
DURATIONS = {
    "d.json": '{"3MSZA": 30.96, "AO8RW": 31, "00607": "12.5"}',
    "d.csv": "id,subject,length\n3MSZA,a,30.96\nAO8RW,b,31\n00607,c,12.5\n",
}


def write_sound(root: Path) -> list[Subject]:
    """Write all of them.

    Args:
        root: An empty folder; each is written to a folder of its own below it.

    Returns:
        Them, always in the same order.
    """
    subjects = []
    for name, write in LAYOUTS.items():
        path, _ = write(_below(root, f"features-{name}"))
        subjects.append(Subject("features", path, name, AUTO_SPECS.get(name, {})))
    for name, write_streams in STREAMS.items():
        path, _, streams = write_streams(_below(root, f"streams-{name}"))
        subjects.append(Subject("features", path, name, streams=streams))
    for dataset, split in dict.fromkeys((dataset, split) for dataset, split, _, _ in SOUND):
        folder = _below(root, f"annotations-{dataset}-{split}")
        folder_with(dataset, split, folder)
        subjects.append(Subject("annotations", folder, dataset, split=split))
    for name, text in PREDICTIONS.items():
        path = _below(root, f"predictions-{name}") / "predictions.jsonl"
        path.write_text(text, encoding="utf-8")
        subjects.append(Subject("predictions", path, name))
    for name, text in DURATIONS.items():
        path = _below(root, f"durations-{name}") / name
        path.write_text(text, encoding="utf-8")
        subjects.append(Subject("durations", path))
    return subjects + _queries(root) + _tiny(root)


def _tiny(root: Path) -> list[Subject]:
    """HDF5 files that are hardly more than headers, in the older form and the newest."""
    subjects = []
    clips = np.arange(12, dtype=np.float32).reshape(4, 3)
    spec = {"backbone": "tiny", "seconds_per_clip": 0.5}
    for form in ("earliest", "latest"):
        for layout, name, options in (
            ("hdf5", "{}", {}),
            ("hdf5", "{}", {"chunks": (1, 3), "compression": "gzip", "shuffle": True}),
            ("hdf5", "{}", {"chunks": (3, 2), "compression": "lzf", "fletcher32": True}),
            ("hdf5-group", "{}/c3d_features", {"chunks": (2, 3), "maxshape": (None, 3)}),
            ("bpnet", "{}", {"compression": "gzip"}),
        ):
            path = _below(root, f"tiny-{len(subjects)}-{layout}-{form}") / "f.hdf5"
            with h5py.File(path, "w", libver=form) as file:
                for video_id in "abc":
                    data = file.create_dataset(name.format(video_id), data=clips, **options)
                    data.attrs["duration_seconds"] = 2.0
                if layout == "bpnet":
                    write_header(file, FeatureSpec(feature_dim=3, **spec), APART)
            subjects.append(Subject("features", path, layout, spec))
    return subjects


def _queries(root: Path) -> list[Subject]:
    """Token features of two queries, 7 and 12, in both containers."""
    folder = _below(root, "queries-npz") / "clip_text_features"
    folder.mkdir()
    path = _below(root, "queries-hdf5") / "text.h5"
    with h5py.File(path, "w") as file:
        for qid, length in (("7", 3), ("12", 5)):
            hidden = np.random.default_rng(length).normal(size=(length, 6)).astype(np.float32)
            pooled = hidden.mean(axis=0)
            np.savez(folder / f"qid{qid}.npz", last_hidden_state=hidden, pooler_output=pooled)
            file[f"{qid}/last_hidden_state"] = hidden
            file[f"{qid}/pooler_output"] = pooled
    spec = {"backbone": "minilm"}
    return [Subject("queries", folder), Subject("queries", path, spec=spec)]


def _below(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir()
    return folder
