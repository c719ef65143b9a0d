"""Renders the built-in sample: short videos of moving shapes, sentences, and their true moments.

Each video has a few events; an event is one object (a colour and a shape) doing one action, or two
objects swapping places. Events of a video share colours, shapes and actions, so that only the whole
sentence tells which one is meant, and no two of them fit the same sentence.
"""

from __future__ import annotations

import dataclasses
import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from bpnet_features.atomic import write_atomically, write_text_atomically
from bpnet_features.errors import FeatureError
from bpnet_features.video import load_av

NUM_VIDEOS = 280
FPS = 8
SIZE = 96  # pixels across and down
SECONDS = (12, 24)
EVENT_SECONDS = (1.5, 6.0)
# Split of the video with index i: entry i % 10. With four videos there is one of each at least.
SPLITS = "train test train val train train test train train train".split()

Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Path2D = tuple[Floats, Floats, Floats, Floats]  # centre x and y, radius, angle; by frame
Random = np.random.Generator

# Paint, and words for it; a word that stands twice is said twice as often.
COLOURS = {
    "red": ((222, 40, 38), ("red", "red", "crimson")),
    "green": ((40, 190, 70), ("green", "green", "emerald")),
    "blue": ((45, 90, 235), ("blue", "blue", "azure")),
    "yellow": ((240, 215, 45), ("yellow", "yellow", "golden")),
    "purple": ((165, 55, 205), ("purple", "purple", "violet")),
    "white": ((240, 240, 240), ("white", "white", "pale")),
}
# Nouns, and adjectives for sentences such as "something green and square".
SHAPES = {
    "circle": (("circle", "circle", "disc", "ball"), ("round", "circular")),
    "square": (("square", "square", "box", "block"), ("square", "boxy")),
    "triangle": (("triangle", "triangle", "wedge"), ("triangular", "three-sided")),
    "star": (("star", "star", "starlet"), ("star-shaped", "five-pointed")),
}
# Plain form, third person and -ing form of a verb, then what follows it.
VERBS = {
    "stay": "stay stays staying still, rest rests resting in place, sit sits sitting motionless",
    "spin": "spin spins spinning, rotate rotates rotating, turn turns turning on the spot",
    "grow": "grow grows growing, get gets getting bigger, become becomes becoming larger",
    "shrink": "shrink shrinks shrinking, get gets getting smaller, become becomes becoming tiny",
    "blink": "blink blinks blinking, flicker flickers flickering, flash flashes flashing brightly",
    "bounce": "bounce bounces bouncing, hop hops hopping about, jump jumps jumping up and down",
    "swap": "swap swap swapping places, trade trade trading places, switch switch switching spots",
}
MOVES = "slide slides sliding, move moves moving, glide glides gliding, drift drifts drifting"
DIRECTIONS = {
    "left": ("left", "to the left", "leftwards"),
    "right": ("right", "to the right", "rightwards"),
    "up": ("up", "upwards", "to the top"),
    "down": ("down", "downwards", "to the bottom"),
}
ACTIONS = {name: tuple(verbs.split(", ")) for name, verbs in VERBS.items()} | {
    name: tuple(f"{move} {adverb}" for move in MOVES.split(", ") for adverb in adverbs)
    for name, adverbs in DIRECTIONS.items()
}
# {thing}: the object with its article; {s}: third person, {plain} and {ing}: the other forms.
TEMPLATES = (
    "{thing} {s}",
    "{thing} {is} {ing}",
    "there {is} {thing} {ing}",
    "watch {thing} {plain}",
    "{ing}, {thing} {is} in the picture",
    "the moment when {thing} {s}",
    "{thing} {appears} and {s}",
    "we see {thing} {ing} on the screen",
    "when {does} {thing} {plain}?",
)


@dataclasses.dataclass(frozen=True)
class Event:
    """One thing that happens in a video.

    Attributes:
        objects: Colour and shape of the object; two of them where they swap places.
        action: What they do, a key of `ACTIONS`.
        first_frame: Where they are seen first.
        end_frame: The frame after the last one.
    """

    objects: tuple[tuple[str, str], ...]
    action: str
    first_frame: int
    end_frame: int


