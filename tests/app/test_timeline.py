"""The HTML of answers: what can be pressed, where bars stand, what is escaped."""

from __future__ import annotations

import dataclasses
import re

from app_parts import QUERIES

from bpnet.app.timeline import answers_html, message_html, player_html
from bpnet.app.visit import Visit


def test_a_button_for_each_moment(visit: Visit) -> None:
    assert visit.answers is not None
    page = answers_html(visit)
    shown = [one for moments in visit.answers.moments() for one in moments]
    buttons = re.findall(
        r'<button type="button" class="bp-moment" data-start="([\d.]+)" data-end="([\d.]+)">'
        r'<span class="bp-heard">Play moment \d: </span>.*?score ([\d.]+)',
        page,
    )
    assert [float(start) for start, _, _ in buttons] == [round(m.start_seconds, 3) for m in shown]
    assert [float(end) for _, end, _ in buttons] == [round(m.end_seconds, 3) for m in shown]
    assert [score for _, _, score in buttons] == [f"{m.score:.2f}" for m in shown]
    places = re.findall(r'<i style="left:([\d.]+)%;width:([\d.]+)%', page)
    duration = visit.opened.duration_seconds
    for (left, width), moment in zip(places, shown, strict=True):
        assert abs(float(left) / 100 * duration - moment.start_seconds) < 0.01
        length = min(moment.end_seconds, duration) - moment.start_seconds
        assert abs(float(width) / 100 * duration - length) < 0.01
    assert re.findall("<h2 id=[^>]*>([^<]*)</h2>", page) == QUERIES
    assert page.count('<div class="timeline seconds">') == len(QUERIES)  # the report's
    assert page.count('class="curve highlight"') == len(QUERIES)


def test_probabilities_are_heard(visit: Visit) -> None:
    assert visit.answers is not None
    assert "probability" not in answers_html(visit).split("<details>")[0]  # not calibrated
    first, *others = visit.answers.predictions
    moment = dataclasses.replace(first.moments[0], probability=0.25)
    first = dataclasses.replace(first, moments=(moment,))
    visit.answers = dataclasses.replace(visit.answers, predictions=[first, *others])
    assert ", right with probability 0.25<" in answers_html(visit)


def test_not_in_this_video(visit: Visit) -> None:
    assert visit.answers is not None
    best = visit.answers.predictions[0].moments[0].score
    visit.answers = dataclasses.replace(visit.answers, min_score=0.999)
    page = answers_html(visit)
    assert "<button" not in page
    assert page.count("Not in this video") == len(QUERIES)
    assert f"its best moment scores {best:.2f}, less than 1.00" in page


def test_before_anything_is_asked(visit: Visit) -> None:
    visit.answers = None
    assert answers_html(visit) == ""


def test_what_people_wrote_is_escaped(visit: Visit) -> None:
    bad = '<script>alert("x")</script>'
    assert visit.answers is not None
    visit.name = bad
    visit.answers = dataclasses.replace(visit.answers, queries=[bad] * 3)
    for page in (player_html(visit), answers_html(visit), message_html(bad, is_error=True)):
        assert "<script" not in page and "&lt;script&gt;" in page
    assert 'aria-label="&lt;script&gt;alert(&quot;x&quot;)' in player_html(visit)


def test_the_player_names_no_path(visit: Visit) -> None:
    page = player_html(visit)
    assert f'src="visits/{visit.token}/video"' in page
    assert str(visit.video) not in page and str(visit.folder.parent) not in page
    assert page.count("<img alt=") == 10


def test_messages_are_read_out() -> None:
    assert 'role="alert"' in message_html("gone", is_error=True)
    assert 'role="status"' in message_html("done", is_error=False)
