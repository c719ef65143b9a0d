"""Access: the token, where it is read from, and requests of foreign web pages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from bpnet.errors import ConfigError
from bpnet.serve.access import TOKEN_VARIABLE, Access, hosts_for, is_loopback, read_token

Serving = Callable[..., AbstractContextManager[httpx.Client]]

TOKEN = "s3cret-Token"
GOOD = {"video_id": "v0", "queries": ["the small circle spins"]}


@pytest.fixture(scope="module")
def secured(serving: Serving) -> Iterator[httpx.Client]:
    """A client, without the token, of a service that asks for one."""
    with serving(access=Access(TOKEN, hosts_for("127.0.0.1", ["Video.example"]))) as client:
        yield client


@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ü", f"Bearer{TOKEN}"],
)
def test_without_the_token(secured: httpx.Client, given: str | None) -> None:
    headers = {} if given is None else {"authorization": given.encode()}
    calls = [
        secured.post("/localize", json=GOOD, headers=headers),
        secured.post("/videos", content=b"not even read", headers=headers),
        secured.get("/videos", headers=headers),
        secured.delete("/videos/v0", headers=headers),
        secured.get("/nothing", headers=headers),
    ]
    for response in calls:
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["error"] == "Unauthorized"
        assert TOKEN not in response.text


def test_with_the_token(secured: httpx.Client) -> None:
    for scheme in ("Bearer", "bearer"):
        headers = {"authorization": f"{scheme} {TOKEN}"}
        assert secured.post("/localize", json=GOOD, headers=headers).status_code == 200
    for path in ("/health", "/docs", "/docs/swagger-ui.css", "/openapi.json"):
        assert secured.get(path).status_code == 200
    assert secured.get("/openapi.json").json()["paths"]["/videos"]["get"]["security"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example:8000"}, 403),
        ({"host": "[::1"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "localhost:80", "origin": "http://localhost:80"}, 200),
        ({"host": "[::1]:80"}, 200),
        ({"host": "LOCALHOST"}, 200),
        ({"host": "video.example"}, 200),
    ],
)
def test_foreign_pages(secured: httpx.Client, headers: dict[str, str], status: int) -> None:
    response = secured.get("/health", headers=headers)
    assert response.status_code == status
    assert status == 200 or response.json()["error"] == "Forbidden"


def test_hosts() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.2", "example.org"))
    assert hosts_for("0.0.0.0", []) is None
    assert hosts_for("0.0.0.0", ["A.example"]) == {"0.0.0.0", "a.example"}
    assert "127.9.9.9" in (hosts_for("127.9.9.9", []) or ())


def test_reading_the_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    assert read_token(str(file), {TOKEN_VARIABLE: "other"}) == TOKEN
    assert read_token(None, {TOKEN_VARIABLE: "other"}) == "other"
    assert read_token(None, {}) is None
    assert not caplog.records
    file.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert read_token(str(file), {}) == TOKEN
    assert "can be read by other users; run: chmod 600" in caplog.text
    assert TOKEN not in repr(Access(TOKEN))


@pytest.mark.parametrize("text", ["", " \n", "two words", "schlüssel", "a\0b"])
def test_tokens_that_are_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"token file .*token': expected one word of ASCII"):
        read_token(str(file), {})
    with pytest.raises(ConfigError, match=f"variable {TOKEN_VARIABLE}: expected one word"):
        read_token(None, {TOKEN_VARIABLE: text})


def test_a_token_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"token file .*gone': cannot be read"):
        read_token(str(tmp_path / "gone"), {})