def render_sample(
    root: str | os.PathLike[str],
    num_videos: int = NUM_VIDEOS,
    seed: int = 0,
    jobs: int = 1,
    progress: bool = True,
) -> list[Path]:
    """Write ``root/videos/<id>.mp4`` and ``root/annotations.jsonl``.

    Video i depends on the seed and on i only: a larger sample begins with the smaller one. Each
    file appears whole or not at all, the annotations last.

    Args:
        root: Folder to write to; it is created.
        num_videos: Number of videos, >= 1.
        seed: Another seed gives another sample, >= 0.
        jobs: Number of processes, >= 1.
        progress: Show a progress bar.

    Returns:
        The video files in order.

    Raises:
        FeatureError: A number is out of range, or PyAV is missing.
    """
    for name, value, least in (("num_videos", num_videos, 1), ("seed", seed, 0), ("jobs", jobs, 1)):
        if value < least:
            raise FeatureError(f"{name}={value}: expected an integer >= {least}")
    load_av()
    folder = Path(root) / "videos"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"sample_{index:04d}.mp4" for index in range(num_videos)]
    work = partial(_render_file, folder, seed)
    shown = partial(tqdm, total=num_videos, desc="render", unit="video", disable=not progress)
    if jobs == 1 or num_videos == 1:
        rows = list(shown(map(work, range(num_videos))))
    else:
        pool = ProcessPoolExecutor(min(jobs, num_videos), mp_context=get_context("spawn"))
        try:
            rows = list(shown(pool.map(work, range(num_videos), chunksize=4)))
        finally:
            pool.shutdown(cancel_futures=True)
    text = "".join(json.dumps(row) + "\n" for video_rows in rows for row in video_rows)
    write_text_atomically(Path(root) / "annotations.jsonl", text)
    return files


