"""Guard: access, number of requests at once, size and pace of a body, before any route runs."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bpnet.serve.access import Access
from bpnet.serve.limits import Limits
from bpnet.serve.problems import of_http

RUNNING = "bpnet.running"  # in the scope of a request: how many run, with itself


class Guard:
    """ASGI middleware around the whole service.

    Args:
        app: What it guards.
        limits: Bounds of a request.
        access: Who may ask.
    """

    def __init__(self, app: ASGIApp, limits: Limits, access: Access) -> None:
        self._app = app
        self._limits = limits
        self._access = access
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            limit = self._admit(scope)
        except HTTPException as err:
            await of_http(err)(scope, receive, send)
            return
        self._running += 1
        scope[RUNNING] = self._running
        try:
            await self._app(scope, _bounded(receive, limit, self._limits.body_seconds), send)
        finally:
            self._running -= 1

    def _admit(self, scope: Scope) -> int:
        """The largest number of bytes that the body of a request may have."""
        headers = Headers(scope=scope)
        self._access.check(scope["path"], headers)
        # Health is asked for when there is much to do.
        if self._running >= self._limits.max_requests and scope["path"] != "/health":
            raise HTTPException(
                503, f"{self._running} requests wait already; try again", {"Retry-After": "1"}
            )
        form = headers.get("content-type", "").lower().startswith("multipart/form-data")
        limit = self._limits.upload_bytes if form else self._limits.json_bytes
        stated = headers.get("content-length", "")
        if stated.isdigit() and int(stated) > limit:
            raise _too_large(limit)
        return limit


def _bounded(receive: Receive, limit: int, seconds: float) -> Receive:
    """The messages of a client that sends no more than it may, and does not fall silent."""
    received = 0
    complete = False

    async def bounded() -> Message:
        nonlocal received, complete
        if complete:  # from here on only its going away is waited for, which takes what it takes
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), seconds)
        except asyncio.TimeoutError:
            raise HTTPException(408, f"nothing of the body came for {seconds:g} s") from None
        received += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if received > limit:
            raise _too_large(limit)
        return message

    return bounded


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the body is larger than {limit} bytes, the limit of this service")
