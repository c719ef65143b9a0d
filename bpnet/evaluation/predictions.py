"""A model's output for a batch -> ranked moments in seconds; evaluation and inference share it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bpnet.evaluation.answers import Answer
from bpnet.evaluation.calibration import Calibration
from bpnet.models.output import BPNetOutput
from bpnet.models.stage_one import boundary_probabilities
from bpnet.types import Annotation, Moment, Sample


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """The answer to one query, of both stages.

    Attributes:
        moments: Stage two's ranking, best first; the score is the matching score, and the
            probability follows from it where the checkpoint is calibrated.
        stage_one: Stage one's ranking of its spans, before any is moved; the score is its
            confidence, see `bpnet.types.Proposals`.
        start_probabilities: (T,) float32, for each clip; None: stage one predicts spans alone
            (``model.proposer`` other than ``span``).
        end_probabilities: (T,) float32, of the last clip inside the moment, or None.
        highlight_scores: (T,) float32 in [0, 1]: how well each clip fits the query, by stage one.
        edges_seconds: Edges of the clips (T + 1,).
        annotation: The truth, where it is known.
    """

    moments: tuple[Moment, ...]
    stage_one: tuple[Moment, ...]
    start_probabilities: npt.NDArray[np.float32] | None
    end_probabilities: npt.NDArray[np.float32] | None
    highlight_scores: npt.NDArray[np.float32]
    edges_seconds: npt.NDArray[np.float64]
    annotation: Annotation | None = None

    def saliency(self, clip_seconds: float) -> list[float]:
        """Scores of clips of another length, as saliency is judged.

        Args:
            clip_seconds: Their length, > 0.

        Returns:
            The highlight score at the middle of each whole clip of the video; of a video that is
            shorter than one clip, at its middle.
        """
        count = max(1, int(self.edges_seconds[-1] / clip_seconds))
        middles = (np.arange(count) + 0.5) * min(clip_seconds, self.edges_seconds[-1])
        places = np.searchsorted(self.edges_seconds, middles, side="right") - 1
        places = places.clip(0, len(self.highlight_scores) - 1)
        scores: list[float] = self.highlight_scores[places].tolist()
        return scores

    def answer(self) -> Answer:
        """What of it is scored."""
        saliency = None
        if self.annotation is not None and self.annotation.saliency is not None:
            saliency = self.saliency(self.annotation.saliency.clip_seconds)
        return Answer(
            moments=_seconds(self.moments),
            scores=[moment.score for moment in self.moments],
            stage_one=_seconds(self.stage_one),
            stage_one_scores=[moment.score for moment in self.stage_one],
            saliency=saliency,
        )

    def to_dict(self) -> dict[str, Any]:
        """One line of ``predictions.jsonl``: times in seconds."""
        values: dict[str, Any] = {
            "moments": [moment.to_dict() for moment in self.moments],
            "stage_one": [moment.to_dict() for moment in self.stage_one],
        }
        if self.annotation is None:
            return values
        truth = dataclasses.asdict(self.annotation)
        if self.annotation.saliency is None:
            del truth["saliency"]
        else:
            values["saliency_scores"] = self.saliency(self.annotation.saliency.clip_seconds)
        if not self.annotation.other_moments:
            del truth["other_moments"]
        return truth | values


def read_output(
    output: BPNetOutput, samples: Sequence[Sample], calibration: Calibration | None = None
) -> list[Prediction]:
    """Turn the output for a batch into answers in seconds.

    Args:
        output: What the model gave for B pairs.
        samples: The B samples, with their grids.
        calibration: What turns the scores that moments are ranked by into probabilities, or None.

    Returns:
        B predictions; of equal scores the more probable proposal comes first.
    """
    stage_one = output.stage_one
    proposals = stage_one.proposals
    spans = output.spans.cpu().numpy()
    proposed = proposals.spans.cpu().numpy()
    counts = proposals.mask.sum(dim=1).tolist()
    joint = proposals.logits.exp().cpu().numpy()
    scores = output.scores.float().cpu().numpy()
    found = (scores >= 0).sum(axis=1)
    order = torch.sort(output.scores.float(), dim=1, descending=True, stable=True).indices
    ranks = order.cpu().numpy()
    boundaries = boundary_probabilities(stage_one.evidence, stage_one.frames.shape[1])
    drawn = None if boundaries is None else boundaries.cpu().numpy()
    highlights = torch.sigmoid(stage_one.highlight_logits.float()).cpu().numpy()
    predictions = []
    for row, sample in enumerate(samples):
        grid, count = sample.grid, counts[row]
        seconds = grid.to_seconds(spans[row])
        moments = [_moment(seconds[k], scores[row, k]) for k in ranks[row, : found[row]]]
        if calibration is not None:
            moments = _with_probabilities(moments, calibration)
        seconds = grid.to_seconds(proposed[row])
        probable = [_moment(seconds[k], joint[row, k]) for k in range(count)]
        predictions.append(
            Prediction(
                moments=tuple(moments),
                stage_one=tuple(probable),
                start_probabilities=None if drawn is None else drawn[row, 0, : grid.num_clips],
                end_probabilities=None if drawn is None else drawn[row, 1, : grid.num_clips],
                highlight_scores=highlights[row, : grid.num_clips],
                edges_seconds=grid.edges_seconds,
                annotation=sample.annotation,
            )
        )
    return predictions


def _with_probabilities(moments: Sequence[Moment], calibration: Calibration) -> list[Moment]:
    probabilities = calibration.probabilities([moment.score for moment in moments]).tolist()
    return [
        dataclasses.replace(moment, probability=probability)
        for moment, probability in zip(moments, probabilities, strict=True)
    ]


def _moment(seconds: npt.NDArray[np.float64], score: float) -> Moment:
    return Moment(float(seconds[0]), float(seconds[1]), float(score))


def _seconds(moments: Sequence[Moment]) -> npt.NDArray[np.float64]:
    """Starts and ends of moments (n, 2)."""
    pairs = [(moment.start_seconds, moment.end_seconds) for moment in moments]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)
