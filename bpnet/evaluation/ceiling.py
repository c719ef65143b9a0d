"""What the clip grid allows: how good answers made of whole clips are at best."""

from __future__ import annotations

import numpy as np

from bpnet.data.dataset import MomentDataset
from bpnet.evaluation.intervals import tiou
from bpnet.evaluation.metrics import localization_metrics
from bpnet.evaluation.protocols import Protocol


def grid_ceiling(
    dataset: MomentDataset, rules: Protocol, most: int | None = None
) -> dict[str, float]:
    """Score the spans of whole clips that are nearest to the moments.

    A model that moves boundaries off the grid (``model.refinement_weight``) may do better.

    Args:
        dataset: The queries; their features are not read.
        rules: The protocol.
        most: Queries of a sample, spread over the dataset; None: all.

    Returns:
        R@1,IoU=m and mIoU in percent.
    """
    step = 1 if most is None else max(1, len(dataset) // most)
    sample = dataset.annotations[::step][:most]
    nearest = []
    for one in sample:
        grid = dataset.grid(one)
        spans = [grid.to_seconds(grid.nearest_cells(*moment)) for moment in one.moments]
        # One answer counts: the one that fits its target best.
        best = tiou(np.array(spans), np.array(one.moments)).argmax()
        nearest.append(spans[best][None])
    return localization_metrics(nearest, [one.moments for one in sample], rules, ranks=(1,))
