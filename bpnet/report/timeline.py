"""One answer -> HTML: lanes below one another over one time axis.

Across, places are percent of the duration, so the lanes take any width, and their text keeps its
size. A candidate is a row: its times and score as text, and a bar at its place. Where there is a
player, rows are buttons.
"""

from __future__ import annotations

import itertools

import numpy as np

from bpnet.report.metrics_table import text
from bpnet.report.report_answer import Curve, ReportAnswer
from bpnet.report.times import LONG, interval, ticks
from bpnet.types import Moment

_MOST_CANDIDATES = 20  # drawn of a sentence


def timeline(answer: ReportAnswer, *, film: str = "", playable: bool = False) -> str:
    """The lanes.

    Args:
        answer: What to draw.
        film: Id of the film strip on the page, see `bpnet.report.film.film_symbol`; empty: none.
        playable: Whether the page has a player for this video.

    Returns:
        The element; its style is `bpnet.report.template.PICTURE_STYLE`.
    """
    lanes = []
    if film:
        strip = (
            f'<svg class="film" role="img" aria-label="{len(answer.frames)} frames along the '
            f'video"><use href="#{film}"/></svg>'
        )
        lanes.append(_lane("Frames", strip))
    starts, ends = answer.start_probabilities, answer.end_probabilities
    if starts is not None and ends is not None:
        highest = max(float(starts.max(initial=0.0)), float(ends.max(initial=0.0))) or 1.0
        label = f"Probability that the moment starts, {_peak(answer, starts)}, or ends, "
        drawn = _curve(answer, starts, "start", highest) + _curve(answer, ends, "end", highest)
        keys = _key("start", "Start probability") + _key("end", "End probability")
        lanes.append(_lane(keys, _plot(answer, drawn, label + _peak(answer, ends)), "curves"))
    if answer.highlight_scores is not None:
        label = f"Highlight score, {_peak(answer, answer.highlight_scores)}"
        drawn = _curve(answer, answer.highlight_scores, "highlight", 1.0)
        key = _key("highlight", "Highlight score")
        lanes.append(_lane(key, _plot(answer, drawn, label), "curves low"))
    lanes.append(_rows(answer, playable))
    marks = ticks(answer.duration_seconds)
    labels = "".join(
        f'<span style="left:{percent(answer, time)}"{_edge(answer, time)}>{label}</span>'
        for time, label in marks
    )
    lines = "".join(f'<i class="rule" style="left:{percent(answer, at)}"></i>' for at, _ in marks)
    bands = "".join(
        f'<i class="band" style="{_place(answer, *one)}"></i>' for one in answer.targets
    )
    return (
        f'<div class="timeline {_width(answer)}">'
        f'<div class="behind" aria-hidden="true">{lines}{bands}</div>'
        f'{"".join(lanes)}<div class="lane axis" aria-hidden="true"><span></span>'
        f'<div class="plot">{labels}</div></div>'
        '<div class="over" aria-hidden="true"><i class="now"></i></div></div>'
    )


def percent(answer: ReportAnswer, seconds: float) -> str:
    """Place of a time across the lanes; what lies outside the video is drawn at its border."""
    return f"{100 * min(max(seconds / answer.duration_seconds, 0.0), 1.0):.3f}%"


def span_text(answer: ReportAnswer, span: Moment | tuple[float, float]) -> str:
    """Times of a moment, as its video's length asks for."""
    return interval(*_ends(span), answer.duration_seconds)


def _width(answer: ReportAnswer) -> str:
    """How wide times are, which stand beside the bars."""
    if answer.duration_seconds < LONG:
        return "seconds"
    return "minutes" if answer.duration_seconds < 3600 else "hours"


def _rows(answer: ReportAnswer, playable: bool) -> str:
    """True moments, answers, and the other candidates, which are shown on demand."""
    several = len(answer.targets) > 1
    rows = []
    for number, target in enumerate(answer.targets, start=1):
        name = f"true moment{f' {number}' * several}"
        rows.append(_row(answer, target, "target", f"true{f' {number}' * several}", name, playable))
    answers = list(answer.moments[:_MOST_CANDIDATES])
    others = answer.others
    most = others[: _MOST_CANDIDATES - len(answers)]
    drawn = [
        _candidate(answer, one, "moment" if rank == 1 and answers else "candidate", rank, playable)
        for rank, one in enumerate([*answers, *most], start=1)
    ]
    rows += drawn[: len(answers)]
    shown = f'<ul class="rows">{"".join(rows)}</ul>' if rows else ""
    if not most:
        return shown
    of = f", the best of {len(others)}" if len(others) > len(most) else ""
    said = f"{len(most)} {'more ' * bool(answers)}candidate{'s' * (len(most) > 1)}{of}"
    more = f'<ul class="rows">{"".join(drawn[len(answers) :])}</ul>'
    return f"{shown}<details><summary>{said}</summary>{more}</details>"


