"""Answers -> HTML: for each sentence a timeline whose moments are buttons that play them."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from bpnet.app.visit import Answers, Visit
from bpnet.evaluation.predictions import Prediction
from bpnet.report import answer_of
from bpnet.report.timeline import timeline
from bpnet.report.times import clock, ticks
from bpnet.types import Moment


def player_html(visit: Visit) -> str:
    """The player, with frames along time below it.

    Args:
        visit: The visit.

    Returns:
        HTML.
    """
    name = html.escape(visit.name)
    frames = "".join(
        f'<img alt="frame at {clock(seconds)}" src="data:image/jpeg;base64,'
        f'{base64.b64encode(jpeg).decode("ascii")}">'
        for seconds, jpeg in visit.frames
    )
    return (
        f'<figure class="bp-player"><video controls playsinline preload="auto" '
        f'aria-label="{name}" src="visits/{visit.token}/video"></video>'
        f'<div class="bp-strip bp-now" aria-hidden="true">{frames}</div>'
        f"<figcaption><b>{name}</b> {clock(visit.opened.duration_seconds)}</figcaption></figure>"
    )


def answers_html(visit: Visit) -> str:
    """What was found, and links to take it home.

    Args:
        visit: The visit.

    Returns:
        HTML; empty as long as nothing was asked.
    """
    answers = visit.answers
    if answers is None:
        return ""
    shown = zip(answers.queries, answers.predictions, answers.moments(), strict=True)
    cards = [
        _card(visit, number, query, prediction, moments, answers)
        for number, (query, prediction, moments) in enumerate(shown)
    ]
    return f"{''.join(cards)}{_downloads(visit)}"


def message_html(text: str, is_error: bool) -> str:
    """A line that says what happened.

    Args:
        text: What.
        is_error: Whether it went wrong.

    Returns:
        HTML, which screen readers read out at once where it went wrong.
    """
    kind, role = ("bp-error", "alert") if is_error else ("bp-done", "status")
    return f'<p class="bp-message {kind}" role="{role}">{html.escape(text)}</p>'


def _card(
    visit: Visit,
    number: int,
    query: str,
    prediction: Prediction,
    moments: Sequence[Moment],
    answers: Answers,
) -> str:
    """One sentence."""
    duration, said = visit.opened.duration_seconds, html.escape(query)
    if moments:
        rows = "".join(_row(rank, one, duration) for rank, one in enumerate(moments, start=1))
        found = (
            f'<ol class="bp-rows" aria-labelledby="bp-q{number}">{rows}</ol>'
            f'<div class="bp-ticks" aria-hidden="true">{_ticks(duration)}</div>'
        )
    else:
        best = prediction.moments[0]
        found = (
            f'<p class="bp-none"><b>Not in this video</b>, the model says: its best moment scores '
            f"{best.score:.2f}, less than {answers.min_score:.2f}.</p>"
        )
    drawn = answer_of(
        prediction,
        query,
        visit.name,
        duration,
        top=answers.top,
        min_score=answers.min_score,
    )
    return (
        f'<article class="bp-answer"><h2 id="bp-q{number}">{said}</h2>{found}'
        f"<details><summary>What the model saw</summary>"
        f'<div class="bp-picture">{timeline(drawn)}</div></details></article>'
    )


def _row(rank: int, moment: Moment, duration: float) -> str:
    """A moment: a button as wide as the timeline, with a bar at the moment's place."""
    start, end = moment.start_seconds, moment.end_seconds
    left, right = (100 * min(max(time / duration, 0.0), 1.0) for time in (start, end))
    probable = ""
    if moment.probability is not None:
        probable = f", right with probability {moment.probability:.2f}"
    strength = 0.35 + 0.65 * min(max(moment.score, 0.0), 1.0)
    return (
        f'<li><button type="button" class="bp-moment" data-start="{start:.3f}" '
        f'data-end="{end:.3f}"><span class="bp-heard">Play moment {rank}: </span>'
        f'<span class="bp-times">{clock(start)}&thinsp;\N{EN DASH}&thinsp;{clock(end)}</span> '
        f'<span class="bp-score">score {moment.score:.2f}<span class="bp-heard">{probable}</span>'
        f'</span><span class="bp-track bp-now"><i style="left:{left:.3f}%;'
        f'width:{right - left:.3f}%;opacity:{strength:.2f}"></i></span></button></li>'
    )


def _ticks(duration: float) -> str:
    """Times below the timelines."""
    # The last one would stick out of the page.
    inside = [
        (time, label) for time, label in ticks(duration, clocks=True) if time <= 0.96 * duration
    ]
    return "".join(
        f'<span style="left:{100 * time / duration:.3f}%">{label}</span>' for time, label in inside
    )


def _downloads(visit: Visit) -> str:
    """Links; the files are made when they are asked for."""
    wanted = {"moments.json": "JSON", "clips.zip": "Clips (zip)", "report.html": "Report (HTML)"}
    links = "".join(
        f'<a href="visits/{visit.token}/{file}" download="{file}">{label}</a>'
        for file, label in wanted.items()
    )
    return f'<nav class="bp-downloads" aria-label="Downloads"><span>Download</span>{links}</nav>'
