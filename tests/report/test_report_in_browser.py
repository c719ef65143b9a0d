"""The page of a report in a real browser, with real videos: headless Chromium through Playwright.

Needs the package ``playwright``, and a Chromium on the path.
"""

from __future__ import annotations

import dataclasses
import functools
import http.server
import importlib.util
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chromium
import numpy as np
import pytest
from chromium import wait_for

from bpnet.report import ReportAnswer, write_report
from bpnet.report.answers import film_strip
from bpnet.types import Moment
from bpnet_features.sample import render_sample
from bpnet_features.video import probe

PLAYER = "document.querySelector('.player video')"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="no av"),
    *chromium.NEEDED,
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two rendered videos of 15 to 25 seconds."""
    return render_sample(tmp_path_factory.mktemp("sample"), 2, progress=False)


@pytest.fixture(scope="module")
def answers(videos: list[Path]) -> list[ReportAnswer]:
    """Two sentences about the first video, and one about the second, with hand-set moments."""
    first, second = ([Moment(3.0, 4.5, 0.9, 0.8), Moment(8.0, 9.0, 0.3)], [Moment(6.0, 7.0, 0.7)])
    further = [Moment(10.0, 11.0, 0.05)]
    evil = "</script><script>window.hacked = 1</script> <img src=x onerror='window.hacked = 2'>"
    found = [("a red circle spins", 0, first), (evil, 0, second), ("the other video", 1, second)]
    drawn = []
    for query, place, moments in found:
        seconds = probe(videos[place]).duration_seconds
        edges = np.linspace(0, seconds, 21)
        peaks = np.exp(-(((edges[:-1] - moments[0].start_seconds) / 2) ** 2))
        drawn.append(
            ReportAnswer(
                query=query,
                video_id=videos[place].stem,
                duration_seconds=seconds,
                moments=moments,
                proposals=[*moments, *further],
                edges_seconds=edges,
                start_probabilities=peaks / peaks.sum(),
                end_probabilities=np.roll(peaks / peaks.sum(), 2),
                highlight_scores=peaks,
                targets=[(3.25, 4.75)],
                frames=film_strip(videos[place], seconds),
                video=videos[place],
            )
        )
    return drawn


@pytest.fixture(scope="module")
def report(answers: list[ReportAnswer], videos: list[Path]) -> Path:
    """The page, above the folder of the videos."""
    path = videos[0].parent.parent / "report.html"
    write_report(path, answers, title="Moments & more")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The browser."""
    with chromium.launched() as opened:
        yield opened


@pytest.fixture
def wrong() -> list[str]:
    """What went wrong on the page."""
    return []