def _candidate(answer: ReportAnswer, moment: Moment, kind: str, rank: int, playable: bool) -> str:
    score = f'<span class="heard"> score </span><span class="score">{moment.score:.2f}</span>'
    if moment.probability is not None:
        score += f'<span class="heard"> right with probability {moment.probability:.2f}</span>'
    strength = f"--strength:{100 * answer.strength(moment):.0f}%;"
    name = f"candidate {rank}"
    return _row(answer, moment, kind, str(rank), name, playable, score, strength)


def _row(
    answer: ReportAnswer,
    span: Moment | tuple[float, float],
    kind: str,
    seen: str,
    heard: str,
    playable: bool,
    score: str = "",
    style: str = "",
) -> str:
    """A line of text with a bar: a button where it can be played."""
    start, end = _ends(span)
    inside = (
        f'<span class="name"><b class="rank" aria-hidden="true">{seen}</b>'
        f'<span class="heard">{"Play " * playable}{heard}: </span>'
        f'<span class="times">{span_text(answer, span)}</span>{score}</span>'
        f'<span class="plot"><i class="mark {kind}" style="{style}{_place(answer, start, end)}">'
        "</i></span>"
    )
    if not playable:
        return f'<li class="lane row {kind}">{inside}</li>'
    return (
        f'<li><button type="button" class="lane row {kind}" data-start="{start:.3f}" '
        f'data-end="{end:.3f}">{inside}</button></li>'
    )


def _lane(name: str, plot: str, kind: str = "strip") -> str:
    return (
        f'<div class="lane {kind}"><span class="name">{name}</span>'
        f'<div class="plot seek">{plot}</div></div>'
    )


def _key(kind: str, name: str) -> str:
    return f'<span class="key"><i class="swatch {kind}"></i>{name}</span>'


def _plot(answer: ReportAnswer, drawn: str, label: str) -> str:
    """A box of duration x 100, stretched over the lane."""
    return (
        f'<svg role="img" aria-label="{text(label)}" preserveAspectRatio="none" '
        f'viewBox="0 0 {answer.duration_seconds:.3f} 100">{drawn}</svg>'
    )


def _curve(answer: ReportAnswer, values: Curve, kind: str, top: float) -> str:
    """Filled steps, one step a clip; the line of what is zero lies just below the box."""
    edges = np.clip(answer.edges_seconds, 0, answer.duration_seconds)
    steps = [f"M{edges[0]:.3f},104"]
    for value, (left, right) in zip(values, itertools.pairwise(edges), strict=True):
        level = 104 - 100 * float(value) / top
        steps.append(f"L{left:.3f},{level:.2f}L{right:.3f},{level:.2f}")
    steps.append(f"L{edges[-1]:.3f},104")
    return f'<path class="curve {kind}" d="{"".join(steps)}"/>'


def _peak(answer: ReportAnswer, values: Curve) -> str:
    """The highest value of a curve and its time, for those who do not see it."""
    at = int(np.argmax(values))
    start, end = answer.edges_seconds[at : at + 2]
    return f"highest {float(values[at]):.2f} at {interval(start, end, answer.duration_seconds)}"


def _place(answer: ReportAnswer, start: float, end: float) -> str:
    """Left border and width of an interval, as style."""
    inside = np.clip([start, end], 0, answer.duration_seconds)
    width = percent(answer, float(inside[1] - inside[0]))
    return f"left:{percent(answer, start)};width:{width}"


def _edge(answer: ReportAnswer, time: float) -> str:
    """Labels at either end would stick out of the lanes."""
    if time == 0:
        return ' class="first"'
    return ' class="last"' if time > 0.94 * answer.duration_seconds else ""


def _ends(span: Moment | tuple[float, float]) -> tuple[float, float]:
    return (span.start_seconds, span.end_seconds) if isinstance(span, Moment) else span
