"""The page `/docs`: Swagger UI over the description, from files of an installed package.

FastAPI's own page takes them from a public CDN, which services often cannot, or must not, reach.
`fastapi_offline` brings them along, with Swagger UI 5 (FastAPI's descriptions are OpenAPI 3.1,
which version 4 of other packages does not show).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, HTMLResponse

PAGE = "/docs"
SCRIPT, STYLE, ICON = (
    f"{PAGE}/{name}" for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
)
PATHS = frozenset({PAGE, SCRIPT, STYLE, ICON})


def add_page(app: FastAPI) -> None:
    """Add the page, and the files that it needs, to an application.

    Args:
        app: Made with ``docs_url=None``.
    """

    @app.get(PAGE, include_in_schema=False)
    async def page() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",  # beside the page, also behind a proxy that adds a prefix
            title=app.title,
            swagger_js_url=SCRIPT.lstrip("/"),
            swagger_css_url=STYLE.lstrip("/"),
            swagger_favicon_url=ICON.lstrip("/"),
            swagger_ui_parameters={"validatorUrl": None},  # which is on the internet
        )

    static = Path(str(fastapi_offline.__file__)).parent / "static"
    for path in (SCRIPT, STYLE, ICON):
        app.add_api_route(path, _sender(static / Path(path).name), include_in_schema=False)


def _sender(file: Path) -> Callable[[], Awaitable[FileResponse]]:
    async def send() -> FileResponse:
        return FileResponse(file)

    return send
