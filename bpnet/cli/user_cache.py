"""Where commands keep what they made, between one run and the next."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache(name: str) -> Path:
    """A folder ``bpnet/NAME`` in the user's cache folder; it need not exist."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "bpnet" / name
