"""A real HTTP server on this machine that answers as it is told: ranges, breaks, refusals."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

CONTENT = np.random.default_rng(0).bytes(300_000)

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Gives the next answer that is waiting for a path, or the file, with ranges."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        answers = self.server.answers.get(self.path, [])
        answer = answers.pop(0) if answers else whole
        answer(self)

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    @property
    def content(self) -> bytes:
        return self.server.files[self.path]

    @property
    def first(self) -> int:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "bytes=0-")
        assert found
        return int(found[1])

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Files by path, the answers that take their place, and what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, str | None]] = []

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def whole(handler: Handler) -> None:
    """The file, or the rest that was asked for."""
    cut(None)(handler)


def cut(after: int | None, ranges: bool = True) -> Answer:
    """Announce everything, and hang up after some bytes."""

    def answer(handler: Handler) -> None:
        content, first = handler.content, handler.first if ranges else 0
        if handler.headers.get("Range") and ranges:
            span = f"bytes {first}-{len(content) - 1}/{len(content)}"
            handler.head(206, Content_Length=len(content) - first, Content_Range=span)
        else:
            handler.head(200, Content_Length=len(content))
        handler.wfile.write(content[first:][:after])

    return answer


def status(number: int, text: bytes = b"<html>no</html>", **headers: object) -> Answer:
    def answer(handler: Handler) -> None:
        handler.head(number, Content_Length=len(text), **headers)
        handler.wfile.write(text)

    return answer


def body(content: bytes, **headers: object) -> Answer:
    """A 200 of some content, which ends when the server hangs up."""

    def answer(handler: Handler) -> None:
        handler.head(200, **headers)
        try:
            handler.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the other side cut it off

    return answer


def running_server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()
