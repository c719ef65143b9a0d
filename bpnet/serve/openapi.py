"""The OpenAPI description: texts, and the limits of the running service in the schemas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from bpnet.serve.access import OPEN_PATHS
from bpnet.serve.limits import Limits
from bpnet.serve.messages import EXAMPLE_ID, Problem, StoredVideo

DESCRIPTION = """\
Open a video with `POST /videos`, then ask about it with `POST /localize`, as often as you like:
what does not depend on a sentence is computed once. Videos of the served feature store need no
opening.

Every error is `{"error": ..., "message": ...}`. `503` says in `Retry-After` when to try again.
"""
OPEN_VIDEO = """\
Either the upload of a video file, as the field `file` of a form, or the id of a video of the served
feature store, as JSON. Answers the id to ask with. A bounded number of videos is kept open: the one
that was not used for longest is closed first, and an upload must then be sent again. The uploaded
file itself is not kept.
"""
CLOSE_VIDEO = """\
Forgets the video and frees its memory. One of the feature store is opened again when it is asked
about.
"""
LOCALIZE = """\
Moments of each sentence, the best first. Requests about the same video that wait at the same time
are answered in one pass.
"""
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "The body cannot be read.",
        401: "The bearer token is missing or wrong.",
        403: "The request comes from a foreign web page.",
        404: "There is no such video.",
        408: "The client fell silent before the end of the body.",
        413: "The body is larger than this service takes.",
        415: "The body is of another type.",
        422: "The request, or the video, is not what it must be; the message says why.",
        503: "Too much to do: try again.",
    }.items()
}
VIDEO_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {
                        "type": "string",
                        "format": "binary",
                        "description": "A video file: mp4, mov, mkv, webm, avi, ...",
                    }
                },
            }
        },
        "application/json": {
            "schema": StoredVideo.model_json_schema(),
            "example": {"video_id": EXAMPLE_ID},
        },
    },
}


def describer(app: FastAPI, limits: Limits, secured: bool) -> Callable[[], dict[str, Any]]:
    """What gives an application's description, with what is known only when it runs.

    Args:
        app: The application.
        limits: Bounds of requests, which stand in the schemas.
        secured: Whether a bearer token is asked for.

    Returns:
        A function that makes the description once.
    """

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                routes=app.routes,
            )
            _set_limits(found["components"]["schemas"]["LocalizeRequest"], limits)
            if secured:
                _set_security(found)
            app.openapi_schema = found
        return app.openapi_schema

    return describe


def _set_limits(asked: dict[str, Any], limits: Limits) -> None:
    sentence = {"type": "string", "minLength": 1, "maxLength": limits.max_query_chars}
    several = {
        "type": "array",
        "items": sentence,
        "minItems": 1,
        "maxItems": limits.max_queries,
    }
    asked["properties"]["queries"]["anyOf"] = [sentence, several]


def _set_security(found: dict[str, Any]) -> None:
    found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in found["paths"].items():
        for operation in operations.values():
            if path not in OPEN_PATHS:
                operation["security"] = [{"token": []}]
