"""Errors as responses: one JSON shape for all, with the library's messages and no traceback."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from bpnet.errors import BPNetError, MissingVideoError

KINDS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    408: "RequestTimeout",
    413: "TooLarge",
    415: "UnsupportedMediaType",
    422: "InvalidRequest",
    500: "InternalError",
    503: "Busy",
}


def problem(
    status: int, message: str, kind: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The response of an error.

    Args:
        status: HTTP status.
        message: What is wrong, for people.
        kind: What is wrong, for programs; None: as `KINDS` says.
        headers: Further headers.

    Returns:
        JSON ``{"error": kind, "message": message}``.
    """
    named = kind or KINDS.get(status, "HTTPError")
    # Escaped to ASCII: a message may quote half a surrogate pair, which no UTF-8 can hold.
    body = json.dumps({"error": named, "message": message})
    return Response(body, status, dict(headers or {}), "application/json")


def of_http(err: HTTPException) -> Response:
    """The response to what the routes, or the framework, refuse."""
    return problem(err.status_code, str(err.detail), headers=err.headers)


def of_library(err: BPNetError, hidden: Mapping[str, str]) -> Response:
    """The response to what the library refuses.

    Args:
        err: The error.
        hidden: Paths of this machine that a message may hold, and what to say instead.

    Returns:
        404 for a video that is not there, 422 for the rest.
    """
    message = str(err)
    for path, name in hidden.items():
        message = message.replace(path, name)
    status = 404 if isinstance(err, MissingVideoError) else 422
    return problem(status, message, type(err).__name__)


def of_validation(errors: Sequence[Any]) -> Response:
    """The response to a request that is not what the OpenAPI description says.

    Args:
        errors: What pydantic found; its ``input`` is not sent back.

    Returns:
        422, with the first five faults.
    """
    lines = []
    for error in errors[:5]:
        place = ".".join(str(part) for part in error["loc"] if part != "body")
        lines.append(f"{place}: {error['msg']}" if place else str(error["msg"]))
    more = f"; and {len(errors) - 5} more" if len(errors) > 5 else ""
    return problem(422, "; ".join(lines) + more)


async def on_http(request: Request, err: Exception) -> Response:
    """Handler of `HTTPException`."""
    assert isinstance(err, HTTPException)
    if err.status_code != 405:
        return of_http(err)
    # Starlette names the methods of the first route of a path alone.
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    here = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    methods = {method for route in here for method in route.methods or ()}
    return of_http(HTTPException(405, err.detail, {"Allow": ", ".join(sorted(methods))}))


async def on_validation(request: Request, err: Exception) -> Response:
    """Handler of `RequestValidationError`."""
    assert isinstance(err, RequestValidationError)
    return of_validation(err.errors())


async def on_bug(request: Request, err: Exception) -> Response:
    """Handler of everything else; the traceback goes to the log, not to the client."""
    return problem(500, "the service failed on this request; its log says why")