@pytest.fixture
def open_page(browser: Any, wrong: list[str]) -> Iterator[Callable[..., Any]]:
    """Opens a page; nothing may have gone wrong on it in the end."""
    contexts = []

    def open_it(path: Path | str, width: int = 1280, height: int = 900, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda said: said.type == "error" and wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(path.as_uri() if isinstance(path, Path) else path)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def page(open_page: Callable[..., Any], report: Path) -> Any:
    """The page of `report`."""
    return open_page(report)


def now(page: Any) -> float:
    """Where the player stands, in seconds."""
    seconds: float = page.evaluate(f"{PLAYER}.currentTime")
    return seconds


def paused(page: Any) -> bool:
    """Whether it stands."""
    stands: bool = page.evaluate(f"{PLAYER}.paused")
    return stands


def bar(page: Any, card: int, name: str) -> Any:
    """A bar by the beginning of its name."""
    return page.locator("article").nth(card).get_by_role("button", name=name)


def test_a_bar_plays_its_moment(page: Any) -> None:
    first = bar(page, 0, "Play candidate 1: 3.0")
    first.click()
    assert 3.0 <= wait_for(lambda: now(page)) < 4.5
    wait_for(lambda: not paused(page))
    assert first.get_attribute("aria-current") == "true"
    said = page.get_by_role("status").inner_text()
    assert said == "3.0\N{EN DASH}4.5 s: a red circle spins"
    wait_for(lambda: paused(page))  # it plays to the end of the moment
    assert now(page) == pytest.approx(4.5, abs=0.3)
    # The line on the lanes stands where the player does.
    lane = page.locator("article").first.locator(".axis .plot").bounding_box()
    line = page.locator("article").first.locator(".now").bounding_box()
    seconds = page.evaluate(f"{PLAYER}.duration")
    place = (line["x"] + 1 - lane["x"]) / lane["width"] * seconds
    assert place == pytest.approx(now(page), abs=0.1)
    bar(page, 0, "Play true moment: 3.2").click()
    assert 3.25 <= wait_for(lambda: now(page) < 4.4 and now(page)) < 4.4


def test_a_second_press_pauses_and_a_third_goes_on(page: Any) -> None:
    first = bar(page, 0, "Play candidate 1")
    first.click()
    wait_for(lambda: now(page) > 3.2)
    first.click()
    assert paused(page)
    stood = now(page)
    assert 3.2 < stood < 4.5
    first.click()
    assert not paused(page) and now(page) >= stood - 0.01


def test_the_keyboard_does_it_all(page: Any) -> None:
    page.locator("video").focus()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('button.row')"):
            break
    focused = page.locator(":focus")
    assert "true moment" in focused.inner_text()
    style = focused.evaluate("one => getComputedStyle(one)[`outline-style`]")
    assert style == "solid"
    page.keyboard.press("ArrowDown")
    assert page.locator(":focus").get_attribute("data-start") == "3.000"
    page.keyboard.press("Enter")
    assert 3.0 <= wait_for(lambda: now(page)) < 4.5
    wait_for(lambda: not paused(page))
    page.keyboard.press("Space")
    wait_for(lambda: paused(page))
    assert page.evaluate("window.scrollY") == 0
    stood = now(page)
    page.keyboard.press("ArrowRight")
    wait_for(lambda: now(page) == pytest.approx(stood + 1, abs=0.05))
    page.keyboard.press("ArrowLeft")
    wait_for(lambda: now(page) == pytest.approx(stood, abs=0.05))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "1 more candidate"
    page.keyboard.press("Enter")  # opens the others, and arrows find them
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowDown")
    assert page.locator(":focus").get_attribute("data-start") == "10.000"
    page.keyboard.press("ArrowDown")  # into the next card
    at = page.locator(":focus").evaluate("one => one.closest('article').querySelector('h2').id")
    assert at == "query-2"


def test_a_press_on_the_lanes_moves_the_player(page: Any) -> None:
    film = page.locator("article").first.locator(".film")
    box = film.bounding_box()
    film.click(position={"x": box["width"] / 2, "y": 20})
    seconds = page.evaluate(f"{PLAYER}.duration")
    wait_for(lambda: now(page) == pytest.approx(seconds / 2, abs=0.2))
    assert paused(page)


def test_another_video(page: Any) -> None:
    shown = [one.get_attribute("class") or "" for one in page.locator("article").all()]
    assert shown == ["shown", "shown", ""]
    bar(page, 2, "Play candidate 1").click()
    assert 6.0 <= wait_for(lambda: now(page)) < 7.0
    assert page.evaluate(f"{PLAYER}.currentSrc").endswith("/sample_0001.mp4")
    assert page.locator(".video-name").inner_text() == "sample_0001"
    shown = [one.get_attribute("class") or "" for one in page.locator("article").all()]
    assert shown == ["", "", "shown"]


def test_what_people_wrote_does_nothing(page: Any) -> None:
    assert page.locator("h2").nth(1).inner_text().startswith("</script><script>window.hacked")
    bar(page, 1, "Play candidate 1").click()
    wait_for(lambda: now(page) > 6)
    assert "</script>" in page.get_by_role("status").inner_text()
    assert page.evaluate("window.hacked") is None


def test_an_embedded_video_plays_anywhere(
    open_page: Callable[..., Any], answers: list[ReportAnswer], tmp_path: Path, wrong: list[str]
) -> None:
    write_report(tmp_path / "made.html", answers, title="t", embed=True)
    (tmp_path / "alone").mkdir()
    moved = (tmp_path / "made.html").rename(tmp_path / "alone" / "moved.html")
    page = open_page(moved)
    page.on(
        "request", lambda sent: sent.url.startswith(("blob:", "data:")) or wrong.append(sent.url)
    )
    bar(page, 0, "Play candidate 2").click()
    assert 8.0 <= wait_for(lambda: now(page)) < 9.0
    bar(page, 2, "Play candidate 1").click()
    assert 6.0 <= wait_for(lambda: now(page) < 8 and now(page)) < 7.0


def test_a_video_that_is_gone(
    open_page: Callable[..., Any], report: Path, tmp_path: Path, wrong: list[str]
) -> None:
    shutil.copy(report, tmp_path / "moved.html")
    page = open_page(tmp_path / "moved.html")
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "sample_0000 does not play" in alert.inner_text()
    assert "(videos/sample_0000.mp4)" in alert.inner_text()
    assert [said for said in wrong if "ERR_FILE_NOT_FOUND" not in said] == []
    wrong.clear()  # what the browser says of a missing file


@pytest.fixture
def plain_server(report: Path) -> Iterator[str]:
    """The page on a server that sends whole files only, as Python's does."""
    handler = functools.partial(QuietHandler, directory=str(report.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/report.html"
        server.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Sends files and says nothing."""

    def log_message(self, *_: Any) -> None:
        """Nothing is written."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """The browser may have heard enough of a video."""
        try:
            super().copyfile(source, outputfile)
        except ConnectionError:
            pass


def test_a_server_without_ranges_is_told_of(
    open_page: Callable[..., Any], plain_server: str, wrong: list[str]
) -> None:
    page = open_page(plain_server)
    wait_for(lambda: page.evaluate(f"{PLAYER}.readyState > 0"))
    bar(page, 0, "Play candidate 1").click()
    assert "does not allow jumps" in page.get_by_role("alert").inner_text()
    wrong[:] = [one for one in wrong if "favicon" not in one and "404" not in one]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_has_a_name_and_can_be_read(
    open_page: Callable[..., Any], report: Path, scheme: str
) -> None:
    page = open_page(report, color_scheme=scheme)
    page.locator("summary").first.click()
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")
    nodes = [one for one in tree["nodes"] if not one["ignored"] and "role" in one]
    named = {
        "button",
        "Video",
        "image",
        "region",
        "link",
        "heading",
        "article",
        "DisclosureTriangle",
    }
    seen = set()
    for node in nodes:
        if node["role"]["value"] in named:
            seen.add(node["role"]["value"])
            assert node.get("name", {}).get("value"), node
    assert {"button", "Video", "image", "region", "heading", "article"} <= seen
    names = [one["name"]["value"] for one in nodes if one["role"]["value"] == "button"]
    said = "Play candidate 1: 3.0\N{EN DASH}4.5 s score 0.90 right with probability 0.80"
    assert said in [" ".join(name.split()) for name in names]
    assert page.evaluate(CONTRAST) == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))
    assert page.evaluate("document.documentElement.lang") == "en"
    sizes = [one.bounding_box() for one in page.locator("button.row:visible, summary").all()]
    assert min(one["height"] for one in sizes) >= 24  # WCAG 2.2, 2.5.8


# Texts whose contrast with what is behind them is below 4.5 (WCAG 1.4.3).
CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const over = (colour, below) => {
    canvas.fillStyle = `rgb(${below})`; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const behind = (one) => {
    if (!one) return [255, 255, 255];
    return over(getComputedStyle(one).backgroundColor, behind(one.parentElement));
  };
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const poor = [];
  for (const one of document.querySelectorAll("main *")) {
    const text = [...one.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!text || !one.checkVisibility() || one.closest("script")) continue;
    const ground = behind(one);
    const pair = [light(over(getComputedStyle(one).color, ground)), light(ground)];
    const ratio = Math.max(...pair) / Math.min(...pair);
    if (ratio < 4.5) poor.push([one.className, one.textContent, ratio]);
  }
  return poor;
}"""


@pytest.mark.parametrize(("width", "height"), [(320, 640), (390, 844), (844, 390)])
def test_a_phone(open_page: Callable[..., Any], report: Path, width: int, height: int) -> None:
    page = open_page(report, width, height, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    last = bar(page, 2, "Play candidate 1")
    last.tap()
    assert 6.0 <= wait_for(lambda: now(page)) < 7.0
    player, pressed = page.locator(".player").bounding_box(), last.bounding_box()
    # Both are seen at once.
    assert player["y"] >= 0 and player["height"] < 0.6 * height
    assert player["y"] + player["height"] <= pressed["y"] + 1 < height


def test_without_videos_there_is_no_player(
    open_page: Callable[..., Any], answers: list[ReportAnswer], tmp_path: Path
) -> None:
    write_report(tmp_path / "r.html", [dataclasses.replace(answers[0], video=None)], title="t")
    page = open_page(tmp_path / "r.html")
    assert page.locator("video, button, script").count() == 0
    assert page.locator("li.row").count() == 4
