"""The frame of the report page: its head, its style, its player."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

_STATIC = Path(__file__).parent / "static"
# Of the lanes alone; the colours come from the page that they stand in.
PICTURE_STYLE = (_STATIC / "lanes.css").read_text(encoding="utf-8")
_PAGE_STYLE = (_STATIC / "page.css").read_text(encoding="utf-8")
_SCRIPT = (_STATIC / "player.js").read_text(encoding="utf-8")

PLAYER = """<section class="player" aria-label="Player">
<video controls playsinline preload="metadata"></video>
<p class="broken" role="alert" hidden></p>
<p class="now-playing"><b class="video-name"></b>
<span role="status">Press a bar, and its moment plays.</span></p>
<p class="keys"><kbd>\N{UPWARDS ARROW}</kbd> <kbd>\N{DOWNWARDS ARROW}</kbd> choose a bar,
<kbd>Enter</kbd> or <kbd>Space</kbd> plays it or pauses,
<kbd>\N{LEFTWARDS ARROW}</kbd> <kbd>\N{RIGHTWARDS ARROW}</kbd> move by a second.</p>
</section>"""


def full_page(title: str, body: str, *, with_player: bool) -> str:
    """The page around its body.

    Args:
        title: As HTML.
        body: As HTML.
        with_player: Whether it has the player's script, and may load videos.

    Returns:
        HTML. The only script that it lets run is the player's.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    script = ""
    if with_player:
        digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode("ascii")
        policy += f"; media-src 'self' file: blob:; script-src 'sha256-{digest}'"
        script = f"<script>{_SCRIPT}</script>"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title><style>{_PAGE_STYLE}{PICTURE_STYLE}</style></head>
<body><main>
{body}
</main>{script}</body></html>
"""
