"""Where the page and the service listen."""

from __future__ import annotations

import socket

import pytest

from bpnet.errors import ConfigError
from bpnet.web.listen import address, listen


def test_an_address_is_taken_at_once() -> None:
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        assert address(listening) == f"http://127.0.0.1:{port}"
        socket.create_connection(("127.0.0.1", port), 5).close()
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1 port {port} .*another --host"):
            listen("127.0.0.1", port)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_an_address_of_version_six() -> None:
    try:
        listening = listen("::1", 0)
    except ConfigError as err:
        pytest.skip(str(err))
    with listening:
        assert address(listening) == f"http://[::1]:{listening.getsockname()[1]}"


@pytest.mark.parametrize(
    ("host", "port", "match"),
    [
        ("127.0.0.1", 65536, r"port=65536: expected 0 to 65535"),
        ("127.0.0.1", -1, r"port=-1"),
        ("192.0.2.1", 0, r"cannot listen on 192\.0\.2\.1"),  # of nobody: documentation's
        ("no.such.host.invalid", 0, r"cannot listen on no\.such\.host\.invalid"),
    ],
)
def test_what_is_no_address(host: str, port: int, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        listen(host, port)
