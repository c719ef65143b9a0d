"""Results -> one self-contained HTML page: a metrics table, a player, and a card a sentence."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bpnet.evaluation.intervals import tiou
from bpnet.report.film import film_symbol
from bpnet.report.media import video_addresses
from bpnet.report.metrics_table import metrics_table, text
from bpnet.report.reliability import reliability_card
from bpnet.report.report_answer import ReportAnswer
from bpnet.report.template import PLAYER, full_page
from bpnet.report.timeline import span_text, timeline
from bpnet.report.times import LONG, clock
from bpnet_features.atomic import write_text_atomically


def write_report(
    path: str | os.PathLike[str],
    answers: Sequence[ReportAnswer],
    *,
    title: str,
    metrics: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    embed: bool = False,
) -> None:
    """Write the page, in one step: a reader sees the old file or the new one, never a part.

    Args:
        path: Where; missing folders are made.
        answers: What is drawn, in this order. Where one has a video file, the page has a player,
            which finds the file by its path relative to the page.
        title: Heading of the page.
        metrics: What ``metrics.json`` holds, or None for a page without the table.
        notes: Paragraphs of plain text below the heading.
        embed: Whether the page itself holds the videos that have at most
            `bpnet.report.media.MOST_EMBEDDED` bytes, so that it plays them wherever it is; the log
            warns of larger ones.
    """
    target = Path(path)
    head = [f"<h1>{text(title)}</h1>", *(f'<p class="note">{text(one)}</p>' for one in notes)]
    if metrics is not None:
        head.append(metrics_table(metrics))
        if metrics.get("calibration"):
            head.append(reliability_card(metrics["calibration"]))
    videos = [one.video for one in answers if one.video is not None]
    addresses, embedded = video_addresses(target, videos, embed)
    films = _films(answers)
    cards = []
    for number, answer in enumerate(answers, start=1):
        address = None if answer.video is None else addresses[answer.video]
        cards.append(_card(answer, number, address, films.get(_film_key(answer), ("", ""))[0]))
    symbols = "".join(symbol for _, symbol in films.values())
    body = [*head]
    if symbols:
        body.append(f'<svg class="symbols" aria-hidden="true">{symbols}</svg>')
    drawn = f'<div class="cards">{"".join(cards)}</div>' if cards else ""
    body.append(f'<div class="both">{PLAYER}{drawn}</div>' if videos else drawn)
    page = full_page(text(title), "\n".join(body + embedded), with_player=bool(videos))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(target, page)


def _films(answers: Sequence[ReportAnswer]) -> dict[tuple[Any, ...], tuple[str, str]]:
    """Id and symbol of each film strip."""
    films: dict[tuple[Any, ...], tuple[str, str]] = {}
    for answer in answers:
        if answer.frames and _film_key(answer) not in films:
            name = f"film-{len(films)}"
            films[_film_key(answer)] = (name, film_symbol(answer, name))
    return films


def _film_key(answer: ReportAnswer) -> tuple[Any, ...]:
    return answer.duration_seconds, tuple(answer.frames)


def _card(answer: ReportAnswer, number: int, address: str | None, film: str) -> str:
    """One sentence: heading, facts, lanes."""
    seconds = answer.duration_seconds
    length = f"{seconds:.1f} s" if seconds < LONG else clock(seconds)
    facts = [f"video {text(answer.video_id)}", length]
    if answer.moments:
        best = answer.moments[0]
        facts.append(f'answer <b class="moment">{span_text(answer, best)}</b>')
        if best.probability is not None:
            facts.append(f"right with probability {best.probability:.2f}")
    if answer.targets:
        spans = ", ".join(span_text(answer, one) for one in answer.targets)
        facts.append(f'true <b class="target">{spans}</b>')
    if answer.targets and answer.moments:
        overlap = tiou((best.start_seconds, best.end_seconds), answer.targets).max()
        facts.append(f'<b class="iou">IoU {float(overlap):.2f}</b>')
    line = "".join(f"<span>{fact}</span>" for fact in facts)
    said = "" if answer.moments else f'<p class="none"><b>Not in this video</b>{_why(answer)}</p>'
    data = ""
    if address is not None:
        data = (
            f' data-video="{text(address)}" data-name="{text(answer.video_id)}" '
            f'data-duration="{answer.duration_seconds:.3f}"'
        )
    lanes = timeline(answer, film=film, playable=address is not None)
    return (
        f'<article aria-labelledby="query-{number}"{data}><h2 id="query-{number}">'
        f'{text(answer.query)}</h2><p class="facts">{line}</p>{said}{lanes}</article>'
    )


def _why(answer: ReportAnswer) -> str:
    """Why there is no answer."""
    if not answer.proposals:
        return "."
    best = max(one.score for one in answer.proposals)
    return f": the best candidate scores {best:.2f}, less than {answer.min_score:.2f}."
