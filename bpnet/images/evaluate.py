"""A model and a folder of pictures with boxes -> the metrics, and the threshold of its boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from bpnet.errors import AnnotationError
from bpnet.images.folder import BOXES, CONTEXTS, PictureFolder
from bpnet.images.metrics import (
    IOUS,
    THRESHOLDS,
    Localized,
    box_accuracy,
    localize,
    metrics_at,
    pointing,
)
from bpnet.images.model import ImageModel


def fit_threshold(model: ImageModel, folder: PictureFolder) -> int:
    """Choose the threshold of a model's boxes, on pictures that are neither trained on nor tested.

    Args:
        model: The model; its threshold becomes the one of the best box accuracy at IoU 0.5.
        folder: Pictures with boxes; those without are left out.

    Returns:
        How many pictures it was chosen on.

    Raises:
        AnnotationError: No picture has a box.
    """
    found, _ = _localized(model, folder)
    model.threshold = THRESHOLDS[int(box_accuracy(found, (0.5,)).argmax())]
    return len(found.labels)


def evaluate_images(model: ImageModel, folder: PictureFolder) -> dict[str, Any]:
    """Score a model.

    Args:
        model: The model, with the threshold that it has.
        folder: Pictures with boxes; those without are left out, and counted.

    Returns:
        ``num_pictures``, ``num_without_box``, ``threshold``, ``weighting``; ``metrics`` in percent,
        see `bpnet.images.metrics.metrics_at`, with ``pointing`` and, where contexts are known,
        ``confounder pointing``; ``oracle``: box accuracies with the threshold that is best on these
        very pictures, ``MaxBoxAcc`` (IoU 0.5) and ``MaxBoxAcc, IoU 0.3 to 0.7``.

    Raises:
        AnnotationError: No picture has a box.
    """
    level = min(range(len(THRESHOLDS)), key=lambda one: abs(THRESHOLDS[one] - model.threshold))
    found, used = _localized(model, folder)
    boxes = folder.boxes() or {}
    names = [folder.names[one] for one in used]
    metrics = metrics_at(found, level)
    metrics["pointing"] = pointing(found, [boxes[name] for name in names])
    contexts = folder.boxes(CONTEXTS)
    if contexts is not None:
        metrics["confounder pointing"] = pointing(found, [contexts.get(one, []) for one in names])
    return {
        "num_pictures": len(used),
        "num_without_box": len(folder.names) - len(used),
        "threshold": THRESHOLDS[level],
        "weighting": model.weighting,
        "metrics": metrics,
        "oracle": {
            "MaxBoxAcc": float(box_accuracy(found, (0.5,)).max()),
            "MaxBoxAcc, IoU 0.3 to 0.7": float(
                np.mean([box_accuracy(found, (iou,)).max() for iou in IOUS])
            ),
        },
    }


def image_table(results: dict[str, Any]) -> str:
    """What `evaluate_images` gave, as lines for the terminal."""
    rows = [f"{results['num_pictures']} pictures, percent"]
    width = max(map(len, [*results["metrics"], *results["oracle"]]))
    rows += [f"  {name:<{width}}{value:9.2f}" for name, value in results["metrics"].items()]
    rows.append("with the best threshold of these very pictures, which nobody knows beforehand:")
    rows += [f"  {name:<{width}}{value:9.2f}" for name, value in results["oracle"].items()]
    rows.append(
        f"boxes from {results['threshold']:g} of the range of the map, weighting "
        f"{results['weighting']}; right from IoU 0.5"
    )
    if results["num_without_box"]:
        rows.append(f"left out: {results['num_without_box']} pictures without a box")
    return "\n".join(rows)


def _localized(model: ImageModel, folder: PictureFolder) -> tuple[Localized, list[int]]:
    """What becomes of the pictures that have boxes, and which these are."""
    boxes = folder.boxes()
    used = [place for place, name in enumerate(folder.names) if name in (boxes or {})]
    if boxes is None or not used:
        raise AnnotationError(
            f"pictures {str(folder.root)!r}: {BOXES} is missing or names none of them: expected "
            "picture,left,top,right,bottom and a line a box"
        )
    labels = folder.labels[used]
    maps, scores = model.maps(folder.pictures[used].float() / 255, labels)
    truths = [boxes[folder.names[one]] for one in used]
    return localize(maps, scores, labels.numpy(), truths), used
