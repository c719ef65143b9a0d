"""An address to listen at, taken before anything else is done in vain."""

from __future__ import annotations

import socket

from bpnet.errors import ConfigError


def listen(host: str, port: int) -> socket.socket:
    """Take an address.

    Args:
        host: Name or address of this machine.
        port: Port; 0: any that is free.

    Returns:
        A socket that listens.

    Raises:
        ConfigError: There is no such port, the address is not of this machine, or it is taken.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"port={port}: expected 0 to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as err:
        raise ConfigError(
            f"cannot listen on {host} port {port} ({err}); give another --host or --port"
        ) from err


def address(listening: socket.socket) -> str:
    """Where a socket listens, as browsers write it: ``http://127.0.0.1:7860``."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
