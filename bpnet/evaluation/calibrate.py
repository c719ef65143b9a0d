"""True and mismatched pairs -> a fitted calibration, and what ``metrics.json`` says of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bpnet.data.dataset import MomentDataset
from bpnet.evaluation.calibration import THRESHOLD, Calibration, fit_calibration
from bpnet.evaluation.intervals import Array, BoolArray, tiou
from bpnet.evaluation.negatives import mismatched
from bpnet.evaluation.predictions import Prediction
from bpnet.evaluation.presence import fit_least_score, presence
from bpnet.evaluation.reliability import auroc, calibration_error, reliability_curve


@dataclasses.dataclass(frozen=True, eq=False)
class ScoredPairs:
    """Scores of the first moments.

    Attributes:
        true: Of sentences about their own videos (Q,).
        right: Whether those moments have a temporal IoU of 0.5 or more (Q,).
        mismatched: Of sentences about other videos (M,), where nothing is right.
    """

    true: Array
    right: BoolArray
    mismatched: Array

    @property
    def all_scores(self) -> Array:
        """Both together (Q + M,)."""
        return np.concatenate([self.true, self.mismatched])

    @property
    def all_right(self) -> BoolArray:
        """Whether they are right (Q + M,)."""
        return np.concatenate([self.right, np.zeros(len(self.mismatched), dtype=np.bool_)])


def score_pairs(
    predictions: Sequence[Prediction],
    dataset: MomentDataset,
    ask: Callable[[MomentDataset], Iterable[Prediction]],
) -> ScoredPairs | None:
    """Ask each sentence about another video too.

    Args:
        predictions: Answers to the queries of the data set, in their order.
        dataset: The queries.
        ask: Gives the answers to the queries of another data set.

    Returns:
        The scores; None where no sentence has another video to be asked about.
    """
    others = mismatched(dataset.annotations)
    if not others:
        return None
    asked = MomentDataset(
        others,
        dataset.store,
        dataset.vocabulary,
        dataset.max_clips,
        query_features=dataset.query_features,
    )
    return ScoredPairs(
        _first_scores(predictions),
        np.array([_is_right(one) for one in predictions]),
        _first_scores(ask(asked)),
    )


def fit_pairs(pairs: ScoredPairs) -> Calibration:
    """Fit a calibration, and a threshold, to true and mismatched pairs together.

    Args:
        pairs: The scores.

    Returns:
        The calibration.

    Raises:
        ConfigError: A score is not in [0, 1].
    """
    return dataclasses.replace(
        fit_calibration(pairs.all_scores, pairs.all_right),
        least_score=fit_least_score(pairs.true, pairs.mismatched),
    )


def calibration_row(pairs: ScoredPairs, calibration: Calibration | None) -> dict[str, Any]:
    """What ``metrics.json`` says of a checkpoint's scores as probabilities.

    Args:
        pairs: The scores on the part that is evaluated.
        calibration: The checkpoint's, or None.

    Returns:
        ``score``: of the scores themselves the calibration error of all pairs and of the true ones,
        the reliability curve of all, and the means of true and mismatched pairs. ``probability``:
        the same of the calibrated probabilities, or None. ``auroc``: how well the scores tell true
        from mismatched pairs. ``presence``: how well the fitted threshold does, or None.
    """
    least = None if calibration is None else calibration.least_score
    row: dict[str, Any] = {
        "threshold": THRESHOLD,
        "num_true": len(pairs.true),
        "num_mismatched": len(pairs.mismatched),
        "fitted": None if calibration is None else calibration.to_dict(),
        "auroc": auroc(pairs.true, pairs.mismatched),
        "score": _described(pairs, pairs.true, pairs.mismatched),
        "probability": None,
        "presence": None if least is None else presence(pairs.true, pairs.mismatched, least),
    }
    if calibration is not None:
        true, other = map(calibration.probabilities, (pairs.true, pairs.mismatched))
        row["probability"] = _described(pairs, true, other)
    return row


def _described(pairs: ScoredPairs, true: Array, other: Array) -> dict[str, Any]:
    curve = reliability_curve(np.concatenate([true, other]), pairs.all_right)
    return {
        "ece": calibration_error(curve),
        "ece_true": calibration_error(reliability_curve(true, pairs.right)),
        "mean_true": float(true.mean()),
        "mean_mismatched": float(other.mean()),
        "curve": [dataclasses.asdict(one) for one in curve],
    }


def _first_scores(predictions: Iterable[Prediction]) -> Array:
    return np.array([one.moments[0].score for one in predictions], dtype=np.float64)


def _is_right(prediction: Prediction) -> bool:
    truth, first = prediction.annotation, prediction.moments[0]
    assert truth is not None
    targets: npt.ArrayLike = truth.moments
    overlap = tiou((first.start_seconds, first.end_seconds), targets).max()
    return bool(overlap >= THRESHOLD)
