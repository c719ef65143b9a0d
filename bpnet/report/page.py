"""Results -> one self-contained HTML page: a metrics table and a picture of every answer."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bpnet.evaluation.metrics import tiou
from bpnet.report.metrics_table import metrics_table, text
from bpnet.report.reliability import reliability_card
from bpnet.report.template import PAGE, PICTURE_STYLE, STYLE
from bpnet.types import Moment
from bpnet_features.atomic import write_text_atomically

_MAX_FRAMES, _MAX_PROPOSALS, _MAX_MOMENTS = 12, 12, 5


@dataclasses.dataclass(frozen=True, eq=False)
class ReportAnswer:
    """One query with everything that its picture shows; times in seconds from the video's start.

    Attributes:
        query: The sentence.
        video_id: Id of the video.
        duration_seconds: Length of the video, > 0.
        moments: The answers, best first, at least one; the first five are drawn.
        proposals: Candidates as stage two has them, with their matching scores, best first.
        edges_seconds: Edges of the clips (T+1,), ascending.
        start_probabilities: Probability of each clip to be the first of the moment (T,).
        end_probabilities: Probability of each clip to be the last of it (T,).
        targets: The true moments; none where they are not known.
        frames: Times and JPEG bytes, ascending; may be empty.
    """

    query: str
    video_id: str
    duration_seconds: float
    moments: Sequence[Moment]
    proposals: Sequence[Moment]
    edges_seconds: npt.NDArray[np.floating[Any]]
    start_probabilities: npt.NDArray[np.floating[Any]]
    end_probabilities: npt.NDArray[np.floating[Any]]
    targets: Sequence[tuple[float, float]]
    frames: Sequence[tuple[float, bytes]]

    def __post_init__(self) -> None:
        num_clips = len(self.edges_seconds) - 1
        assert self.duration_seconds > 0, self.duration_seconds
        assert self.moments, self.query
        assert num_clips == len(self.start_probabilities) == len(self.end_probabilities), num_clips


def write_report(
    path: str | os.PathLike[str],
    answers: Sequence[ReportAnswer],
    *,
    title: str,
    metrics: Mapping[str, Any] | None,
    notes: Sequence[str] = (),
) -> None:
    """Write the page, in one step: a reader sees the old file or the new one, never a part.

    Args:
        path: Where; missing folders are made.
        answers: What is drawn, in this order.
        title: Heading of the page.
        metrics: What ``metrics.json`` holds, or None for a page without the table.
        notes: Paragraphs of plain text below the heading.
    """
    parts = [f"<h1>{text(title)}</h1>", *(f"<p class=note>{text(note)}</p>" for note in notes)]
    if metrics is not None:
        parts.append(metrics_table(metrics))
        if metrics.get("calibration"):
            parts.append(reliability_card(metrics["calibration"]))
    if answers:
        parts.append(_LEGEND)
    parts += [_card(answer) for answer in answers]
    page = PAGE.format(title=text(title), style=STYLE + PICTURE_STYLE, body="\n".join(parts))
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(target, page)


def _card(answer: ReportAnswer) -> str:
    """One query: heading, facts, picture."""
    best = answer.moments[0]
    facts = [f"video {text(answer.video_id)}", f"{answer.duration_seconds:.1f} s"]
    facts.append(f"answer <b class=moment>{_range(best)}</b>")
    if answer.targets:
        overlap = float(tiou((best.start_seconds, best.end_seconds), answer.targets).max())
        facts.append(f"true <b class=target>{_ranges(answer.targets)}</b>")
        facts.append(f"<b class=iou>IoU {overlap:.2f}</b>")
    line = "".join(f"<span>{fact}</span>" for fact in facts)
    return (
        f"<article><h2>{text(answer.query)}</h2><p class=facts>{line}</p>{picture(answer)}"
        "</article>"
    )


def picture(answer: ReportAnswer) -> str:
    """The SVG: lanes below one another over one time axis.

    Across, places are percent of the duration; down, they are pixels. So the picture takes any
    width, while its text keeps its size.

    Args:
        answer: What to draw.

    Returns:
        The element; its style is `bpnet.report.template.PICTURE_STYLE`.
    """
    drawn: list[str] = []
    top = 0
    if answer.frames:
        drawn.append(_film_strip(answer, top + 18))
        drawn.append(_lane_name("Frames", top))
        top += 18 + 72 + 12
    drawn.append(_lane_name("Start and end probability", top))
    drawn.append(_curves(answer, top + 18, 64))
    top += 18 + 64 + 12
    proposals = sorted(answer.proposals, key=lambda one: -one.score)
    if proposals:
        count = f"best {_MAX_PROPOSALS} of {len(proposals)}, " * (len(proposals) > _MAX_PROPOSALS)
        drawn.append(_lane_name(f"Candidates ({count}matching score)", top))
        top += 18
        for rank, proposal in enumerate(proposals[:_MAX_PROPOSALS]):
            drawn.append(_candidate(answer, proposal, proposals, rank, top))
            top += 14
        top += 10
    if answer.targets:
        drawn.append(_lane_name(f"True moment{'s' * (len(answer.targets) > 1)}", top))
        top += 18
        for target in answer.targets:
            drawn.append(_labelled_bar(answer, target, top, 14, "target", _range(target)))
            top += 13 + 14 + 7
        top += 3
    drawn.append(_lane_name("Answers, best first", top))
    top += 18
    for rank, moment in enumerate(answer.moments[:_MAX_MOMENTS]):
        kind, height = ("moment", 14) if rank == 0 else ("moment later", 6)
        label = f"{rank + 1}. {_range(moment)}, score {moment.score:.2f}"
        span = (moment.start_seconds, moment.end_seconds)
        drawn.append(_labelled_bar(answer, span, top, height, kind, label))
        top += 13 + height + 7
    for target in answer.targets:
        left, width = _place(answer, *target)
        band = f'<rect class="band" x="{left}" width="{width}" y="0" height="{top}"/>'
        drawn.insert(0, band)
    drawn.append(_axis(answer, top))
    summary = f"Timeline of {answer.duration_seconds:.1f} s; answer {_range(answer.moments[0])}"
    if answer.targets:
        summary += f"; true moment {_ranges(answer.targets)}"
    return (
        f'<svg role="img" aria-label="{summary}" width="100%" height="{top + 26}">'
        f"{''.join(drawn)}</svg>"
    )


def _film_strip(answer: ReportAnswer, top: int) -> str:
    """Frames side by side, each around its time: the borders are half-way between the times."""
    chosen = np.unique(np.linspace(0, len(answer.frames) - 1, _MAX_FRAMES).round().astype(int))
    frames = [answer.frames[index] for index in chosen]
    middles = [(one[0] + other[0]) / 2 for one, other in itertools.pairwise(frames)]
    borders = [0.0, *middles, answer.duration_seconds]
    images = []
    for (seconds, jpeg), (start, end) in zip(frames, itertools.pairwise(borders), strict=True):
        left, width = _place(answer, start, end)
        data = base64.b64encode(jpeg).decode("ascii")
        fit = "slice" if len(frames) > 5 else "meet"  # a few wide places would show a thin cut
        images.append(
            f'<image class="frame" x="{left}" width="{width}" y="{top}" height="72" '
            f'preserveAspectRatio="xMidYMid {fit}" href="data:image/jpeg;base64,{data}" '
            f'role="img" aria-label="frame at {seconds:.1f} s">'
            f"<title>frame at {seconds:.1f} s</title></image>"
            f'<line class="seam" x1="{left}" x2="{left}" y1="{top}" y2="{top + 72}"/>'
        )
    return "".join(images)


def _curves(answer: ReportAnswer, top: int, height: int) -> str:
    """Both probabilities as filled steps, one step a clip, in a box of duration x 100."""
    curves = {"start": answer.start_probabilities, "end": answer.end_probabilities}
    highest = max(float(np.max(values, initial=0.0)) for values in curves.values()) or 1.0
    edges = np.clip(answer.edges_seconds, 0, answer.duration_seconds)
    paths = []
    for name, values in curves.items():
        steps = [f"M{edges[0]:.3f},100"]
        for value, (left, right) in zip(values, itertools.pairwise(edges), strict=True):
            level = 100 - 96 * float(value) / highest
            steps.append(f"L{left:.3f},{level:.2f}L{right:.3f},{level:.2f}")
        steps.append(f"L{edges[-1]:.3f},100")
        peak = f"{name} probability, highest {float(np.max(values, initial=0.0)):.2f}"
        paths.append(
            f'<path class="curve {name}" d="{"".join(steps)}"><title>{peak}</title></path>'
        )
    base = f'<line class="rule" x1="0" x2="100%" y1="{top + height}" y2="{top + height}"/>'
    return (
        f'<svg x="0" y="{top}" width="100%" height="{height}" preserveAspectRatio="none" '
        f'viewBox="0 0 {answer.duration_seconds:.3f} 100">{"".join(paths)}</svg>{base}'
    )


def _candidate(
    answer: ReportAnswer, proposal: Moment, proposals: Sequence[Moment], rank: int, top: int
) -> str:
    """A thin bar, stronger the better its score, with the score beside it."""
    scores = [one.score for one in proposals]
    spread = max(scores) - min(scores)
    strength = 0.25 + 0.75 * (proposal.score - min(scores)) / spread if spread else 1.0
    start, end = proposal.start_seconds, proposal.end_seconds
    left, width = _place(answer, start, end)
    if end < 0.86 * answer.duration_seconds:
        place = f'x="{_percent(answer, end)}" dx="5"'
    elif start > 0.14 * answer.duration_seconds:
        place = f'x="{left}" dx="-5" text-anchor="end"'
    else:  # no room on either side
        place = f'x="{_percent(answer, end)}" dx="-5" text-anchor="end" class="inside"'
    name = f"candidate {rank + 1}: {_range(proposal)}, matching score {proposal.score:.2f}"
    return (
        f'<rect class="candidate" x="{left}" width="{width}" y="{top}" height="10" rx="2" '
        f'opacity="{strength:.2f}"><title>{name}</title></rect>'
        f'<text {place} y="{top + 9}">{proposal.score:.2f}</text>'
    )


def _labelled_bar(
    answer: ReportAnswer,
    span: tuple[float, float],
    top: int,
    height: int,
    kind: str,
    label: str,
) -> str:
    """A bar with its label above it, on the side where there is room."""
    left, width = _place(answer, *span)
    if sum(span) < answer.duration_seconds:
        text = f'<text class="{kind}" x="{left}" y="{top + 9}">'
    else:
        right = _percent(answer, span[1])
        text = f'<text class="{kind}" x="{right}" y="{top + 9}" text-anchor="end">'
    return (
        f'{text}{label}</text><rect class="{kind}" x="{left}" width="{width}" y="{top + 13}" '
        f'height="{height}" rx="3"><title>{label}</title></rect>'
    )


def _axis(answer: ReportAnswer, top: int) -> str:
    """The time axis; about five ticks at round seconds."""
    duration = answer.duration_seconds
    power = 10.0 ** np.floor(np.log10(duration / 5))
    step = next(power * factor for factor in (1, 2, 5, 10) if duration / (power * factor) <= 6)
    parts = [f'<line class="rule" x1="0" x2="100%" y1="{top}" y2="{top}"/>']
    for seconds in np.arange(0, duration + step / 1000, step):
        # Text at either end would stick out of the picture.
        near_end = seconds > 0.94 * duration
        anchor = "start" if seconds == 0 else "end" if near_end else "middle"
        x = _percent(answer, float(seconds))
        parts.append(
            f'<line class="rule" x1="{x}" x2="{x}" y1="{top}" y2="{top + 5}"/>'
            f'<text class="tick" x="{x}" y="{top + 18}" text-anchor="{anchor}">{seconds:g} s</text>'
        )
    return "".join(parts)


def _lane_name(name: str, top: int) -> str:
    return f'<text class="lane" x="0" y="{top + 12}">{name}</text>'


def _percent(answer: ReportAnswer, seconds: float) -> str:
    """Place of a time across the picture; what lies outside the video is drawn at its border."""
    return f"{100 * min(max(seconds / answer.duration_seconds, 0.0), 1.0):.3f}%"


def _place(answer: ReportAnswer, start: float, end: float) -> tuple[str, str]:
    """Left border and width of an interval."""
    inside = np.clip([start, end], 0, answer.duration_seconds)
    return _percent(answer, start), _percent(answer, float(inside[1] - inside[0]))


def _range(moment: Moment | tuple[float, float]) -> str:
    start, end = (
        (moment.start_seconds, moment.end_seconds) if isinstance(moment, Moment) else moment
    )
    return f"{start:.1f}\N{EN DASH}{end:.1f} s"


def _ranges(targets: Sequence[tuple[float, float]]) -> str:
    return ", ".join(map(_range, targets))


_LEGEND = """<p class=legend>
<span><i style="background:var(--start)"></i>start probability</span>
<span><i style="background:var(--end)"></i>end probability</span>
<span><i style="background:var(--candidate)"></i>candidate, stronger = better score</span>
<span><i style="background:var(--moment)"></i>answer</span>
<span><i style="background:var(--target)"></i>true moment</span></p>"""
