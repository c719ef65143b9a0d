"""Long videos: overlapping windows of a length that the model knows, and one merged answer.

A window is a video to the model, so its answers are those about a file of just its clips. Windows
overlap by half: whatever is shorter than that lies whole in one of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from bpnet.evaluation.predictions import Prediction
from bpnet.models.proposals import suppress
from bpnet.types import Moment
from bpnet_features import ClipGrid

MOST_MOMENTS = 100  # kept of the answers of all windows


@dataclasses.dataclass(frozen=True, eq=False)
class Window:
    """Some clips of a video.

    Attributes:
        first: Its first clip.
        grid: Where its clips lie in the time of the whole video.
        is_first: Whether it begins with the video.
        is_last: Whether it ends with it.
    """

    first: int
    grid: ClipGrid
    is_first: bool
    is_last: bool


def cut(grid: ClipGrid, num_clips: int) -> list[Window]:
    """Cut a video into windows of the same length.

    Args:
        grid: Where its clips lie in time, T of them.
        num_clips: Clips of a window, >= 1.

    Returns:
        Windows that overlap by half, the last one perhaps by more; one alone where T <= num_clips.
    """
    last = max(0, grid.num_clips - num_clips)
    firsts = [*range(0, last, max(1, num_clips // 2)), last]
    windows = []
    for first in firsts:
        edges = grid.edges_seconds[first : first + num_clips + 1]
        duration = min(float(edges[-1]), grid.duration_seconds)
        windows.append(Window(first, ClipGrid(edges, duration), first == 0, first == last))
    return windows


def merge(answers: Sequence[Prediction], windows: Sequence[Window], nms: float) -> Prediction:
    """One answer from those of all windows.

    Args:
        answers: Of each window, to the same query.
        windows: Of the video, in order.
        nms: Temporal IoU with a better moment above which one is left out: it was seen twice.

    Returns:
        The moments of all windows by their scores, at most `MOST_MOMENTS`. Probabilities of
        boundaries are weighted with the best score of their window, and sum to 1 over the video;
        each clip has those of the window that it is farthest inside.
    """
    weights = np.array([one.moments[0].score for one in answers], dtype=np.float64)
    weights = weights / max(weights.sum(), np.finfo(np.float64).tiny)
    insides = [_own_clips(one.edges_seconds, windows, place) for place, one in enumerate(answers)]
    highlights = [one.highlight_scores[own] for one, own in zip(answers, insides, strict=True)]
    edges = [one.edges_seconds[:-1][own] for one, own in zip(answers, insides, strict=True)]
    edges.append(answers[-1].edges_seconds[-1:])
    pairs = list(zip(answers, windows, strict=True))
    return Prediction(
        moments=best_moments([(one.moments, window) for one, window in pairs], nms),
        stage_one=best_moments([(one.stage_one, window) for one, window in pairs], nms),
        start_probabilities=_joined([one.start_probabilities for one in answers], insides, weights),
        end_probabilities=_joined([one.end_probabilities for one in answers], insides, weights),
        highlight_scores=np.concatenate(highlights),
        edges_seconds=np.concatenate(edges),
    )


def _own_clips(
    edges: npt.NDArray[np.float64], windows: Sequence[Window], place: int
) -> npt.NDArray[np.bool_]:
    """Which positions of a window lie between the middles of its overlaps with both neighbours."""
    middles = (edges[:-1] + edges[1:]) / 2
    low, high = -np.inf, np.inf
    if place > 0:
        low = _border(windows[place - 1], windows[place])
    if place + 1 < len(windows):
        high = _border(windows[place], windows[place + 1])
    inside: npt.NDArray[np.bool_] = (middles >= low) & (middles < high)
    return inside


def _border(left: Window, right: Window) -> float:
    return float(left.grid.edges_seconds[-1] + right.grid.edges_seconds[0]) / 2


def _joined(
    probabilities: Sequence[npt.NDArray[np.float32] | None],
    insides: Sequence[npt.NDArray[np.bool_]],
    weights: npt.NDArray[np.float64],
) -> npt.NDArray[np.float32] | None:
    """Probabilities of all windows' own clips, which sum to 1; None: the model has none."""
    parts = [
        one[inside] * weight
        for one, inside, weight in zip(probabilities, insides, weights, strict=True)
        if one is not None
    ]
    if not parts:
        return None
    joined = np.concatenate(parts)
    total = joined.sum()
    return (joined / total if total > 0 else joined).astype(np.float32)


def best_moments(
    answers: Sequence[tuple[Sequence[Moment], Window]], nms: float
) -> tuple[Moment, ...]:
    """The best moments of several windows.

    Args:
        answers: The moments of each window.
        nms: Temporal IoU with a better moment above which one is left out.

    Returns:
        At most `MOST_MOMENTS`, best first, none seen twice.
    """
    every = [one for moments, _ in answers for one in moments]
    whole = [one for moments, window in answers for one in moments if not _is_cut(one, window)]
    found = whole or every
    spans = torch.tensor([[one.start_seconds, one.end_seconds] for one in found])
    scores = torch.tensor([one.score for one in found])
    kept, index = suppress(spans[None], scores[None], nms, min(MOST_MOMENTS, len(found)))
    real = (kept[0] > -torch.inf).tolist()
    return tuple(found[i] for i, one in zip(index[0].tolist(), real, strict=True) if one)


def _is_cut(moment: Moment, window: Window) -> bool:
    """Whether a moment ends at an edge of its window behind which the video goes on.

    Another window sees it whole, unless it is longer than what two windows have in common.
    """
    edges = window.grid.edges_seconds
    length = moment.end_seconds - moment.start_seconds
    if length > (edges[-1] - edges[0]) / 2:
        return False
    near = (edges[-1] - edges[0]) / (2 * window.grid.num_clips)  # half a clip
    at_start = not window.is_first and moment.start_seconds < edges[0] + near
    at_end = not window.is_last and moment.end_seconds > edges[-1] - near
    return bool(at_start or at_end)
