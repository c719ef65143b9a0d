"""A matching score -> the probability that its moment is right (temporal IoU >= 0.5); NumPy only.

Platt's scaling (*Probabilistic Outputs for Support Vector Machines*, 1999) of the ranking score s,
the one after score fusion:

    P(tIoU >= 0.5) = 1 / (1 + exp(-(a * logit(s) + b))),    a > 0,

so the order of the moments stays, and a = 1, b = 0 leaves a score as it is. The two numbers are
fitted by maximum likelihood to the first moments of the validation part: of each sentence about its
own video, right or wrong, and of each about another video, where nothing is right. As Platt does,
right counts as (n + 1) / (n + 2) and wrong as 1 / (m + 2), n and m their numbers, so that the fit
is finite whatever the scores are. The minimum is found by Newton's method with backtracking (Lin,
Lin, Weng, *A note on Platt's probabilistic outputs*, 2007).

What is fitted on a mixture holds for that mixture: half of its sentences are about another video.
Who asks only sentences that a video shows will find more right than the probability says. And first
moments are fitted: of later ones the probability is an extrapolation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bpnet.errors import CheckpointError, ConfigError
from bpnet.evaluation.intervals import Array

THRESHOLD = 0.5  # temporal IoU from which a moment is right
MIN_SLOPE = 0.01  # scores that say nothing, or the wrong thing, keep their order all the same
_EPSILON = 1e-6  # scores are taken from [_EPSILON, 1 - _EPSILON], where the logit is finite


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What the validation part says of scores.

    Attributes:
        slope: a > 0.
        intercept: b.
        least_score: Best score from which a sentence counts as one about the video, see
            `bpnet.evaluation.presence`; None: not fitted.
    """

    slope: float
    intercept: float
    least_score: float | None = None

    def probabilities(self, scores: npt.ArrayLike) -> Array:
        """Calibrated probabilities.

        Args:
            scores: Ranking scores (...), in [0, 1].

        Returns:
            Probabilities (...), in the order of the scores.

        Raises:
            ConfigError: A score is not in [0, 1].
        """
        return _sigmoid(self.slope * _logits(scores) + self.intercept)

    def to_dict(self) -> dict[str, float | None]:
        """As plain values, for a checkpoint."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Calibration | None:
        """What a checkpoint holds.

        Args:
            values: What `to_dict` gave, or None.

        Returns:
            The calibration; None for None.

        Raises:
            CheckpointError: The values are none.
        """
        if values is None:
            return None
        try:
            slope, intercept = float(values["slope"]), float(values["intercept"])
            least = values.get("least_score")
            least = None if least is None else float(least)
        except (KeyError, TypeError, ValueError) as err:
            raise CheckpointError(
                f"checkpoint: calibration {values!r}: expected the numbers slope and intercept, "
                "and perhaps least_score"
            ) from err
        if not (np.isfinite([slope, intercept, least or 0.0]).all() and slope > 0):
            raise CheckpointError(
                f"checkpoint: calibration with slope {slope}, intercept {intercept} and "
                f"least_score {least}: expected finite numbers, the slope > 0"
            )
        return cls(slope, intercept, least)


def fit_calibration(scores: npt.ArrayLike, right: npt.ArrayLike) -> Calibration:
    """Fit the two numbers.

    Args:
        scores: Ranking scores (N,), in [0, 1], N >= 1.
        right: Whether each moment is right (N,) bool.

    Returns:
        The calibration; its slope is at least `MIN_SLOPE`.

    Raises:
        ConfigError: A score is not in [0, 1], or there are none.
    """
    hits = np.asarray(right, dtype=bool)
    logits = _logits(scores)
    if len(hits) == 0:
        raise ConfigError("nothing to calibrate on: expected at least one scored moment")
    num_right = int(hits.sum())
    num_wrong = len(hits) - num_right
    targets = np.where(hits, (num_right + 1) / (num_right + 2), 1 / (num_wrong + 2))
    both = np.stack([logits, np.ones_like(logits)], axis=1)
    slope, intercept = _newton(both, np.zeros_like(logits), targets, np.array([1.0, 0.0]))
    if slope < MIN_SLOPE:
        # The likelihood is concave, so its maximum over slope >= MIN_SLOPE lies on the border.
        slope = MIN_SLOPE
        (intercept,) = _newton(both[:, 1:], slope * logits, targets, np.zeros(1))
    return Calibration(float(slope), float(intercept))


def _newton(design: Array, offset: Array, targets: Array, weights: Array) -> Array:
    """The weights (D,) of the logistic regression with the least loss, from a start.

    Args:
        design: (N, D).
        offset: Added to ``design @ weights`` (N,).
        targets: Probabilities (N,).
        weights: Where to begin (D,).

    Returns:
        The weights.
    """

    def loss(values: Array) -> float:
        logits = design @ values + offset
        return float((np.logaddexp(0.0, logits) - targets * logits).sum())

    best = loss(weights)
    for _ in range(100):
        shares = _sigmoid(design @ weights + offset)
        gradient = design.T @ (shares - targets)
        if np.abs(gradient).max() < 1e-9 * len(targets):
            break
        curvature = (shares * (1 - shares))[:, None] * design
        # The ridge keeps equal scores, of which slope and intercept cannot be told apart, solvable.
        step = np.linalg.solve(design.T @ curvature + 1e-9 * np.eye(len(weights)), gradient)
        size = 1.0
        while size > 1e-10 and loss(weights - size * step) > best - 1e-4 * size * gradient @ step:
            size /= 2
        if size <= 1e-10:  # rounding is all that is left
            break
        weights = weights - size * step
        best = loss(weights)
    return weights


def _logits(scores: npt.ArrayLike) -> Array:
    values = np.asarray(scores, dtype=np.float64)
    # Rounding may bring a product of probabilities just above 1.
    outside = ~((values >= -_EPSILON) & (values <= 1 + _EPSILON))
    if outside.any():
        raise ConfigError(
            f"score {values[outside].flat[0]}: only scores in [0, 1] are calibrated "
            f"({outside.sum()} of {values.size} are not): train with trainer.calibrate=false"
        )
    clipped = values.clip(_EPSILON, 1 - _EPSILON)
    logits: Array = np.log(clipped) - np.log1p(-clipped)
    return logits


def _sigmoid(logits: Array) -> Array:
    # With the smaller exponential, which cannot overflow.
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)
