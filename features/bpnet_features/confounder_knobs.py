"""What a planted confounder is made of: the knobs of the generator, and their ranges."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from bpnet_features.errors import FeatureError

MAX_CONCEPTS = 64


@dataclasses.dataclass(frozen=True)
class Confounder:
    """The knobs of the generator.

    Attributes:
        rho: Rate at which an object's own context is planted, in [0, 1]. Of the other videos, half
            have no context and half any one: ``P(own | object) = rho + (1 - rho) / (2 N)``.
        salience: Amplitude of the context; that of the object is 1.
        overlap: Share of the object's run that the context covers, in [0, 1].
        location_bias: Whether the object lies in the first third of the video.
        object_dropout: Share of videos that do not show their object, in [0, 1).
        num_concepts: Different objects N, at most 64.
        num_clips: Clips T of a video.
        dim: Width C of the features.
        noise: Standard deviation of the noise of each number.
        concepts_per_query: Most objects that a sentence names, all in the same run.
        queries_per_video: Most sentences about a video, each with a run and a context of its own.
        shortest: Fewest clips of a run.
        longest: Most clips of a run.
        num_train: Videos to train on.
        num_val: Videos of ``val_labelled``.
        num_test: Videos of each of the test parts.

    Raises:
        FeatureError: A value is out of range.
    """

    rho: float = 0.9
    salience: float = 1.6
    overlap: float = 0.0
    location_bias: bool = False
    object_dropout: float = 0.0
    num_concepts: int = 8
    num_clips: int = 32
    dim: int = 48
    noise: float = 0.35
    concepts_per_query: int = 1
    queries_per_video: int = 1
    shortest: int = 4
    longest: int = 7
    num_train: int = 1600
    num_val: int = 80
    num_test: int = 400

    def __post_init__(self) -> None:
        ranges = {
            "rho": (0, 1),
            "salience": (0, 100),
            "overlap": (0, 1),
            "object_dropout": (0, 1),
            "num_concepts": (2, MAX_CONCEPTS),
            "num_clips": (4, 100_000),
            "dim": (2, 100_000),
            "noise": (0, 100),
            "concepts_per_query": (1, self.num_concepts),
            "queries_per_video": (1, self.num_concepts // self.concepts_per_query),
            "shortest": (1, self.longest),
            "longest": (1, self.num_clips // (2 * self.queries_per_video)),
            "num_train": (1, 10**7),
            "num_val": (1, 10**7),
            "num_test": (1, 10**7),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise FeatureError(f"confounder: {name}={value}: expected {low} to {high}")
        if self.location_bias and (
            self.queries_per_video > 1 or self.longest > self.num_clips // 3
        ):
            raise FeatureError(
                f"confounder: location_bias with queries_per_video={self.queries_per_video}, "
                f"longest={self.longest}: expected one run that fits the first third of "
                f"{self.num_clips} clips"
            )

    @classmethod
    def rich(cls, **knobs: Any) -> Confounder:
        """Larger and closer to real sets: 64 objects, 128 clips, several sentences a video."""
        values = {
            "num_concepts": 64,
            "num_clips": 128,
            "dim": 512,
            "concepts_per_query": 3,
            "queries_per_video": 4,
            "shortest": 6,
            "longest": 16,
        }
        return cls(**{**values, **knobs})

    @classmethod
    def from_texts(
        cls, given: Mapping[str, str], defaults: Mapping[str, Any] | None = None
    ) -> Confounder:
        """Knobs as a command line gives them.

        Args:
            given: Texts by name; ``rich=true`` begins from `rich`.
            defaults: Knobs that differ where they are not given.

        Returns:
            The knobs.

        Raises:
            FeatureError: A name is unknown, or a value is not of its type or range.
        """
        known: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(cls)}
        known["rich"] = False
        values = dict(defaults or {})
        for name, text in given.items():
            if name not in known:
                raise FeatureError(
                    f"confounder: {name}={text}: unknown knob, expected one of {', '.join(known)}"
                )
            kind = type(known[name])
            try:
                values[name] = {"true": True, "false": False}[text] if kind is bool else kind(text)
            except (KeyError, ValueError) as err:
                raise FeatureError(
                    f"confounder: {name}={text}: expected a value such as {known[name]}".replace(
                        "False", "false"
                    )
                ) from err
        return cls.rich(**values) if values.pop("rich", False) else cls(**values)
