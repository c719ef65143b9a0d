"""Where in the frame: boxes in the frames of a moment of a video, as data and as pictures."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bpnet.errors import ConfigError
from bpnet.images.model import FoundClass, ImageModel, Picture
from bpnet.images.picture_files import load_pillow, write_picture
from bpnet.types import Moment
from bpnet_features.atomic import write_text_atomically
from bpnet_features.video import frames_at, probe

BOXES_FILE = "boxes.json"
_LINE = (255, 60, 60)
_OTHERS = (255, 190, 60)  # of boxes behind the first one


@dataclasses.dataclass(frozen=True, eq=False)
class FrameBoxes:
    """What is found in a frame.

    Attributes:
        seconds: Its time in the video.
        picture: The frame, RGB (height, width, 3) uint8.
        found: The class and its boxes, in pixels of the frame.
    """

    seconds: float
    picture: Picture
    found: FoundClass

    def to_dict(self) -> dict[str, Any]:
        """As plain values, without the picture."""
        return {"seconds": self.seconds, **self.found.to_dict()}


def boxes_in_moment(
    video: str | Path,
    start_seconds: float,
    end_seconds: float,
    model: ImageModel,
    *,
    name: str | None = None,
    num_frames: int = 8,
) -> list[FrameBoxes]:
    """Find a class in frames of a moment, which are spread evenly over it.

    Args:
        video: The file.
        start_seconds: Beginning of the moment, >= 0.
        end_seconds: Its end, > start_seconds.
        model: A trained image model.
        name: The class that is looked for; None: in each frame the likeliest one.
        num_frames: How many frames, >= 1.

    Returns:
        What is in each, in order of time.

    Raises:
        FeatureError: The video cannot be read.
        ConfigError: The moment is empty, or outside the video, or there is no such class.
    """
    info = probe(video)
    if not 0 <= start_seconds < min(end_seconds, info.duration_seconds) or num_frames < 1:
        raise ConfigError(
            f"moment {start_seconds:g} to {end_seconds:g} s, {num_frames} frames: expected a "
            f"moment of this video of {info.duration_seconds:.2f} s, and one frame at least"
        )
    length = min(end_seconds, info.duration_seconds) - start_seconds
    # Middles of equal pieces: the ends of a moment are where it is least sure.
    times = (start_seconds + (np.arange(num_frames) + 0.5) * length / num_frames).tolist()
    pictures = frames_at(video, times, info.width)
    found = model.locate(pictures, name)
    return [FrameBoxes(*one) for one in zip(times, pictures, found, strict=True)]


def class_in(sentence: str, classes: Sequence[str]) -> str | None:
    """The class that a sentence names.

    Args:
        sentence: The sentence.
        classes: Names of classes.

    Returns:
        The class whose name stands in the sentence, as whole words in any case, perhaps with an s;
        None: there is none, or there are several.
    """
    spaced = re.compile(r"[\W_]+")
    words = f" {' '.join(spaced.split(sentence.lower()))} "
    named = []
    for name in classes:
        plain = " ".join(spaced.split(name.lower())).strip()
        if plain and (f" {plain} " in words or f" {plain}s " in words):
            named.append(name)
    return named[0] if len(named) == 1 else None


def draw_boxes(frame: FrameBoxes) -> Picture:
    """A frame with its boxes, RGB (height, width, 3) uint8; the first one stands out."""
    pillow = load_pillow()
    image = pillow.Image.fromarray(frame.picture)
    draw = pillow.ImageDraw.Draw(image)
    width = max(1, round(min(image.size) / 150))
    for place, box in reversed(list(enumerate(frame.found.boxes))):
        corners = (box.left, box.top, box.right - 1, box.bottom - 1)
        draw.rectangle(corners, outline=_OTHERS if place else _LINE, width=width)
    label = f"{frame.found.name} {frame.found.probability:.2f}"
    left, top, right, bottom = draw.textbbox((2, 2), label)
    draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=(0, 0, 0))
    draw.text((2, 2), label, fill=(255, 255, 255))
    return np.asarray(image)


def write_boxes(frames: Sequence[FrameBoxes], folder: str | Path) -> list[Path]:
    """Write ``boxes.json`` and a picture with its boxes for each frame.

    Args:
        frames: What was found.
        folder: Where to; it is made.

    Returns:
        The pictures, in order.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    rows, files = [], []
    for frame in frames:
        file = root / f"{frame.seconds:09.3f}.png"
        write_picture(file, draw_boxes(frame))
        rows.append({**frame.to_dict(), "picture": file.name})
        files.append(file)
    write_text_atomically(root / BOXES_FILE, json.dumps(rows, indent=1) + "\n")
    return files


def write_answer_boxes(
    video: str | Path,
    queries: Sequence[str],
    answers: Sequence[Sequence[Moment]],
    model: ImageModel,
    folder: str | Path,
) -> list[Path]:
    """Boxes in the best moment of each sentence, in a folder of its own: ``FOLDER/NUMBER``.

    Args:
        video: The file.
        queries: The sentences; one that names a class of the model is asked for this class.
        answers: The moments of each, best first; a sentence without any is passed over.
        model: The image model.
        folder: Where to.

    Returns:
        The folders that were written.

    Raises:
        FeatureError: The video cannot be read.
    """
    written = []
    for number, (query, moments) in enumerate(zip(queries, answers, strict=True), start=1):
        if moments:
            best = moments[0]
            name = class_in(query, model.classes)
            frames = boxes_in_moment(video, best.start_seconds, best.end_seconds, model, name=name)
            written.append(Path(folder) / str(number))
            write_boxes(frames, written[-1])
    return written
