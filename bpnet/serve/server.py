"""The server: signals, and what is finished before the process ends."""

from __future__ import annotations

import signal
import socket
import sys
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from bpnet.inference.localizer import Localizer
from bpnet.serve.access import Access
from bpnet.serve.app import make_app
from bpnet.serve.limits import Limits
from bpnet.serve.service import Service
from bpnet.web.listen import address
from bpnet_features import FeatureSource


def serve(
    listening: socket.socket,
    localizer: Localizer,
    store: FeatureSource | None,
    limits: Limits,
    access: Access,
    drain_seconds: int,
) -> None:
    """Answer until SIGTERM or SIGINT; what was accepted by then is finished.

    Args:
        listening: Where, see `bpnet.web.listen`.
        localizer: The model.
        store: Features that are served; None: uploads alone.
        limits: Bounds of requests.
        access: Who may ask.
        drain_seconds: How long the requests that run at the end may take.

    Raises:
        SystemExit: With 0 after SIGTERM.
    """
    # uvicorn raises the signal once more when all is done, for whoever handled it before.
    signal.signal(signal.SIGTERM, _end)
    server = make_server(make_app(Service(localizer, store, limits), access), drain_seconds)
    where = address(listening)
    print(f"serving on {where}, described at {where}/docs", file=sys.stderr)
    server.run([listening])


def make_server(app: FastAPI, drain_seconds: int) -> uvicorn.Server:
    """The server of an application, which does not run yet.

    Args:
        app: The application.
        drain_seconds: How long the requests that run at the end may take.

    Returns:
        The server.
    """
    config = uvicorn.Config(
        app,
        # Named, so that what else is installed changes nothing.
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,  # ours
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=drain_seconds,
    )
    return uvicorn.Server(config)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)
