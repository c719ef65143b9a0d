"""A real browser for the tests of pages."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

PATH = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

NEEDED = [
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="no playwright"),
    pytest.mark.skipif(PATH is None, reason="no chromium on the path"),
]


@contextlib.contextmanager
def launched() -> Iterator[Any]:
    """The browser, until the end of the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root, as in containers.
        opened = playwright.chromium.launch(executable_path=PATH, args=["--no-sandbox"])
        yield opened
        opened.close()


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until something is true, and give it."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return value
