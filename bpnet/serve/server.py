"""The server: a socket, signals, and what is finished before the process ends."""

from __future__ import annotations

import signal
import socket
import sys
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from bpnet.errors import ConfigError
from bpnet.inference.localizer import Localizer
from bpnet.serve.access import Access
from bpnet.serve.app import make_app
from bpnet.serve.limits import Limits
from bpnet.serve.service import Service
from bpnet_features import FeatureSource


def listen(host: str, port: int) -> socket.socket:
    """Take an address, before a model is loaded in vain.

    Args:
        host: Name or address of this machine.
        port: Port; 0: any that is free.

    Returns:
        The bound socket.

    Raises:
        ConfigError: There is no such port, the address is not of this machine, or it is taken.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"port={port}: expected 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as err:
        raise ConfigError(f"cannot listen on {host} port {port} ({err})") from err


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
        listening: Where, see `listen`.
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
    host, port = listening.getsockname()[:2]
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    print(f"serving on http://{where}, described at http://{where}/docs", file=sys.stderr)
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
