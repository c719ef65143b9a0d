"""Renders a planted confounder as real videos: an object moves, and a ground comes with its colour.

The colour of an object is what its context depends on: each colour has a pattern of the ground of
its own, which covers the whole picture for a while, before or after the object is seen. Sentences
name the object and what it does, and never the ground.
"""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from bpnet_features.atomic import write_atomically
from bpnet_features.confounder import SPLITS, PlantedQuery, PlantedWorld
from bpnet_features.confounder_files import write_tables
from bpnet_features.confounder_knobs import Confounder
from bpnet_features.errors import FeatureError
from bpnet_features.sample import (
    ACTIONS,
    COLOURS,
    FPS,
    SHAPES,
    SIZE,
    Event,
    background,
    coverage,
    describe,
    encode_frames,
    motion_paths,
)
from bpnet_features.video import load_av

CLIP_FRAMES = 4  # half a second, as one clip of the `grid` extractor
NAMES = tuple(COLOURS)
SINGLE_ACTIONS = tuple(name for name in ACTIONS if name != "swap")
PERIOD = 16  # pixels
CONTRAST = 60.0
# What the knobs are where nothing else is said: fewer videos, yet enough of each colour for some to
# be without its context. Salience, noise and dim mean nothing here.
RENDERED = {"num_concepts": 4, "num_train": 800, "num_val": 40, "num_test": 60}

Array = npt.NDArray[np.float32]


def render_confounded(
    root: str | os.PathLike[str],
    knobs: Confounder,
    seed: int = 0,
    jobs: int = 1,
    progress: bool = True,
) -> list[Path]:
    """Write ``root/videos/<id>.mp4`` and the files of `confounder_files.write_tables`.

    Each video depends on its id, the seed and the knobs only. Each file appears whole or not at
    all, the annotations last.

    Args:
        root: Folder to write to; it is created.
        knobs: How the set is made; objects are colours.
        seed: Another seed gives other videos, >= 0.
        jobs: Number of processes, >= 1.
        progress: Show a progress bar.

    Returns:
        The video files in order.

    Raises:
        FeatureError: A knob does not fit rendered videos, a number is out of range, or PyAV is
            missing.
    """
    plain = Confounder()
    for name in ("salience", "noise", "dim"):
        if getattr(knobs, name) != getattr(plain, name):
            raise FeatureError(
                f"confounder: {name}={getattr(knobs, name)}: rendered videos have no such knob; "
                "leave it out"
            )
    if knobs.num_concepts > len(NAMES) or knobs.concepts_per_query > 1:
        raise FeatureError(
            f"confounder: num_concepts={knobs.num_concepts}, "
            f"concepts_per_query={knobs.concepts_per_query}: rendered videos have at most "
            f"{len(NAMES)} colours, and one in a sentence"
        )
    if jobs < 1:
        raise FeatureError(f"jobs={jobs}: expected an integer >= 1")
    load_av()
    world = PlantedWorld(knobs, seed)
    folder = Path(root) / "videos"
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for split in SPLITS for name in world.video_ids(split)]
    work = partial(_render_file, folder, knobs, seed)
    shown = partial(tqdm, total=len(names), desc="render", unit="video", disable=not progress)
    if jobs == 1:
        planted = list(shown(map(work, names)))
    else:
        pool = ProcessPoolExecutor(min(jobs, len(names)), mp_context=get_context("spawn"))
        try:
            planted = list(shown(pool.map(work, names, chunksize=4)))
        finally:
            pool.shutdown(cancel_futures=True)
    tables = dict(zip(names, planted, strict=True))
    write_tables(Path(root), world, tables, CLIP_FRAMES / FPS, NAMES)
    return [folder / f"{name}.mp4" for name in names]


def plan_confounded(world: PlantedWorld, video_id: str) -> list[tuple[PlantedQuery, Event]]:
    """The sentences about a video, and what each of them names.

    Args:
        world: The set.
        video_id: An id of its `video_ids`.

    Returns:
        Sentences and events.
    """
    rng = world.random(video_id, 3)
    planned = []
    for one in world.queries(video_id):
        colour = NAMES[one.concepts[0]]
        shape = list(SHAPES)[int(rng.integers(len(SHAPES)))]
        actions = [name for name in SINGLE_ACTIONS if (name, shape) != ("spin", "circle")]
        action = actions[int(rng.integers(len(actions)))]
        start, end = (place * CLIP_FRAMES for place in one.object_run)
        event = Event(((colour, shape),), action, start, end)
        # The colour is the concept, so the sentence says it, and by one word alone.
        sentence = describe(event, [event], rng)[0]
        while colour not in sentence.split():
            sentence = describe(event, [event], rng)[0]
        planned.append((dataclasses.replace(one, query=sentence), event))
    return planned


def confounded_frames(world: PlantedWorld, video_id: str) -> npt.NDArray[np.uint8]:
    """The pixels of one video (F, 96, 96, 3)."""
    rng = world.random(video_id, 4)
    ground = background(rng)
    frames = np.repeat(ground[None], world.knobs.num_clips * CLIP_FRAMES, axis=0)
    for one, event in plan_confounded(world, video_id):
        phase = int(rng.integers(PERIOD))
        if one.context is not None and one.context_run is not None:
            start, end = (place * CLIP_FRAMES for place in one.context_run)
            frames[start:end] += CONTRAST * _pattern(one.context, phase)[..., None]
        (path,) = motion_paths(event, rng)
        paint = COLOURS[event.objects[0][0]][0] + rng.integers(-8, 9, 3)
        if one.visible:
            times = slice(event.first_frame, event.end_frame)
            alpha = coverage(event.objects[0][1], path)[..., None]
            frames[times] += alpha * (np.clip(paint, 0, 255).astype(np.float32) - frames[times])
    return np.round(np.clip(frames, 0, 255)).astype(np.uint8)


def _pattern(context: int, phase: int) -> Array:
    """One of six grounds, from 0 to 1 (96, 96)."""
    line = np.arange(SIZE) + phase
    down, across = line[:, None], line[None]
    half = PERIOD // 2
    patterns = (
        across // half % 2 + 0 * down,
        down // half % 2 + 0 * across,
        (across + down) // half % 2,
        (across - down) // half % 2,
        (across // half + down // half) % 2,
        1 + 0 * (across + down),
    )
    found: Array = patterns[context].astype(np.float32)
    return found


def _render_file(folder: Path, knobs: Confounder, seed: int, video_id: str) -> list[PlantedQuery]:
    """Write one video; returns what is said of it."""
    world = PlantedWorld(knobs, seed)
    encode = partial(encode_frames, frames=confounded_frames(world, video_id))
    write_atomically(folder / f"{video_id}.mp4", encode)
    return [one for one, _ in plan_confounded(world, video_id)]
