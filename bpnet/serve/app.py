"""The application: routes, and what stands in front of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

import bpnet
from bpnet.errors import BPNetError
from bpnet.serve import explorer, openapi, problems
from bpnet.serve.access import Access
from bpnet.serve.guard import RUNNING, Guard
from bpnet.serve.messages import (
    HealthResponse,
    LocalizeRequest,
    LocalizeResponse,
    StoredVideo,
    VideoResponse,
    VideosResponse,
)
from bpnet.serve.service import Service
from bpnet.serve.videos import KnownVideo


def make_app(service: Service, access: Access) -> FastAPI:
    """The application.

    Args:
        service: What it works on; closed when the application ends.
        access: Who may ask.

    Returns:
        The application, for an ASGI server.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="bpnet",
        summary="Find the moment of a video that a sentence describes.",
        description=openapi.DESCRIPTION,
        version=bpnet.__version__,
        lifespan=lifespan,
        docs_url=None,  # ours, see `explorer`
        redoc_url=None,
        redirect_slashes=False,
        responses=openapi.PROBLEMS,
        exception_handlers={
            HTTPException: problems.on_http,
            RequestValidationError: problems.on_validation,
            Exception: problems.on_bug,
        },
    )

    @app.exception_handler(BPNetError)
    async def on_library(request: Request, err: BPNetError) -> Response:
        return problems.of_library(err, service.hidden)

    @app.get("/health", summary="Is it running?", tags=["service"])
    async def health(request: Request) -> HealthResponse:
        return HealthResponse(
            status="ok",
            version=bpnet.__version__,
            backbone=service.localizer.feature_spec.backbone,
            min_score=service.localizer.least_score,
            open_videos=len(service.videos),
            running_requests=request.scope[RUNNING] - 1,
        )

    @app.get("/videos", summary="The open videos", tags=["videos"])
    async def list_videos() -> VideosResponse:
        return VideosResponse(
            videos=[_described(video) for video in service.videos.newest_first()],
            max_videos=service.limits.max_videos,
        )

    @app.post(
        "/videos",
        status_code=201,
        summary="Open a video",
        description=openapi.OPEN_VIDEO,
        tags=["videos"],
        openapi_extra={"requestBody": openapi.VIDEO_BODY},
    )
    async def open_video(request: Request) -> VideoResponse:
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind == "multipart/form-data":
            return _described(await service.upload(request))
        if kind != "application/json":
            raise HTTPException(
                415, f"body of type {kind!r}: expected multipart/form-data or application/json"
            )
        try:
            asked = StoredVideo.model_validate_json(await request.body())
        except ValidationError as err:
            raise RequestValidationError(err.errors()) from err
        return _described(await service.videos.get(asked.video_id))

    @app.delete(
        "/videos/{video_id:path}",
        status_code=204,
        summary="Close a video",
        description=openapi.CLOSE_VIDEO,
        tags=["videos"],
    )
    async def close_video(video_id: str) -> None:
        service.videos.close(video_id)

    @app.post(
        "/localize",
        summary="Find sentences in a video",
        description=openapi.LOCALIZE,
        tags=["moments"],
        response_model=LocalizeResponse,
    )
    async def localize(asked: LocalizeRequest) -> Response:
        queries, min_score = service.check(asked)
        video = await service.videos.get(asked.video_id)
        found = await service.batches.ask(video.opened, queries, asked.top, min_score)
        body = {
            "video_id": video.video_id,
            "duration_seconds": video.opened.duration_seconds,
            "answers": [
                {"query": query, "moments": [moment.to_dict() for moment in moments]}
                for query, moments in zip(queries, found, strict=True)
            ],
        }
        # Not checked against the model once more, which takes longer than answering.
        return Response(json.dumps(body, allow_nan=False), media_type="application/json")

    explorer.add_page(app)
    app.openapi = openapi.describer(app, service.limits, access.token is not None)  # type: ignore[method-assign]
    app.add_middleware(Guard, limits=service.limits, access=access)
    return app


def _described(video: KnownVideo) -> VideoResponse:
    values: dict[str, Any] = {
        "video_id": video.video_id,
        "name": video.name,
        "source": video.source,
        "duration_seconds": video.opened.duration_seconds,
    }
    return VideoResponse(**values)
