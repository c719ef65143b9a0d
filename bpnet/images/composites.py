"""Makes pictures with a planted context: a digit is what is named, a texture is what comes with it.

The image twin of the planted features of `bpnet_features.confounder`, with the same knobs. Each
class has a texture of its own, a coloured grating, which stands somewhere else in the picture at a
chosen rate, and is more salient than the digit: a classifier can answer by the texture as well as
by the digit. Object and context boxes are known; no model reads them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bpnet.errors import ConfigError
from bpnet.images.glyphs import NUM_DIGITS, font, texture, warped

Array = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels, half-open

TEST_SPLITS = ("iid", "absent", "swapped", "context_only")
SPLITS = ("train", "val_labelled", *TEST_SPLITS)
# The test parts are the same pictures with another context each.
_FAMILIES = {"train": 0, "val_labelled": 1} | dict.fromkeys(TEST_SPLITS, 2)
_CONTRAST = 0.25  # of a digit, as a share of the range of a pixel


@dataclasses.dataclass(frozen=True)
class CompositeConfig:
    """The knobs of the generator.

    Attributes:
        rho: Rate at which a class's own context is planted, in [0, 1]. Of the other pictures, half
            have no context and half any one: ``P(own | class) = rho + (1 - rho) / (2 N)``.
        salience: Amplitude of the context; that of the digit is 1.
        overlap: Share of the digit's box that the context covers, in [0, 1].
        location_bias: Whether the digit lies in the left half of the picture, and the context in
            the right one.
        object_dropout: Share of pictures that do not show their digit, in [0, 1).
        num_classes: Different digits N, 2 to 10.
        size: Pixels of a side.
        shortest: Fewest pixels of the height of a digit, and of the side of a context.
        longest: Most of them, at most 7/16 of the size.
        noise: Standard deviation of the noise of each pixel; the digit's amplitude is 1.
        num_train: Pictures to train on.
        num_val: Pictures of ``val_labelled``.
        num_test: Pictures of each of the test parts.

    Raises:
        ConfigError: A value is out of range.
    """

    rho: float = 0.9
    salience: float = 1.6
    overlap: float = 0.0
    location_bias: bool = False
    object_dropout: float = 0.0
    num_classes: int = 10
    size: int = 64
    shortest: int = 20
    longest: int = 28
    noise: float = 0.35
    num_train: int = 2000
    num_val: int = 100
    num_test: int = 400

    def __post_init__(self) -> None:
        ranges = {
            "rho": (0, 1),
            "salience": (0, 2),
            "overlap": (0, 1),
            "object_dropout": (0, 0.999),
            "num_classes": (2, NUM_DIGITS),
            "size": (16, 1024),
            "shortest": (7, self.longest),
            "longest": (7, 7 * self.size // 16),
            "noise": (0, 10),
            "num_train": (1, 10**6),
            "num_val": (1, 10**6),
            "num_test": (1, 10**6),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"composites: {name}={value}: expected {low} to {high}")

    @classmethod
    def from_texts(cls, given: Sequence[str]) -> CompositeConfig:
        """Knobs as a command line gives them.

        Args:
            given: ``name=value`` each.

        Returns:
            The knobs.

        Raises:
            ConfigError: A name is unknown, or a value is not of its type or range.
        """
        defaults = dataclasses.asdict(cls())
        values: dict[str, Any] = {}
        for one in given:
            name, _, text = one.partition("=")
            if name not in defaults:
                raise ConfigError(f"composites: {one!r}: expected one of {', '.join(defaults)}")
            kind = type(defaults[name])
            try:
                values[name] = {"true": True, "false": False}[text] if kind is bool else kind(text)
            except (KeyError, ValueError) as err:
                raise ConfigError(
                    f"composites: {one!r}: expected a value such as {name}={defaults[name]}"
                ) from err
        return cls(**values)


@dataclasses.dataclass(frozen=True, eq=False)
class Composite:
    """A picture, and what is where in it.

    Attributes:
        picture: RGB (S, S, 3) uint8.
        label: The class.
        box: The digit; where it is not shown, where it would be.
        visible: Whether the digit is shown.
        context: The class whose context is planted, or None.
        context_box: Where, or None.
    """

    picture: Picture
    label: int
    box: Box
    visible: bool
    context: int | None
    context_box: Box | None


def composites(
    config: CompositeConfig, split: str, seed: int = 0, glyphs: Sequence[Array] | None = None
) -> Iterator[Composite]:
    """The pictures of a part; each is a pure function of the seed, the part and its number.

    Args:
        config: How they are made.
        split: One of `SPLITS`. ``iid`` is made as the training part; ``absent`` has no context;
            ``swapped`` another class's; ``context_only`` no digit.
        seed: Another seed gives other pictures, >= 0.
        glyphs: For each class pictures of its digit (n, h, w) in [0, 1], to choose from; None: a
            drawn font.

    Yields:
        Composite: One after the other.

    Raises:
        ConfigError: There is no such part.
    """
    if split not in SPLITS:
        raise ConfigError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
    drawn = font() if glyphs is None else glyphs
    counts = {"train": config.num_train, "val_labelled": config.num_val}
    for number in range(counts.get(split, config.num_test)):
        yield _composite(config, split, (seed, _FAMILIES[split], number), drawn)


def _composite(
    config: CompositeConfig, split: str, key: tuple[int, int, int], glyphs: Sequence[Array]
) -> Composite:
    # The same draws whatever the knobs are: two sets of a seed differ in what was turned.
    rng = np.random.default_rng(key)
    label, other = (int(rng.integers(config.num_classes)) for _ in range(2))
    chance, kind, hidden = rng.random(3)
    digit = warped(rng, glyphs[label], int(rng.integers(config.shortest, config.longest + 1)))
    height, width = digit.shape
    side = int(rng.integers(config.shortest, config.longest + 1))
    box, context_box = _places(rng, config, (width, height), side)
    context: int | None = label
    if split == "absent":
        context = None
    elif split == "swapped":
        context = (label + 1 + other % (config.num_classes - 1)) % config.num_classes
    elif split != "context_only" and chance >= config.rho:
        context = None if kind < 0.5 else other
    visible = bool(hidden >= config.object_dropout) and split != "context_only"
    canvas = config.noise * rng.standard_normal((config.size, config.size, 3))
    phases = rng.random(3)
    if context is not None:
        left, top, right, bottom = context_box
        grating = texture(context, right - left, bottom - top, phases)
        canvas[top:bottom, left:right] += config.salience * grating
    if visible:
        left, top, right, bottom = box
        canvas[top:bottom, left:right] += digit[..., None]
    picture = np.round(255 * np.clip(0.5 + _CONTRAST * canvas, 0, 1)).astype(np.uint8)
    return Composite(
        picture, label, box, visible, context, None if context is None else context_box
    )


def _places(
    rng: np.random.Generator, config: CompositeConfig, size: tuple[int, int], side: int
) -> tuple[Box, Box]:
    """Boxes of a digit and of a context that do not touch, unless they are to overlap."""
    width, height = size
    shares = rng.random((100, 4))
    chosen: tuple[Box, Box] | None = None
    for share in shares:
        half = config.size // 2
        wide, start = (half, half) if config.location_bias else (config.size, 0)
        box = _box(share[:2], (width, height), (wide, config.size))
        context = _box(share[2:], (side, side), (wide, config.size), start)
        apart = box[2] <= context[0] or context[2] <= box[0]
        apart = apart or box[3] <= context[1] or context[3] <= box[1]
        if apart and chosen is None:
            chosen = box, context
    if chosen is None:  # opposite corners always have room
        chosen = (
            _box(np.zeros(2), (width, height), (config.size, config.size)),
            _box(np.ones(2), (side, side), (config.size, config.size)),
        )
    if config.overlap:  # a context of the digit's size, moved to one side
        left, top, right, bottom = chosen[0]
        moved = width - round(config.overlap * width)
        if right + moved > config.size:
            moved = -moved
        chosen = chosen[0], (max(0, left + moved), top, min(config.size, right + moved), bottom)
    return chosen


def _box(share: Array, size: tuple[int, int], room: tuple[int, int], start: int = 0) -> Box:
    left, top = (
        int(part * (most - own + 1)) for part, own, most in zip(share, size, room, strict=True)
    )
    left, top = min(left, room[0] - size[0]) + start, min(top, room[1] - size[1])
    return left, top, left + size[0], top + size[1]
