"""The model that `bpnet app` starts on when none is given: trained on the built-in sample.

It is trained where it is needed rather than shipped: a file of weights would fit one version of the
network only, and anybody can see here where it comes from. It is the model of ``make demo``.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

from bpnet.cli.user_cache import user_cache
from bpnet.errors import CheckpointError, ConfigError

NOTE = (
    "This page runs on a demonstration model: it was trained on the built-in sample of rendered "
    "shapes (“the green square hops about”) and knows nothing of real footage. For your own "
    "videos, start it with bpnet app --checkpoint RUN."
)
DEMO = Path("runs/demo")
MAX_VIDEOS, MAX_SENTENCES = 20, 3  # that are suggested, and about each of them


@dataclasses.dataclass(frozen=True)
class SampleModel:
    """A trained model and the sample that it was trained on.

    Attributes:
        checkpoint: Folder of the run.
        sample: Folder of the sample: ``videos`` and ``annotations.jsonl``.
    """

    checkpoint: Path
    sample: Path


def find_or_train() -> SampleModel:
    """The model of ``make demo`` where there is one, else that of the user's cache folder.

    Returns:
        The model; the first time it is trained, which takes a few minutes. A training that was
        interrupted goes on where it stopped.

    Raises:
        ConfigError: The training failed.
    """
    for folder in (DEMO, cache_folder()):
        model = SampleModel(folder / "train", folder / "sample")
        if _is_trained(model):
            return model
    print(
        "no --checkpoint: a small model is trained on the built-in sample first; this takes a few "
        f"minutes, once, and is kept in {folder}",
        file=sys.stderr,
    )
    folder.mkdir(parents=True, exist_ok=True)
    if not (model.sample / "features.h5").is_file():
        _bpnet("features", "sample", str(model.sample))
    where = [f"data.root={model.sample}", f"run_dir={model.checkpoint}"]
    _bpnet("train", "experiment=demo", *where, "resume=auto")
    return model


def examples(sample: Path) -> dict[str, list[str]]:
    """Sentences about videos that the model has not seen.

    Args:
        sample: Folder of the sample.

    Returns:
        By name of a video file of the sample's test part, some sentences about it; none where the
        sample is not there.
    """
    file = sample / "annotations.jsonl"
    found: dict[str, list[str]] = {}
    if not file.is_file():
        return found
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        name = f"{row['video_id']}.mp4"
        # Two sentences say the same; the first of them is enough.
        if (
            row["split"] == "test"
            and row["qid"].endswith("a")
            and (sample / "videos" / name).is_file()
        ):
            found.setdefault(name, []).append(row["query"])
    return {name: found[name][:MAX_SENTENCES] for name in sorted(found)[:MAX_VIDEOS]}


def cache_folder() -> Path:
    """Where the model is kept: ``bpnet/sample`` in the user's cache folder."""
    return user_cache("sample")


def _is_trained(model: SampleModel) -> bool:
    """Whether there is a whole model; what this version cannot read is removed from the cache."""
    from bpnet.inference.localizer import Localizer

    try:
        # The threshold is fitted when the training has ended.
        return Localizer.from_pretrained(model.checkpoint, "cpu").least_score is not None
    except CheckpointError:
        if model.checkpoint.is_relative_to(cache_folder()):
            shutil.rmtree(model.checkpoint, ignore_errors=True)
        return False


def _bpnet(*arguments: str) -> None:
    """Run a subcommand in a process of its own; what it prints is its progress."""
    done = subprocess.run(
        [sys.executable, "-m", "bpnet.cli.main", *arguments], stdout=sys.stderr, check=False
    )
    if done.returncode:
        raise ConfigError(
            f"the sample's model could not be made: `bpnet {' '.join(arguments)}` ended with "
            f"status {done.returncode}; see above, or give --checkpoint"
        )
