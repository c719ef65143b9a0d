"""Which module makes which features: by name, or exactly as a spec says."""

from __future__ import annotations

import logging

from bpnet_features.backbones.backbone import Backbone, Extraction
from bpnet_features.errors import FeatureError
from bpnet_features.spec import FeatureSpec

log = logging.getLogger(__name__)

NAMES = ("grid", "efficientnet_lite0", "clip", "i3d", "c3d")
# Frames from clip to clip where a spec knows seconds only.
_STRIDES = {"efficientnet_lite0": 1, "clip": 1, "i3d": 16, "i3d-charades": 16, "c3d": 16}


def load_backbone(extraction: Extraction) -> Backbone:
    """Load an extractor.

    Args:
        extraction: Which one, and how it is to be used.

    Returns:
        The backbone.

    Raises:
        FeatureError: There is none of that name, what it needs is not installed, or its weights or
            settings are not what they must be.
    """
    match extraction.backbone:
        case "grid":
            from bpnet_features.backbones import grid

            return grid.load(extraction)
        case "efficientnet_lite0":
            from bpnet_features.backbones import efficientnet_lite0

            return efficientnet_lite0.load(extraction)
        case "clip":
            from bpnet_features.backbones import clip_vit

            return clip_vit.load(extraction)
        case "i3d" | "i3d-charades":  # which of the two it is, the weights tell
            from bpnet_features.backbones import i3d

            return i3d.load(extraction)
        case "c3d":
            from bpnet_features.backbones import c3d

            return c3d.load(extraction)
        case name:
            raise FeatureError(
                f"backbone={name!r} cannot be extracted here, only {', '.join(NAMES)}: extract "
                "such features with their own tools and convert the result to a store"
            )


def load_for_spec(spec: FeatureSpec, weights: str | None = None, device: str = "auto") -> Backbone:
    """Load the extractor of some features, so that it makes the same ones.

    Args:
        spec: What is known of them; what is not, as for many published files, takes the default of
            the backbone, and a warning says so.
        weights: File or folder of the weights, or their name; see `Extraction`.
        device: As in `Extraction`.

    Returns:
        The backbone.

    Raises:
        FeatureError: As `load_backbone`, or what it would make differs from the spec.
    """
    backbone = load_backbone(_extraction(spec, weights, device))
    lines = spec.differences(backbone.spec)
    wanted, made = spec.stride_seconds, backbone.spec.stride_seconds
    if not lines and wanted is not None and made is not None and abs(wanted - made) > 1e-6:
        lines = [f"seconds_per_clip: {wanted!r} != {made!r}"]
    if lines:
        other = any(line.startswith("weights:") for line in lines)
        remedy = (
            "Give the weights that those features were made with"
            if other
            else "Extract and train again, or install the version that made those features"
        )
        raise FeatureError(
            f"the wanted features are not what this {spec.backbone!r} extractor makes: "
            f"{'; '.join(lines)} (wanted != made). {remedy}"
        )
    if unsaid := _unsaid(spec, backbone.spec):
        log.warning(
            "the spec of the wanted %s features does not say %s; extracted with %s",
            spec.backbone,
            ", ".join(unsaid),
            "; ".join(f"{name}={value}" for name, value in unsaid.items()),
        )
    return backbone


def _unsaid(wanted: FeatureSpec, made: FeatureSpec) -> dict[str, object]:
    """What changes the features of a network and is known of the made ones only."""
    if made.weights is None:
        return {}
    names = ["fps", "clip_length_frames", "picture", "weights"]
    return {name: getattr(made, name) for name in names if getattr(wanted, name) is None}


def _extraction(spec: FeatureSpec, weights: str | None, device: str) -> Extraction:
    fps, stride, seconds = spec.fps, spec.clip_stride_frames, spec.seconds_per_clip
    if seconds is not None:
        if fps is None:
            stride = stride or _STRIDES.get(spec.backbone, 1)
            fps = stride / seconds
        elif stride is None:
            stride = max(1, round(fps * seconds))
    return Extraction(
        spec.backbone,
        weights,
        device,
        fps=fps,
        clip_length_frames=spec.clip_length_frames,
        clip_stride_frames=stride,
        picture=spec.picture,
        normalisation="l2" if spec.normalisation == "l2" else None,
    )
