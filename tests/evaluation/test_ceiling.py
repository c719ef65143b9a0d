"""The best that answers made of whole clips can do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bpnet.data.dataset import MomentDataset
from bpnet.data.vocabulary import build_vocabulary
from bpnet.evaluation.ceiling import grid_ceiling
from bpnet.evaluation.metrics import localization_metrics
from bpnet.evaluation.protocols import VSLNET
from bpnet.types import Annotation
from bpnet_features import FeatureSpec, FeatureStore, FeatureWriter

WORDS = build_vocabulary(["a dog"], tokenizer="words", characters=False, max_query_tokens=4)[0]


def about(start: float, end: float, *others: tuple[float, float]) -> Annotation:
    return Annotation("q", "v", "a dog", start, end, 8.0, "test", other_moments=others)


@pytest.fixture
def store(tmp_path: Path):
    """One video of eight clips of a second."""
    spec = FeatureSpec(backbone="test", feature_dim=1)
    with FeatureWriter(tmp_path / "f.h5", spec) as writer:
        writer.add("v", np.zeros((8, 1), np.float32), duration_seconds=8.0)
    with FeatureStore(tmp_path / "f.h5") as opened:
        yield opened


def ceiling(store: FeatureStore, moments: list[Annotation], max_clips: int) -> dict[str, float]:
    return grid_ceiling(MomentDataset(moments, store, WORDS, max_clips), VSLNET)


def test_by_hand(store: FeatureStore) -> None:
    # Four positions of two seconds: of [0.5, 3], [0, 4] holds 2.5 of 4 s, [0, 2] 1.5 of 3 s.
    found = ceiling(store, [about(0.5, 3.0), about(2.0, 6.0)], max_clips=4)
    assert found["mIoU"] == pytest.approx(100 * (0.625 + 1) / 2)
    assert (found["R@1,IoU=0.5"], found["R@1,IoU=0.7"]) == (100, 50)
    # As fine as the features are: [0, 3] or [1, 3].
    assert ceiling(store, [about(0.5, 3.0)], max_clips=8)["mIoU"] == pytest.approx(100 * 2.5 / 3)


def test_of_several_moments_the_one_that_fits_best_counts(store: FeatureStore) -> None:
    assert ceiling(store, [about(0.5, 3.0, (4.0, 6.0))], max_clips=4)["mIoU"] == 100


def test_no_answer_of_whole_clips_is_better(store: FeatureStore) -> None:
    moments = [about(start / 4, end / 4) for start in range(0, 30, 5) for end in (start + 1, 31)]
    dataset = MomentDataset(moments, store, WORDS, max_clips=4)
    edges = dataset.grid(moments[0]).edges_seconds
    assert edges.tolist() == dataset[0].grid.edges_seconds.tolist()
    whole = [(low, high) for i, low in enumerate(edges) for high in edges[i + 1 :]]
    best = sum(
        max(
            localization_metrics([[span]], [one.moments], VSLNET, ranks=(1,))["mIoU"]
            for span in whole
        )
        for one in moments
    ) / len(moments)
    assert grid_ceiling(dataset, VSLNET)["mIoU"] == pytest.approx(best)


def test_a_sample_is_spread_over_the_queries(store: FeatureStore) -> None:
    good, bad = about(2.0, 4.0), dataclasses.replace(about(3.9, 4.1), qid="r")
    dataset = MomentDataset([good, bad, bad, good, bad, bad], store, WORDS, max_clips=4)
    assert grid_ceiling(dataset, VSLNET, most=2)["mIoU"] == 100
    assert grid_ceiling(dataset, VSLNET)["mIoU"] < 50
