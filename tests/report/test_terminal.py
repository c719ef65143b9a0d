"""Times, bars and subtitles, by hand."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bpnet.report.srt import subtitles
from bpnet.report.terminal import print_answers, time_bar
from bpnet.report.times import clock
from bpnet.types import Moment


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.0"), (9.96, "0:10.0"), (59.96, "1:00.0"), (83.04, "1:23.0"), (3725.5, "1:02:05.5")],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("start", "end", "bar"),
    [
        (0, 10, "\u2588" * 10),
        (2, 5, "··\u2588\u2588\u2588·····"),
        (9.99, 10, "·········\u258f"),
        (0, 0.5, "\u258c·········"),
        (2.5, 5, "··\u2590\u2588\u2588·····"),
        (2, 4.25, "··\u2588\u2588\u258e·····"),
        (2.9, 4, "···\u2588······"),
    ],
)
def test_bars(start: float, end: float, bar: str) -> None:
    assert time_bar(Moment(start, end, 1.0), 10.0, 10) == bar


@given(st.floats(0, 99), st.floats(0.001, 50), st.integers(1, 60))
def test_a_bar_is_as_wide_as_asked_and_never_empty(start: float, length: float, width: int) -> None:
    bar = time_bar(Moment(start, min(start + length, 100.0), 1.0), 100.0, width)
    assert len(bar) == width
    assert set(bar) != {"·"}


def test_subtitles() -> None:
    answers = [[Moment(61.5, 3725.25, 0.5), Moment(0.0, 1.0, 0.25)], [], [Moment(2.0, 3.0, 0.125)]]
    assert subtitles(["a dog\n\nruns", "no", "one \u2192"], answers) == (
        "1\n00:00:00,000 --> 00:00:01,000\na dog runs (2: 0.25)\n"
        "\n2\n00:00:02,000 --> 00:00:03,000\none \u2192 (1: 0.12)\n"
        "\n3\n00:01:01,500 --> 01:02:05,250\na dog runs (1: 0.50)\n"
    )


def test_a_sentence_is_printed_as_it_is() -> None:
    """Brackets are no markup; a long sentence and a narrow terminal break nothing."""
    out = io.StringIO()
    console = Console(file=out, width=60, highlight=False)
    query = "[bold]who[/bold] opens [the door]"
    print_answers([query, "x"], [[Moment(1.0, 2.0, 0.5)], []], 10.0, console)
    lines = out.getvalue().splitlines()
    assert lines[0] == query
    assert lines[2].split()[:3] == ["1", "0:01.0", "0:02.0"]
    assert lines[3:] == ["x", "  not in this video"]
