"""How fast samples come from the store, how soon, and in how much memory.

    python benchmarks/loader.py [--quick] [--json FILE] [--annotations charades_sta] [--folder DIR]

Makes up features below DIR, in the packed layout (float16), in the former one of a dataset a video,
and as a folder of npy files, and loads one epoch from each, in turn, each time in a process of its
own. The reference reads every video into memory before it begins, as VSLNet's public code does.

- start: seconds from the end of the imports to the first batch; `process` counts the imports too
- CPU: samples a second of processor time, which other jobs on the machine disturb less
- memory: what was added since the imports: private to the process, and mapped from files, which all
  processes share and the system takes back when it needs it

Then stores of 1 to 20 GB (sparse: their zeros take no room on the disk) show what grows with the
dataset; and the share of padded positions what batches of similar lengths are worth. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from machine import bandwidth, evict, machine, spread, status_bytes

from bpnet_features import FeatureSpec, FeatureWriter
from bpnet_features.header import APART, write_header
from bpnet_features.places import Place, lay_out
from bpnet_features.source import Entry

# As I3D features of Charades: 64 to 128 clips of a third of a second.
WIDTH, CLIPS, CLIP_SECONDS = 1024, (64, 128), 1 / 3
MAX_CLIPS, BATCH_SIZE, QUERIES_PER_VIDEO = 128, 16, 4
SPEC = FeatureSpec("made-up", WIDTH, seconds_per_clip=CLIP_SECONDS)
GROWTH = (1, 5, 20)  # GB
LONG_VIDEO = 1000  # clips of each video of these
WORDS = "a person opens the door takes some food from table puts it on shelf then runs".split()
MAPPED, APART_NAME, REFERENCE = "packed, mapped", "a dataset a video", "all in memory"
COLD = "packed, nothing cached"
POLL_BATCHES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less of everything: half a minute")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--annotations", type=Path, help="folder of Charades-STA, not made-up text")
    parser.add_argument("--folder", type=Path, help="where to measure (the system's own for this)")
    parser.add_argument("--videos", type=int, help="number of videos (2000; quick: 400)")
    parser.add_argument("--repeats", type=int, help="runs of each (5; quick: 2)")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, root, begun, most = args.child
        print(json.dumps(child(name, Path(root), float(begun), int(most))))
        return
    num_videos = args.videos or (400 if args.quick else 2000)
    repeats = args.repeats or (2 if args.quick else 5)
    results: dict[str, Any] = {"machine": machine(), "load_before": os.getloadavg()}
    with tempfile.TemporaryDirectory(prefix="loader-", dir=args.folder) as folder:
        root = Path(folder)
        rows = write_annotations(root, args.annotations, num_videos)
        write_features(root, rows)
        size = (root / "packed.h5").stat().st_size
        results["data"] = {"videos": num_videos, "samples": len(rows), "bytes": size}
        results["bandwidth"] = bandwidth(root / "packed.h5")
        results["layouts"] = in_turn(root, repeats)
        print_layouts(results)
        results["growth"] = growth(root, GROWTH, 200 if args.quick else 2000)
        results["padding"] = padding(rows)
    results["load_after"] = os.getloadavg()
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


def write_annotations(root: Path, given: Path | None, num_videos: int) -> list[dict[str, Any]]:
    """One row a sample, about that many videos."""
    rng = random.Random(0)
    if given is not None:
        from bpnet.data.annotations import read_annotations

        found = read_annotations("charades_sta", str(given), "train")[0]
        kept = set(rng.sample(sorted({one.video_id for one in found}), num_videos))
        rows = [
            [one.video_id, one.query, one.start_seconds, one.end_seconds, one.duration_seconds]
            for one in found
            if one.video_id in kept
        ]
    else:
        rows = []
        for number in range(num_videos):
            duration = rng.uniform(*CLIPS) * CLIP_SECONDS
            for _ in range(rng.randint(1, 4)):
                start = rng.uniform(0, duration / 2)
                query = " ".join(rng.choices(WORDS, k=rng.randint(4, 12)))
                rows.append([f"v{number}", query, start, start + duration / 3, duration])
    (root / "annotations.json").write_text(json.dumps(rows))
    names = ("video", "query", "start", "end", "duration")
    return [dict(zip(names, row, strict=True)) for row in rows]


def write_features(root: Path, rows: list[dict[str, Any]]) -> None:
    """The same numbers three times."""
    rng = np.random.default_rng(0)
    pool = rng.standard_normal((4 * CLIPS[1], WIDTH)).astype(np.float16)
    (root / "npy").mkdir()
    with FeatureWriter(root / "packed.h5", SPEC, "float16") as writer:
        with h5py.File(root / "apart.h5", "w") as apart:
            write_header(apart, SPEC, APART)
            for video, duration in {row["video"]: row["duration"] for row in rows}.items():
                count = int(np.clip(np.ceil(duration / CLIP_SECONDS), *CLIPS))
                first = int(rng.integers(len(pool) - count))
                clips = pool[first : first + count]
                stride = duration / count
                writer.add(video, clips, duration, stride_seconds=stride)
                apart[video] = clips
                apart[video].attrs.update(duration_seconds=duration, stride_seconds=stride)
                np.save(root / "npy" / f"{video}.npy", clips.astype(np.float32))


def in_turn(root: Path, repeats: int) -> dict[str, list[dict[str, float]]]:
    """Every layout as often, in any order."""
    found: dict[str, list[dict[str, float]]] = {
        name: [] for name in (MAPPED, COLD, APART_NAME, REFERENCE)
    }
    rng = random.Random(0)
    for _ in range(repeats):
        for name in rng.sample(list(found), len(found)):
            if name == COLD:
                evict(root / "packed.h5")
            found[name].append(in_a_process(name, root))
    return found


def in_a_process(name: str, root: Path, most: int = 10**9) -> dict[str, float]:
    line = [sys.executable, __file__, "--child", name, str(root), str(time.monotonic()), str(most)]
    done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def child(name: str, root: Path, begun: float, most: int) -> dict[str, float]:
    """Load one epoch, or ``most`` samples, in this fresh process."""
    from bpnet.data.vocabulary import build_vocabulary
    from bpnet.types import Annotation

    rows = json.loads((root / "annotations.json").read_text())
    annotations = [
        Annotation(str(number), video, query, start, end, duration, "train")
        for number, (video, query, start, end, duration) in enumerate(rows)
    ]
    vocabulary, _ = build_vocabulary(
        [one.query for one in annotations], tokenizer="words", characters=True, max_query_tokens=50
    )
    load = all_in_memory if name == REFERENCE else from_a_store
    file = root / ("apart.h5" if name == APART_NAME else "packed.h5")
    batches = load(file, annotations, vocabulary)
    before = memory()
    start = time.perf_counter()
    next(batches)
    first = time.perf_counter()
    process = time.monotonic() - begun
    peak, num_samples = memory(), BATCH_SIZE
    processor = time.process_time()
    for number, batch in enumerate(batches):
        num_samples += len(batch)
        if number % POLL_BATCHES == 0:
            peak = [max(pair) for pair in zip(peak, memory(), strict=True)]
        if num_samples >= most:
            break
    end, processor_end = time.perf_counter(), time.process_time()
    return {
        "start_seconds": first - start,
        "process_seconds": process,
        "samples_per_second": (num_samples - BATCH_SIZE) / (end - first),
        "samples_per_cpu_second": (num_samples - BATCH_SIZE) / (processor_end - processor),
        "samples_per_second_from_start": num_samples / (end - start),
        "private_mb": (peak[0] - before[0]) / 1e6,
        "mapped_mb": (peak[1] - before[1]) / 1e6,
        "resident_mb": sum(peak) / 1e6,
        "samples": num_samples,
    }


def memory() -> list[int]:
    """Resident bytes: private, and mapped from files."""
    return status_bytes("RssAnon", "RssFile")


def from_a_store(file: Path, annotations: list[Any], vocabulary: Any) -> Iterator[Any]:
    """As training loads it; all from opening the file on is timed."""
    from torch.utils.data import DataLoader

    from bpnet.data.collate import collate
    from bpnet.data.dataset import MomentDataset
    from bpnet.training.batches import EpochBatches
    from bpnet_features import open_features

    def batches() -> Iterator[Any]:
        dataset = MomentDataset(annotations, open_features(file), vocabulary, MAX_CLIPS)
        videos = [one.video_id for one in dataset.annotations]
        order = EpochBatches(videos, BATCH_SIZE, 0, QUERIES_PER_VIDEO)
        for batch in DataLoader(dataset, batch_sampler=order, collate_fn=collate):
            yield batch.samples

    return batches()


def all_in_memory(file: Path, annotations: list[Any], vocabulary: Any) -> Iterator[Any]:
    """The reference: every video and every encoded sentence in memory, then shuffled batches."""
    import torch

    def batches() -> Iterator[Any]:
        ids = sorted({one.video_id for one in annotations})
        videos = {name: np.load(file.parent / "npy" / f"{name}.npy") for name in ids}
        samples = [(one, *vocabulary.encode(one.query)) for one in annotations]
        order = torch.randperm(len(samples)).tolist()
        for first in range(0, len(order), BATCH_SIZE):
            batch = [samples[number] for number in order[first : first + BATCH_SIZE]]
            clips = [videos[one.video_id] for one, _, _ in batch]
            video = np.zeros((len(batch), max(map(len, clips)), WIDTH), np.float32)
            words = np.zeros((len(batch), max(len(ids) for _, ids, _ in batch)), np.int64)
            letters = np.zeros((*words.shape, max(c.shape[1] for _, _, c in batch)), np.int64)
            for row, (array, (_, word_ids, char_ids)) in enumerate(zip(clips, batch, strict=True)):
                video[row, : len(array)] = array
                words[row, : len(word_ids)] = word_ids
                letters[row, : len(char_ids), : char_ids.shape[1]] = char_ids
            tensors = [torch.from_numpy(array) for array in (video, words, letters)]
            mask = torch.arange(video.shape[1]) < torch.tensor([[len(c)] for c in clips])
            assert len(mask) == len(tensors[0])
            yield batch

    return batches()


def print_layouts(results: dict[str, Any]) -> None:
    data, speed = results["data"], results["bandwidth"]
    print(
        f"{data['videos']} videos, {data['samples']} samples, {data['bytes'] / 1e9:.2f} GB packed"
    )
    print("read bandwidth: " + ", ".join(f"{k} {v / 1e9:.2f} GB/s" for k, v in speed.items()))
    print(f"{'median (min to max)':<24}{'samples/s':>22}{'of CPU':>8}{'start s':>20}", end="")
    print(f"{'process s':>11}{'private MB':>12}{'mapped MB':>11}{'of reference':>14}")
    layouts = results["layouts"]
    for name, runs in layouts.items():
        columns = {key: [run[key] for run in runs] for key in runs[0]}
        print(f"{name:<24}{spread(columns['samples_per_second'], 0):>22}", end="")
        print(f"{statistics.median(columns['samples_per_cpu_second']):>8.0f}", end="")
        print(f"{spread(columns['start_seconds'], 2):>20}", end="")
        print(f"{statistics.median(columns['process_seconds']):>11.1f}", end="")
        print(f"{max(columns['private_mb']):>12.0f}{max(columns['mapped_mb']):>11.0f}", end="")
        pairs = zip(runs, layouts[REFERENCE], strict=True)
        key = "samples_per_second_from_start"
        print(f"{statistics.median(run[key] / other[key] for run, other in pairs):>13.1f}x")
    per_sample = data["bytes"] / data["samples"]
    rate = statistics.median(run["samples_per_second"] for run in layouts[MAPPED])
    share = rate * per_sample / speed["page cache"]
    print(f"{MAPPED}: {rate * per_sample / 1e9:.2f} GB/s of the file, {share:.0%} of reading it")
    results["share_of_page_cache_bandwidth"] = share


def growth(root: Path, gigabytes: tuple[int, ...], most: int) -> list[dict[str, float]]:
    """Long videos in ever larger stores: the start, and memory after the same number of samples."""
    found = []
    print(f"\nsparse stores of videos of {LONG_VIDEO} clips, {most} samples of each")
    print("    GB  videos   start s  samples/s  private MB  mapped MB  resident MB")
    for size in gigabytes:
        folder = root / f"sparse{size}"
        folder.mkdir()
        num_videos = size * 10**9 // (2 * WIDTH * LONG_VIDEO)
        ids = [f"v{number}" for number in range(num_videos)]
        entry = Entry(LONG_VIDEO, WIDTH, "float16", 500.0)
        spec = FeatureSpec("made-up", WIDTH)
        places = [Place(video_id, entry, LONG_VIDEO) for video_id in ids]
        lay_out(folder / "packed.h5", spec, places, "float16")
        rows = [(video_id, "a person opens the door", 10.0, 20.0, 500.0) for video_id in ids]
        (folder / "annotations.json").write_text(json.dumps(rows))
        done = {"gigabytes": size, "videos": num_videos, **in_a_process(MAPPED, folder, most)}
        found.append(done)
        print(f"{size:>6}{num_videos:>8}{done['start_seconds']:>10.2f}", end="")
        print(f"{done['samples_per_second']:>11.0f}{done['private_mb']:>12.0f}", end="")
        print(f"{done['mapped_mb']:>11.0f}{done['resident_mb']:>13.0f}", flush=True)
        (folder / "packed.h5").unlink()
    return found


def padding(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Share of the positions of a batch's videos that is padding."""
    from bpnet.training.batches import EpochBatches

    videos, durations = ([row[key] for row in rows] for key in ("video", "duration"))
    counts = np.clip(np.ceil(np.array(durations) / CLIP_SECONDS), 1, MAX_CLIPS)
    found = {}
    for name, lengths in (("by chance", None), ("of similar lengths", durations)):
        real = padded = 0
        for batch in EpochBatches(videos, BATCH_SIZE, 0, QUERIES_PER_VIDEO, lengths):
            sizes = {videos[number]: counts[number] for number in batch}.values()
            real += sum(sizes)
            padded += max(sizes) * len(sizes)
        found[name] = 1 - real / padded
    print(
        f"\npadded positions, clips of {CLIP_SECONDS:.2f} s, at most {MAX_CLIPS}: batches ", end=""
    )
    print(", ".join(f"{name} {share:.1%}" for name, share in found.items()))
    return found


if __name__ == "__main__":
    main()
