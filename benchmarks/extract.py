"""How fast each backbone extracts, against decoding alone.

    python benchmarks/extract.py [VIDEO...] [--quick] [--json FILE] [--only NAME...] [--threads N]

- frames: of the file a second, for all of decoding, scaling and the network
- a CPU second: the same by processor time, which other jobs on the machine disturb less
- real time: seconds of video a second
- looked at: frames a second that the backbone sees, after sampling
- network: its share of the time

Decoding alone is the bound that no extractor can pass. Networks whose weights are not at hand (I3D,
C3D, CLIP) get random ones: these have no influence on the speed. Without videos two are made: 320 x
240 pixels, 25 frames a second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bpnet_features import FeatureError
from bpnet_features.backbones.backbone import Backbone, Extraction
from bpnet_features.backbones.choose import NAMES, load_backbone
from bpnet_features.extract import extract_video, pictures
from bpnet_features.video import load_av, probe

SECONDS, QUICK_SECONDS = 20.0, 4.0  # of made-up video


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--quick", action="store_true", help="shorter videos, one run of each")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--only", nargs="+", default=NAMES, metavar="NAME", help="backbones")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="threads of PyTorch (its own choice)")
    parser.add_argument("--repeats", type=int, help="runs of each, the best counts (3; quick: 1)")
    args = parser.parse_args()
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    repeats = args.repeats or (1 if args.quick else 3)
    with tempfile.TemporaryDirectory() as folder:
        videos = args.videos or make_videos(Path(folder), QUICK_SECONDS if args.quick else SECONDS)
        seconds = sum(probe(video).duration_seconds for video in videos)
        rows = [row("decoding alone", videos, seconds, decode, repeats)]
        for name in args.only:
            try:
                backbone = load(name, Path(folder), args.device)
            except FeatureError as err:
                print(f"{name}: left out: {err}")
                continue
            rows.append(measure(name, backbone, videos, seconds, repeats))
    machine = {
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": args.device,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load": os.getloadavg(),
    }
    show(rows, machine)
    if args.json:
        args.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


def make_videos(folder: Path, seconds: float) -> list[Path]:
    """Two videos: a moving gradient, and noise, which is costly to decode."""
    av = load_av()
    rng = np.random.default_rng(0)
    gradient = np.linspace(0, 255, 320 * 240 * 3).reshape(240, 320, 3).astype(np.uint8)
    paths = [folder / "gradient.mp4", folder / "noise.mp4"]
    for path in paths:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for number in range(round(25 * seconds)):
                image = np.roll(gradient, 4 * number, axis=1)
                if path.stem == "noise":
                    image = image // 2 + rng.integers(0, 128, image.shape, dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    return paths


def load(name: str, folder: Path, device: str) -> Backbone:
    """A backbone, with random weights where it does not bring its own."""
    import torch

    from bpnet_features.backbones import c3d, i3d

    path = folder / name
    match name:
        case "i3d" | "c3d":
            network = i3d.I3D() if name == "i3d" else c3d.C3D()
            torch.save(network.state_dict(), path)
        case "clip":
            try:
                from transformers import CLIPConfig, CLIPModel
            except ImportError as err:
                raise FeatureError("transformers is not installed") from err
            # The image side of ViT-B/32; the text side does not take part, and is kept small.
            text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
            CLIPModel(CLIPConfig(text_config=text)).save_pretrained(path)
        case _:
            return load_backbone(Extraction(name, device=device))
    return load_backbone(Extraction(name, str(path), device))


def decode(videos: Sequence[Path]) -> int:
    """Decode and throw away, as FFmpeg gives the frames."""
    frames = 0
    for video in videos:
        with load_av().open(str(video)) as container:
            container.streams.video[0].thread_type = "AUTO"
            frames += sum(1 for _ in container.decode(video=0))
    return frames


def measure(
    name: str, backbone: Backbone, videos: Sequence[Path], seconds: float, repeats: int
) -> dict[str, Any]:
    """A backbone's row: extraction, and what it would take without the network."""

    def extract(videos: Sequence[Path]) -> int:
        for video in videos:
            extract_video(video, backbone)
        return 0

    def look(videos: Sequence[Path]) -> int:
        return sum(1 for video in videos for _ in pictures(probe(video), backbone))

    without = row("", videos, seconds, look, 1)
    found = row(name, videos, seconds, extract, repeats)
    share = 1 - without["cpu_seconds"] / found["cpu_seconds"]
    found |= {"looked_at": without["frames"] / found["seconds"], "network_share": max(0.0, share)}
    return found


def row(
    name: str,
    videos: Sequence[Path],
    seconds: float,
    work: Callable[[Sequence[Path]], int],
    repeats: int,
) -> dict[str, Any]:
    """Time some work on all videos; the best of the runs."""
    spent = processor = float("inf")
    frames = 0
    for _ in range(repeats):
        begun, begun_processor = time.perf_counter(), time.process_time()
        frames = work(videos)
        spent = min(spent, time.perf_counter() - begun)
        processor = min(processor, time.process_time() - begun_processor)
    return {
        "name": name,
        "seconds": spent,
        "cpu_seconds": processor,
        "frames": frames,
        "real_time": seconds / spent,
    }


def show(rows: Sequence[dict[str, Any]], machine: dict[str, Any]) -> None:
    """Print the table."""
    decoded = rows[0]["frames"]
    print(json.dumps(machine))
    print(
        f"{'':20}{'frames /s':>11}{'a CPU second':>14}{'real time':>11}"
        f"{'looked at /s':>14}{'network':>9}"
    )
    for one in rows:
        line = f"{one['name']:20}{decoded / one['seconds']:11.0f}"
        line += f"{decoded / one['cpu_seconds']:14.0f}{one['real_time']:10.1f}x"
        if "looked_at" in one:
            line += f"{one['looked_at']:14.1f}{one['network_share']:9.0%}"
        print(line)


if __name__ == "__main__":
    main()
