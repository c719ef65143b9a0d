"""Access: who may ask, told from the headers of a request alone."""

from __future__ import annotations

import dataclasses
import hmac
import ipaddress
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from bpnet.errors import ConfigError
from bpnet.serve.explorer import PATHS

TOKEN_VARIABLE = "BPNET_SERVE_TOKEN"
# Without a token: what a load balancer asks, and the description, which holds no secrets.
OPEN_PATHS = PATHS | {"/health", "/openapi.json"}

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Access:
    """What a request must show.

    Attributes:
        token: The bearer token; None: none is asked for.
        hosts: Names in the Host header that are answered; None: any. On a loopback address it keeps
            out web pages whose own name has been pointed at this machine (DNS rebinding).
    """

    token: str | None = dataclasses.field(default=None, repr=False)
    hosts: frozenset[str] | None = None

    def check(self, path: str, headers: Headers) -> None:
        """Refuse who may not ask.

        Args:
            path: Path of the request.
            headers: Its headers.

        Raises:
            HTTPException: 403 for a request of a foreign web page, 401 without the token.
        """
        host = headers.get("host", "")
        if self.hosts is not None and _host_name(host) not in self.hosts:
            raise HTTPException(403, f"host {host!r} is not served here; see --allow-host")
        origin = headers.get("origin")
        # A browser names the page that asks; pages of other sites have no business here.
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise HTTPException(403, f"requests of pages of {origin!r} are not answered")
        if self.token is not None and path not in OPEN_PATHS:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            same = hmac.compare_digest(given.strip().encode(), self.token.encode())
            if scheme.lower() != "bearer" or not same:
                raise HTTPException(
                    401,
                    "expected the header 'Authorization: Bearer TOKEN' with the service's token",
                    {"WWW-Authenticate": "Bearer"},
                )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def hosts_for(host: str, allowed: Iterable[str]) -> frozenset[str] | None:
    """The names that a service answers to.

    Args:
        host: The address that it listens on.
        allowed: Names that its owner gave.

    Returns:
        The names in lower case; None: any, where it listens to other machines and none were given.
    """
    named = frozenset(name.lower() for name in allowed)
    if is_loopback(host):
        return named | {"localhost", "127.0.0.1", "::1", host.lower()}
    return named | {host.lower()} if named else None


def read_token(file: str | None, environment: Mapping[str, str]) -> str | None:
    """The token, from a file or the environment: a command line is seen by everyone.

    Args:
        file: A file that holds nothing else; None: look into the environment.
        environment: Where `TOKEN_VARIABLE` may stand.

    Returns:
        The token; None: there is none.

    Raises:
        ConfigError: The file cannot be read, or the token is empty or not plain ASCII.
    """
    if file is None:
        if TOKEN_VARIABLE not in environment:
            return None
        text, where = environment[TOKEN_VARIABLE], f"variable {TOKEN_VARIABLE}"
    else:
        where = f"token file {file!r}"
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as err:
            raise ConfigError(f"{where}: cannot be read ({err})") from err
        if os.name == "posix" and Path(file).stat().st_mode & 0o077:
            log.warning("%s can be read by other users; run: chmod 600 %s", where, file)
    token = text.strip()
    if not (token and token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError(f"{where}: expected one word of ASCII characters")
    return token


def _host_name(host: str) -> str:
    """A Host header without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:  # such as "[::1"
        return ""
