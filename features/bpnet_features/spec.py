"""FeatureSpec: how the stored numbers were made, so that training and inference cannot differ."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from bpnet_features.errors import FeatureError


@dataclasses.dataclass(frozen=True)
class FeatureSpec:
    """How a video's clip features were made.

    Two stores with equal specs hold the same kind of numbers: a model trained on one can read the
    other. ``None`` means "not known", as for most published files, and differs from nothing.

    Attributes:
        backbone: Name of the extractor, such as ``"grid"``, ``"i3d"`` or ``"c3d"``.
        feature_dim: Width C of a clip's vector, >= 1.
        layer: Layer that was read, such as ``"fc6"``.
        fps: Frames a second at which the video was sampled.
        clip_length_frames: Frames that one clip sees.
        clip_stride_frames: Frames between the beginnings of neighbouring clips.
        seconds_per_clip: Seconds between neighbouring clips. None: ``clip_stride_frames / fps``
            where both are known, otherwise a video's duration divided by its number of clips.
        normalisation: What was done to each vector, such as ``"none"`` or ``"l2"``.
        streams: Names of the joined streams, in the order of their columns.
        picture: How a frame was scaled and cut, as `bpnet_features.picture.Picture` writes it.
        weights: Which weights the extractor had: ``"sha256:"`` and the digest of its parameters.
        version: Version of the extractor; changes when its numbers do.

    Raises:
        FeatureError: A value is out of range.
    """

    backbone: str
    feature_dim: int
    layer: str | None = None
    fps: float | None = None
    clip_length_frames: int | None = None
    clip_stride_frames: int | None = None
    seconds_per_clip: float | None = None
    normalisation: str | None = None
    streams: tuple[str, ...] = ()
    picture: str | None = None
    weights: str | None = None
    version: int = 1

    def __post_init__(self) -> None:
        streams = (self.streams,) if isinstance(self.streams, str) else tuple(self.streams or ())
        object.__setattr__(self, "streams", streams)
        if self.feature_dim < 1:
            raise FeatureError(f"feature spec: feature_dim={self.feature_dim}: expected >= 1")
        for name in ("fps", "clip_length_frames", "clip_stride_frames", "seconds_per_clip"):
            value = getattr(self, name)
            if value is not None and not 1e-9 <= value <= 1e9:
                raise FeatureError(
                    f"feature spec: {name}={value}: expected a number > 0 (1e-9 to 1e9), or null"
                )

    @property
    def stride_seconds(self) -> float | None:
        """Seconds between neighbouring clips, or None where the spec does not say."""
        if self.seconds_per_clip is not None:
            return self.seconds_per_clip
        if self.fps is not None and self.clip_stride_frames is not None:
            return self.clip_stride_frames / self.fps
        return None

    def differences(self, other: FeatureSpec) -> list[str]:
        """Entries that are known on both sides and not equal.

        Args:
            other: The spec to compare with.

        Returns:
            One line an entry, ``"fps: 8.0 != 25.0"``; empty when the two fit.
        """
        lines = []
        for field in dataclasses.fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            unknown = mine is None or theirs is None or mine == () or theirs == ()
            if not unknown and mine != theirs:
                lines.append(f"{field.name}: {mine!r} != {theirs!r}")
        return lines

    def line(self) -> str:
        """What is known, as a line of text for people."""
        known = {n: v for n, v in dataclasses.asdict(self).items() if v is not None and v != ()}
        return ", ".join(f"{name}={value}" for name, value in known.items())

    def to_json(self) -> str:
        """The spec as a JSON object."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> FeatureSpec:
        """Build a spec from plain values.

        Args:
            values: Field names and values.
            where: The file or setting they come from, for the message.

        Returns:
            The spec.

        Raises:
            FeatureError: A field is unknown, missing or out of range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise FeatureError(
                f"feature spec: unknown entries {unknown} ({where}): expected some of {known}"
            )
        missing = [name for name in ("backbone", "feature_dim") if values.get(name) is None]
        if missing:
            raise FeatureError(f"feature spec: {missing} missing ({where}): give at least these")
        for name, value in values.items():
            parts = value if name == "streams" and isinstance(value, list | tuple) else [value]
            if not all(part is None or isinstance(part, str | int | float) for part in parts):
                raise FeatureError(
                    f"feature spec: {name} holds a {type(value).__name__} ({where}): expected a "
                    "text or number, for streams a list of texts"
                )
        try:
            return cls(**values)
        except TypeError as err:
            raise FeatureError(f"feature spec: {dict(values)!r} ({where}): {err}") from err

    @classmethod
    def from_json(cls, text: str, where: str) -> FeatureSpec:
        """Read what `to_json` wrote; raises `FeatureError` where it is damaged."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as err:
            raise FeatureError(f"feature spec: not JSON ({where}): {err}") from err
        if not isinstance(values, dict):
            raise FeatureError(f"feature spec: {text!r} ({where}): expected a JSON object")
        return cls.from_dict(values, where)
