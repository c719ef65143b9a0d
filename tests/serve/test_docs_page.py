"""`/docs` in a real browser that reaches nothing but the service."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import chromium
import httpx
import pytest

pytestmark = [
    pytest.mark.slow,
    *chromium.NEEDED,
]


def test_it_asks_nobody_else(
    serving: Callable[..., AbstractContextManager[httpx.Client]],
) -> None:
    """Every request is shown, one is tried out, and no other server was asked for anything."""
    elsewhere: list[str] = []
    faults: list[str] = []
    with serving() as client, chromium.launched() as browser:
        own = str(client.base_url)

        def watch(route: Any) -> None:
            url = route.request.url
            if url.startswith((own, "data:")):
                route.continue_()
            else:
                elsewhere.append(url)
                route.abort()

        page = browser.new_page(viewport={"width": 1100, "height": 1400})
        page.route("**/*", watch)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.goto(f"{own}/docs")
        page.locator(".opblock").first.wait_for(timeout=60_000)
        assert page.locator(".opblock").count() == 5
        health = page.locator("#operations-service-health_health_get")
        health.click()
        health.get_by_role("button", name="Try it out").click()
        health.get_by_role("button", name="Execute").click()
        answer = health.locator(".live-responses-table")
        answer.wait_for(timeout=60_000)
        assert '"status": "ok"' in answer.inner_text()
    assert (elsewhere, faults) == ([], [])
