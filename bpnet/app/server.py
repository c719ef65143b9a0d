"""The program behind the page: files of visits, gradio, and an orderly end."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bpnet.app.desk import Desk
from bpnet.app.downloads import write_answers, write_clips, write_moments
from bpnet.app.limits import Limits
from bpnet.app.visit import Answers, Visit, Visits
from bpnet.errors import BPNetError
from bpnet.inference.localizer import Localizer
from bpnet.report.media import media_type
from bpnet.report.template import PICTURE_STYLE
from bpnet.web.listen import address, listen

_STATIC = Path(__file__).parent / "static"
_WRITERS: dict[str, Callable[[Visit, Answers, Path], None]] = {
    "moments.json": write_moments,
    "clips.zip": write_clips,
    "report.html": write_answers,
}


def serve(
    localizer: Localizer,
    *,
    host: str,
    port: int,
    limits: Limits,
    library: Mapping[str, Path],
    note: str,
    examples: Mapping[str, Sequence[str]],
) -> None:
    """Serve the page until the program is stopped; then everything that was uploaded is removed.

    Args:
        localizer: The model.
        host: Address to listen at.
        port: Its port.
        limits: How much is taken.
        library: Video files that visitors may choose, by the name that is shown.
        note: Said at the top of the page.
        examples: Sentences about videos of the library, by name.

    Raises:
        ConfigError: There is no such address, or the port is taken.
    """
    import uvicorn

    with (
        listen(host, port) as listener,
        tempfile.TemporaryDirectory(prefix="bpnet-app-") as folder,
    ):
        # Otherwise SIGTERM would end the process before the folder is removed.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "uploads")
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # nothing is told to anybody
        desk = Desk(localizer, Visits(Path(folder) / "visits", limits.visits), limits, library)
        app = build_app(desk, note, examples)
        print(f"open {address(listener)} (Ctrl+C ends it)", flush=True)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
        uvicorn.Server(config).run(sockets=[listener])


def build_app(desk: Desk, note: str, examples: Mapping[str, Sequence[str]]) -> Any:
    """The page and the files of its visits, as an ASGI application.

    Args:
        desk: What does the work.
        note: Said at the top of the page.
        examples: Sentences about videos of the library, by name.

    Returns:
        The application.
    """
    import gradio
    from fastapi import FastAPI
    from gradio.themes import Default

    from bpnet.app.page import build_page

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/visits/{token}/{file}", _Files(desk.visits).get, methods=["GET", "HEAD"])
    style = (_STATIC / "page.css").read_text(encoding="utf-8")
    script = (_STATIC / "page.js").read_text(encoding="utf-8")
    return gradio.mount_gradio_app(
        app,
        build_page(desk, note, examples),
        path="/",
        max_file_size=desk.limits.max_bytes,
        # Fonts of the viewer's machine: the page asks no other server for anything.
        theme=Default(
            primary_hue="indigo",
            neutral_hue="slate",
            radius_size="lg",
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
        head=f"<style>{style}\n{PICTURE_STYLE}</style><script>{script}</script>",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=False,
    )


class _Files:
    """Files of a visit, for whoever knows its token.

    Args:
        visits: Who is here.
    """

    def __init__(self, visits: Visits) -> None:
        self._visits = visits

    def get(self, token: str, file: str) -> Any:
        """Answer a request.

        Args:
            token: Of the visit.
            file: ``video``, ``moments.json``, ``clips.zip`` or ``report.html``.

        Returns:
            The file, or a line that says why there is none.
        """
        from fastapi.responses import FileResponse, PlainTextResponse
        from starlette.background import BackgroundTask

        visit = self._visits.find(token)
        if visit is None:
            return PlainTextResponse("this video is no longer open here", 404)
        if file == "video":
            return FileResponse(
                visit.player,
                media_type=media_type(visit.player),
                headers={"X-Content-Type-Options": "nosniff"},
            )
        write = _WRITERS.get(file)
        if write is None or visit.answers is None:
            return PlainTextResponse(f"there is no {file!r}", 404)
        path = visit.folder / f"{secrets.token_hex(8)}.part"
        try:
            write(visit, visit.answers, path)
        except BPNetError as err:
            return PlainTextResponse(str(err), 422)
        gone = BackgroundTask(path.unlink, missing_ok=True)
        return FileResponse(path, filename=file, background=gone)