def plan_video(seed: int, index: int) -> tuple[list[Event], int]:
    """The events of one video in order of time, and its number of frames."""
    rng = np.random.default_rng((seed, index, 0))
    num_frames = int(rng.integers(SECONDS[0] * FPS, SECONDS[1] * FPS + 1))
    most = min(6, num_frames // (4 * FPS))  # 3 in 12 s
    lengths = [_random_length(rng) for _ in range(int(rng.integers(3, most + 1)))]
    while sum(lengths) > 0.7 * num_frames:
        lengths = [_random_length(rng) for _ in lengths]
    # Idle frames are dealt to the gaps at random; now and then two events overlap a little.
    shares = rng.dirichlet(np.ones(len(lengths) + 1))
    gaps = np.floor(shares * (num_frames - sum(lengths))).astype(int)
    times, end, overlapped = [], 0, True
    for length, gap in zip(lengths, gaps[:-1].tolist(), strict=True):
        first = end + gap
        overlaps = not overlapped and bool(rng.random() < 0.12)
        if overlaps:
            first = max(end - FPS, 0)
        times.append((first, first + length))
        end, overlapped = max(end, first + length), overlaps
    events: list[Event] = []
    for first, last in times:
        # Two that are seen at once differ in colour, as the eye (and a histogram) needs it.
        shown = {colour for e in events if e.end_frame > first for colour, _ in e.objects}
        event = _random_event(rng, events, first, last)
        while shown & {colour for colour, _ in event.objects} or not _fits(event, events):
            event = _random_event(rng, events, first, last)
        events.append(event)
    return events, num_frames


def describe(event: Event, events: list[Event], rng: Random) -> list[str]:
    """Two different sentences that fit this event and no other one of the video."""
    sentences: list[str] = []
    while len(sentences) < 2:
        things = [_thing(event, obj, events, rng) for obj in event.objects]
        if len(things) == 2 and rng.random() < 0.5:
            things.reverse()
        *verbs, tail = f"{_choice(rng, ACTIONS[event.action])} ".split(" ", 3)
        plain, third, ing = (f"{verb} {tail}".strip() for verb in verbs)
        one = len(things) == 1
        words = {"thing": " and ".join(things), "plain": plain, "s": third, "ing": ing}
        words |= {"is": "is" if one else "are", "does": "does" if one else "do"}
        words["appears"] = "appears" if one else "appear"
        sentence = _choice(rng, TEMPLATES).format(**words)
        sentences += [sentence] if sentence not in sentences else []
    return sentences


def render_frames(seed: int, index: int) -> npt.NDArray[np.uint8]:
    """The pixels of one video (F, 96, 96, 3)."""
    events, num_frames = plan_video(seed, index)
    rng = np.random.default_rng((seed, index, 1))
    frames = np.repeat(background(rng)[None], num_frames, axis=0)
    for event in events:
        times = slice(event.first_frame, event.end_frame)
        paths = motion_paths(event, rng)
        for (colour, shape), path in zip(event.objects, paths, strict=True):
            paint = np.clip(np.array(COLOURS[colour][0]) + rng.integers(-8, 9, 3), 0, 255)
            alpha = coverage(shape, path)[..., None]
            frames[times] += alpha * (paint.astype(np.float32) - frames[times])
    return np.round(frames).astype(np.uint8)


def _random_length(rng: Random) -> int:
    return int(rng.integers(round(EVENT_SECONDS[0] * FPS), round(EVENT_SECONDS[1] * FPS) + 1))


def _choice(rng: Random, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def _random_event(rng: Random, events: list[Event], first: int, last: int) -> Event:
    """An object and its action: mostly an earlier event with one or two of three parts changed."""
    colour, shape = _choice(rng, list(COLOURS)), _choice(rng, list(SHAPES))
    action = _choice(rng, list(ACTIONS))
    if events and rng.random() < 0.75:
        other = _choice(rng, events)
        kept = int(rng.integers(1, 7))  # three bits: which parts stay
        colour = other.objects[0][0] if kept & 1 else colour
        shape = other.objects[0][1] if kept & 2 else shape
        action = other.action if kept & 4 else action
    objects: tuple[tuple[str, str], ...] = ((colour, shape),)
    if action == "swap":
        partner = _choice(rng, [name for name in COLOURS if name != colour])
        objects += ((partner, _choice(rng, list(SHAPES))),)
    return Event(objects, action, first, last)


def _fits(event: Event, events: list[Event]) -> bool:
    """Whether the event can be seen, and can be told from the others by a sentence."""
    if event.action == "spin" and event.objects[0][1] == "circle":
        return False  # a turning disc looks like one that rests
    for other in events:
        shared = set(event.objects) & set(other.objects)
        if shared and event.action == other.action:
            return False
        # What swaps places also moves in some direction.
        actions = {event.action, other.action}
        if shared and "swap" in actions and actions & set(DIRECTIONS):
            return False
    return True


def _thing(event: Event, obj: tuple[str, str], events: list[Event], rng: Random) -> str:
    """The object in words; colour or shape may be left out where nothing else fits then."""
    colour, shape = obj
    rivals = [o for e in events if e is not event and e.action == event.action for o in e.objects]
    colour_word = _choice(rng, COLOURS[colour][1])
    noun, adjective = (_choice(rng, words) for words in SHAPES[shape])
    form = int(rng.integers(10))
    if len(event.objects) == 1 and form == 0 and all(o[0] != colour for o in rivals):
        return f"something {colour_word}"
    if len(event.objects) == 1 and form == 1 and all(o[1] != shape for o in rivals):
        return f"{_article(noun)} {noun}"
    if form == 2:
        return f"something {colour_word} and {adjective}"
    if form == 3:
        return f"{_article(adjective)} {adjective} {colour_word} thing"
    article = "the" if form == 4 else _article(colour_word)
    return f"{article} {colour_word} {noun}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def background(rng: Random) -> Array:
    """A dark, uneven, grainy ground (96, 96, 3), nearly without colour."""
    tone = rng.uniform(25, 70) + rng.uniform(-6, 6, 3)
    # Linear interpolation between a few random levels gives the clouds.
    tents = np.maximum(0, 1 - np.abs(np.linspace(0, 5, SIZE)[:, None] - np.arange(6)))
    cloud = tents @ rng.normal(0, 8, (6, 6)) @ tents.T
    grain = rng.normal(0, 3, (SIZE, SIZE))
    ground: Array = np.clip(tone + (cloud + grain)[..., None], 0, 110).astype(np.float32)
    return ground


def motion_paths(event: Event, rng: Random) -> list[Path2D]:
    """Where the objects of an event are, how large and how turned, frame by frame."""
    length = event.end_frame - event.first_frame
    t, frame = np.linspace(0, 1, length), np.arange(length)
    x, y = (np.full(length, place) for place in rng.uniform(30, SIZE - 30, 2))
    radius = np.full(length, rng.uniform(14, 18))
    angle = np.full(length, rng.uniform(-0.2, 0.2))
    sense = rng.choice([-1, 1])
    travel = rng.uniform(46, 60)
    along = (SIZE - travel) / 2 + travel * t
    sizes = 6 + (rng.uniform(20, 24) - 6) * t
    match event.action:
        case "left" | "right":
            x = along if event.action == "right" else SIZE - along
        case "up" | "down":
            y = along if event.action == "down" else SIZE - along
        case "spin":
            angle = angle + sense * rng.uniform(2.2, 3.4) * frame / FPS
        case "grow":
            radius = sizes
        case "shrink":
            radius = sizes[::-1]
        case "blink":
            # Off in two of four frames, but on at both ends, where the moment begins and ends.
            radius = np.where((frame % 4 >= 2) & (frame < length - 2), 0.0, radius)
        case "bounce":
            y = y + 10 - 22 * np.abs(np.sin(np.pi * 1.25 * frame / FPS))
        case "swap":
            # On opposite ends of a line through the middle; after half a turn they have swapped.
            turn = rng.uniform(0, 2 * np.pi) + sense * np.pi * (3 * t**2 - 2 * t**3)
            x, y = 25 * np.cos(turn), 25 * np.sin(turn)
            middle, small = SIZE / 2, 0.8 * radius
            return [(middle + x, middle + y, small, angle), (middle - x, middle - y, small, angle)]
    return [(x, y, radius, angle)]


def coverage(shape: str, path: Path2D) -> Array:
    """How much of each pixel the shape covers, from its signed distance (F, 96, 96)."""
    x, y, radius, angle = (values.astype(np.float32) for values in path)
    line = np.arange(SIZE, dtype=np.float32) + np.float32(0.5)
    dx, dy = line - x[:, None], line - y[:, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    across = cos * dx[:, None, :] + sin * dy[:, :, None]
    down = cos * dy[:, :, None] - sin * dx[:, None, :]
    size = radius[:, None, None]
    match shape:
        case "circle":
            distance = np.hypot(across, down) - size
        case "square":
            distance = np.maximum(np.abs(across), np.abs(down)) - 0.88 * size
        case "triangle":
            # Three sides at the same distance from the centre; one of them lies below.
            slanted = np.float32(np.sqrt(0.75)) * np.abs(across) - 0.5 * down
            distance = np.maximum(slanted, down) - 0.62 * size
        case "star":
            # Its ten edges are one and the same when folded onto half a point.
            fold = np.pi / 5
            folded = np.abs((np.arctan2(across, -down) + fold) % (2 * fold) - fold)
            reach = np.hypot(across, down)
            edge = np.array([0.45 * np.cos(fold) - 1, 0.45 * np.sin(fold)], dtype=np.float32)
            past_tip, aside = reach * np.cos(folded) - 1.25 * size, reach * np.sin(folded)
            distance = (edge[1] * past_tip - edge[0] * aside) / np.hypot(*edge)
    coverage: Array = np.where(size > 0, np.clip(0.5 - distance, 0, 1), 0).astype(np.float32)
    return coverage


def _render_file(folder: Path, seed: int, index: int) -> list[dict[str, Any]]:
    """Write one video; returns its rows of the annotation file."""
    video_id = f"sample_{index:04d}"
    encode = partial(encode_frames, frames=render_frames(seed, index))
    write_atomically(folder / f"{video_id}.mp4", encode)
    events, num_frames = plan_video(seed, index)
    rng = np.random.default_rng((seed, index, 2))
    return [
        {
            "qid": f"{video_id}_{number}{letter}",
            "video_id": video_id,
            "query": sentence,
            "start": event.first_frame / FPS,
            "end": event.end_frame / FPS,
            "duration": num_frames / FPS,
            "split": SPLITS[index % len(SPLITS)],
        }
        for number, event in enumerate(events)
        for letter, sentence in zip("ab", describe(event, events, rng), strict=True)
    ]


def encode_frames(path: Path, frames: npt.NDArray[np.uint8]) -> None:
    av = load_av()
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        # One thread and no look-ahead: x264 then gives the same bytes for the same frames.
        stream.options = {"preset": "veryfast", "crf": "18", "threads": "1", "tune": "zerolatency"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
