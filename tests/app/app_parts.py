"""What the tests of the page say and do."""

from __future__ import annotations

SESSION = "session"
QUERIES = ["a red circle slides to the left", "something blue spins", "the green square grows"]


def silent(part: float, what: str) -> None:
    """Hears how far the work is."""
    assert 0 <= part <= 1 and what
