"""The page in a real browser: headless Chromium, driven by Playwright.

Needs the extra ``app``, the package ``playwright``, and a Chromium on the path.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import pytest
from app_parts import QUERIES
from chromium import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="no gradio"),
    *chromium.NEEDED,
]


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps its temporary files."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def address(run_dir: Path, sample: Path, temporary: Path) -> Iterator[str]:
    """The page, served by a process of its own; at the end nothing of it is left."""
    line = ["-m", "bpnet.cli.main", "app", "--checkpoint", str(run_dir), "--port", "0"]
    line += ["--videos", str(sample / "videos"), "--max-megabytes", "2"]
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [sys.executable, *line], env=environment, stdout=subprocess.PIPE, text=True
    )
    with server:
        assert server.stdout is not None
        try:
            said = server.stdout.readline()
            assert said.startswith("open http://127.0.0.1:"), said
            yield said.split()[1]
        finally:
            server.terminate()
    assert server.returncode == 0
    assert list(temporary.iterdir()) == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The browser."""
    with chromium.launched() as opened:
        yield opened


@pytest.fixture
def wrong() -> list[str]:
    """What went wrong on the page: errors on its console, refused and foreign requests."""
    return []


@pytest.fixture
def page(browser: Any, address: str, wrong: list[str]) -> Iterator[Any]:
    """The page, opened; nothing may have gone wrong on it in the end."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("console", lambda said: said.type == "error" and wrong.append(said.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("response", lambda got: got.status >= 400 and wrong.append(f"{got.status} {got.url}"))
    ours = (address, "data:", "blob:")
    page.on("request", lambda sent: sent.url.startswith(ours) or wrong.append(sent.url))
    page.goto(address)
    page.wait_for_selector("#bp-ask")
    yield page
    context.close()
    assert wrong == []


def upload(page: Any, name: str, content: bytes) -> None:
    """Drop a file."""
    file = {"name": name, "mimeType": "video/mp4", "buffer": content}
    page.locator("#bp-upload input[type=file]").set_input_files([file])


def ask(page: Any, queries: list[str]) -> None:
    """Type sentences, and wait for their answers."""
    page.get_by_label("Sentences, one a line").fill("\n".join(queries))
    page.get_by_role("button", name="Find the moments").click()
    page.wait_for_function(
        "count => document.querySelectorAll('.bp-answer').length == count", arg=len(queries)
    )


def now(page: Any) -> float:
    """Where the player stands, in seconds."""
    seconds: float = page.evaluate("document.querySelector('.bp-player video').currentTime")
    return seconds


def test_a_visit(page: Any, video: Path, temporary: Path) -> None:
    upload(page, "our holiday (1).mp4", video.read_bytes())
    page.wait_for_selector(".bp-player video")
    assert page.get_by_text("our holiday (1).mp4 is open").is_visible()
    assert not list(temporary.rglob("*holiday*.mp4"))
    wait_for(lambda: page.evaluate("document.querySelector('.bp-player video').readyState > 0"))

    ask(page, QUERIES)
    cards = page.locator(".bp-answer")
    assert cards.locator("h2").all_inner_texts() == QUERIES
    assert cards.locator(".bp-rows").count() == 3

    moment = cards.nth(1).get_by_role("button", name="Play moment 1:")
    start, end = (float(moment.get_attribute(f"data-{side}")) for side in ("start", "end"))
    moment.click()
    assert start <= wait_for(lambda: now(page)) <= end
    assert moment.get_attribute("aria-current") == "true"
    # It plays to the end of the moment, and stops there.
    wait_for(lambda: page.evaluate("document.querySelector('.bp-player video').paused"))
    assert now(page) == pytest.approx(end, abs=0.5)

    other = cards.nth(2).get_by_role("button", name="Play moment 1:")
    other.focus()
    page.keyboard.press("Enter")
    began = float(other.get_attribute("data-start"))
    wait_for(lambda: other.get_attribute("aria-current"))
    assert began - 0.01 <= now(page) <= float(other.get_attribute("data-end")) + 0.5

    links = page.get_by_role("navigation", name="Downloads").get_by_role("link")
    files = {
        link.get_attribute("download"): page.request.get(
            f"{page.url.rstrip('/')}/{link.get_attribute('href')}"
        )
        for link in links.all()
    }
    assert [row["query"] for row in files["moments.json"].json()["answers"]] == QUERIES
    assert files["clips.zip"].body()[:2] == b"PK"
    assert "Moments of our holiday (1).mp4" in files["report.html"].text()
    assert str(temporary) not in files["report.html"].text()
    assert str(temporary) not in page.content()

    score = page.get_by_label("number input for Least score")
    score.fill("1")
    score.press("Tab")
    page.wait_for_function("!document.querySelector('.bp-moment')")
    assert page.get_by_text("Not in this video").count() == 3

    folders = list(temporary.glob("*/visits/*"))
    assert len(folders) == 1
    page.close()
    wait_for(lambda: not folders[0].exists())


def test_a_broken_upload(page: Any, video: Path, temporary: Path) -> None:
    upload(page, "broken.mp4", b"this is no video")
    alert = page.locator("#bp-message [role=alert]")
    alert.wait_for()
    assert "video 'broken.mp4': cannot be read" in alert.inner_text()
    assert str(temporary) not in alert.inner_text()
    page.get_by_role("button", name="Find the moments").click()
    page.get_by_text("no video: drop or choose one first").wait_for()
    # The next one is taken all the same.
    upload(page, "whole.mp4", video.read_bytes())
    page.get_by_text("whole.mp4 is open").wait_for()
    ask(page, [])
    page.get_by_text("no sentence: type at least one").wait_for()


def test_a_video_of_the_folder(page: Any) -> None:
    page.get_by_label("or take one of these").click()
    page.get_by_role("option", name="sample_0002.mp4").click()
    page.get_by_text("sample_0002.mp4 is open").wait_for()
    ask(page, QUERIES[:1])
    assert page.locator(".bp-moment").count() >= 1


def test_an_upload_that_is_too_large(page: Any, wrong: list[str]) -> None:
    upload(page, "large.mp4", bytes(3_000_000))
    page.get_by_text("exceed the maximum allowed size").wait_for()
    assert page.locator(".bp-empty").is_visible()
    # gradio refuses it before sending, and then asks for the progress of what was never sent.
    page.wait_for_timeout(1000)
    wrong.clear()


def test_what_is_not_there(address: str, browser: Any) -> None:
    context = browser.new_context()
    for path in ("visits/guessed/video", "visits/guessed/moments.json", "docs", "redoc"):
        assert context.request.get(f"{address}/{path}").status == 404, path
    context.close()


def test_files_of_the_machine_cannot_be_named(address: str, browser: Any, sample: Path) -> None:
    """Only what was sent can be opened, whatever a program that talks to the page claims."""
    context = browser.new_context()
    config = context.request.get(f"{address}/config").json()
    (act,) = (one["id"] for one in config["dependencies"] if one["targets"][0][1] == "upload")
    file = {"path": str(sample / "videos" / "sample_0003.mp4")}
    asked = {"data": [{**file, "meta": {"_type": "gradio.FileData"}}], "fn_index": act}
    context.request.post(
        f"{address}/gradio_api/queue/join", data={**asked, "session_hash": "forged"}
    )
    told = context.request.get(f"{address}/gradio_api/queue/data?session_hash=forged").text()
    assert "process_completed" in told and '"success":false' in told
    assert "bp-player" not in told
    assert Path(file["path"]).is_file()
    context.close()
