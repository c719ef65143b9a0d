"""Small sound annotation files of every form, for tests that damage them."""

from __future__ import annotations

import json
from pathlib import Path

ENTRY = {
    "duration": 30.0,
    "timestamps": [[3, 9], [4, 12]],
    "sentences": ["a man walks", "he sits down"],
}
ROW = {
    "qid": 7,
    "vid": "v0",
    "query": "a dog runs",
    "duration": 20,
    "relevant_windows": [[0, 4], [6, 8]],
    "relevant_clip_ids": [0, 1],
    "saliency_scores": [[1, 2, 3], [4, 4, 4]],
}
DIDEMO = {
    "num_segments": 6,
    "description": "a dog runs",
    "times": [[1, 1], [0, 1], [1, 1], [2, 5]],
    "video": "x_1.mov",
    "annotation_id": 3,
}
TEXT = "3MSZA 24.3 30.4##person turn a light on.\nAMT7R 4.3 12.5##a person.\n"

# A small sound file of each form: dataset, part, name of the file, content.
SOUND: list[tuple[str, str, str, str]] = [
    ("charades_sta", "test", "charades_sta_test.txt", TEXT),
    ("charades_sta", "test", "Charades_v1_test.csv", "id,length\n3MSZA,31.0\nAMT7R,20\n"),
    ("charades_sta", "train", "charades.json", json.dumps({"3MSZA": {"duration": 31.0}})),
    ("charades_cd", "val", "charades_val.json", json.dumps({"v": ENTRY | {"video_duration": 9}})),
    ("tacos_2dtan", "val", "val.json", json.dumps({"v": ENTRY | {"fps": 2, "num_frames": 60}})),
    ("tacos_tall", "val", "scdm_val.json", json.dumps({"v.avi": ENTRY, "w": ENTRY})),
    ("tacos_tall", "test", "TACoS_test_samples.txt", "v.avi_1_9:a man#he sits#\nw_2_4:a dog#\n"),
    ("tacos_tall", "test", "test.json", json.dumps({"v.avi": ENTRY, "w": ENTRY})),
    ("activitynet", "train", "train.json", json.dumps({"v_1": ENTRY, "v_2": ENTRY})),
    ("activitynet_cd", "val", "anet_val.json", json.dumps({"v_1": ENTRY})),
    ("qvhighlights", "val", "highlight_val_release.jsonl", json.dumps(ROW) + "\n"),
    ("didemo", "val", "val_data.json", json.dumps([DIDEMO, DIDEMO | {"annotation_id": 4}])),
    ("lighthouse", "val", "a_val_release.jsonl", json.dumps(ROW) + "\n" + json.dumps(ROW)),
    ("jsonl", "val", "val.jsonl", json.dumps(ROW | {"split": "val"}) + "\n"),
    ("jsonl", "test", "test.json", json.dumps([ROW])),
    ("csv", "val", "val.csv", 'video_id,query,start,end,duration\nv0,"a dog, so",1,2,8\n'),
]


def folder_with(dataset: str, split: str, folder: Path) -> None:
    """The sound files that a part needs."""
    for other, part, name, content in SOUND:
        if other == dataset and (part == split or dataset == "charades_sta"):
            (folder / name).write_text(content)
    if dataset == "charades_sta":
        (folder / "charades_sta_train.txt").write_text(TEXT)
