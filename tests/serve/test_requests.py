"""Broken requests: each is refused with one shape of error, and the service goes on."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import h5py
import httpx
import numpy as np
import pytest

from bpnet import Localizer
from bpnet.errors import ConfigError
from bpnet.serve.limits import Limits
from bpnet_features import open_features

Serving = Callable[..., AbstractContextManager[httpx.Client]]

GOOD = {"video_id": "v0", "queries": ["the small circle spins"]}
JSON = {"content-type": "application/json"}
NAMES = ["../../etc/passwd", "/etc/passwd", "a\\..\\b.mp4", "x\0y", "  ", "ü" * 400, "con", "-rf"]


def refused(response: httpx.Response, status: int, error: str) -> str:
    """The message of an error, which is of the one shape."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error", "message"}
    assert body["error"] == error, body
    assert "Traceback" not in body["message"]
    return str(body["message"])


@pytest.fixture(scope="module")
def small(serving: Serving) -> Iterator[httpx.Client]:
    """A client of a service with small limits."""
    with serving(max_queries=8, max_query_chars=100, max_upload_mb=1) as found:
        yield found


@pytest.mark.parametrize(
    ("change", "status", "error", "message"),
    [
        ({"video_id": "v99"}, 404, "MissingVideoError", "'v99' is not open, nor among the 12 st"),
        ({"video_id": "../v0"}, 404, "MissingVideoError", "'../v0' is not open"),
        ({"video_id": ""}, 422, "InvalidRequest", "video_id: .* at least 1 character"),
        ({"video_id": 7}, 422, "InvalidRequest", "video_id: .* valid string"),
        ({"queries": []}, 422, "InvalidRequest", "queries: 0: expected 1 to 8 sentences"),
        ({"queries": ["a"] * 9}, 422, "InvalidRequest", "queries: 9: expected 1 to 8"),
        ({"queries": "a" * 101}, 422, "InvalidRequest", "of 101 characters: expected at most 100"),
        ({"queries": ["spins", ""]}, 422, "AnnotationError", "query '' has no words"),
        ({"queries": ["\ud800?"]}, 422, "AnnotationError", "has no words"),
        ({"video_id": "\ud800"}, 422, "InvalidRequest", "video_id: .* valid string"),
        ({"queries": [["a"]]}, 422, "InvalidRequest", "queries.* valid string"),
        ({"queries": None}, 422, "InvalidRequest", "queries.*string"),
        ({"top": 0}, 422, "InvalidRequest", "top: .* greater than or equal to 1"),
        ({"top": 101}, 422, "InvalidRequest", "top: .* less than or equal to 100"),
        ({"top": 1.5}, 422, "InvalidRequest", "top: .* valid integer"),
        ({"top": True}, 422, "InvalidRequest", "top: .* valid integer"),
        ({"top": "5"}, 422, "InvalidRequest", "top: .* valid integer"),
        ({"min_score": float("nan")}, 422, "InvalidRequest", "min_score.* finite"),
        ({"min_score": float("inf")}, 422, "InvalidRequest", "min_score.* finite"),
        ({"min_score": "high"}, 422, "InvalidRequest", "min_score.* 'auto'"),
        ({"mn_score": 1}, 422, "InvalidRequest", "mn_score: Extra inputs"),
    ],
)
def test_broken_questions(
    small: httpx.Client, change: dict[str, Any], status: int, error: str, message: str
) -> None:
    response = small.post("/localize", content=json.dumps(GOOD | change), headers=JSON)
    found = refused(response, status, error)
    assert re.search(message, found), found
    assert small.post("/localize", json=GOOD).status_code == 200


@pytest.mark.parametrize("path", ["/localize", "/videos"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a":1}'])
def test_broken_json(small: httpx.Client, path: str, body: bytes) -> None:
    refused(small.post(path, content=body, headers=JSON), 422, "InvalidRequest")


@pytest.mark.parametrize("path", ["/localize", "/videos"])
def test_deep_json(small: httpx.Client, path: str) -> None:
    response = small.post(path, content=b"[" * 9000, headers=JSON)
    assert response.status_code in (400, 422)
    assert set(response.json()) == {"error", "message"}


def test_other_bodies(small: httpx.Client, video_file: Path) -> None:
    message = refused(small.post("/videos", content=b"x"), 415, "UnsupportedMediaType")
    assert message.endswith("expected multipart/form-data or application/json")
    boundary = {"content-type": "multipart/form-data; boundary=x"}
    refused(small.post("/videos", content=b"nothing", headers=boundary), 400, "BadRequest")
    no_boundary = {"content-type": "multipart/form-data"}
    refused(small.post("/videos", content=b"nothing", headers=no_boundary), 400, "BadRequest")
    text = small.post("/videos", data={"file": "x"}, files={"other": b""})
    assert "file: expected" in refused(text, 422, "InvalidRequest")
    two = small.post("/videos", files=[("file", b"a"), ("file", b"b")])
    assert "Too many files" in refused(two, 400, "BadRequest")


def test_paths_and_methods(small: httpx.Client) -> None:
    refused(small.get("/nothing"), 404, "NotFound")
    refused(small.get("/localize"), 405, "MethodNotAllowed")
    response = small.put("/videos", json={})
    refused(response, 405, "MethodNotAllowed")
    assert response.headers["allow"] == "GET, POST"
    for name in ("gone", "", "a/b", "..%2f..%2fetc%2fpasswd", quote("日本")):
        refused(small.delete(f"/videos/{name}"), 404, "MissingVideoError")


def test_names_of_uploads_are_no_paths(
    serving: Serving, grid_localizer: Localizer, video_file: Path, temporary: Path
) -> None:
    with serving(grid_localizer, None) as client:
        for name in NAMES:
            opened = client.post("/videos", files={"file": (name, video_file.read_bytes())})
            assert opened.status_code == 201, opened.text
            assert opened.json()["video_id"].startswith("upload-")
            listed = client.get("/videos").json()["videos"][0]
            assert listed == opened.json()
            assert len(listed["name"]) <= 200
        # The folder of the service is all that was made, and nothing is in it.
        assert list(temporary.parent.iterdir()) == [temporary]
        (folder,) = temporary.iterdir()
        assert list(folder.iterdir()) == []


def test_broken_videos(
    serving: Serving, grid_localizer: Localizer, video_file: Path, temporary: Path
) -> None:
    good = video_file.read_bytes()
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    concat = f"ffconcat version 1.0\nfile '{video_file}'\n".encode()
    with serving(grid_localizer, None, max_duration_seconds=3.0) as client:
        for data in (b"", b"text", good[:1000], playlist, concat, b"\0" * 4096):
            response = client.post("/videos", files={"file": ("a.mp4", data)})
            message = refused(response, 422, "FeatureError")
            assert "the upload" in message and str(temporary) not in message
        long = client.post("/videos", files={"file": ("a.mp4", good)})
        assert "lasts 4 s: expected at most 3 s" in refused(long, 422, "FeatureError")
        assert client.get("/videos").json()["videos"] == []
        assert [path for path in temporary.rglob("*") if path.is_file()] == []
    with serving() as client:  # whose checkpoint reads features that nobody can extract here
        response = client.post("/videos", files={"file": ("a.mp4", good)})
        assert "backbone='tiny' cannot be extracted" in refused(response, 422, "FeatureError")


def test_damaged_features_tell_no_path(
    serving: Serving, localizer: Localizer, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file.create_dataset("a", data=np.full((4, 8), np.nan))
    features = open_features(tmp_path / "plain.h5", default_spec=localizer.feature_spec)
    with serving(features=features) as client:
        message = refused(
            client.post("/localize", json=GOOD | {"video_id": "a"}), 422, "FeatureError"
        )
        assert "NaN or infinite" in message
        assert str(tmp_path) not in message


def test_bodies_that_are_too_large(small: httpx.Client) -> None:
    limits = Limits(max_queries=8, max_query_chars=100, max_upload_mb=1)
    for path in ("/localize", "/videos"):
        stated = small.post(path, content=b" " * (limits.json_bytes + 1), headers=JSON)
        assert f"larger than {limits.json_bytes} bytes" in refused(stated, 413, "TooLarge")
        counted = small.post(path, content=iter([b" " * 60000] * 2), headers=JSON)
        refused(counted, 413, "TooLarge")
    upload = small.post("/videos", files={"file": b"x" * (limits.upload_bytes + 1)})
    refused(upload, 413, "TooLarge")
    form = {"content-type": "multipart/form-data; boundary=x"}
    head = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
    pieces = iter([head, *[b"x" * 2**16] * 20])
    refused(small.post("/videos", content=pieces, headers=form), 413, "TooLarge")


def test_the_longest_request_fits(small: httpx.Client) -> None:
    """Each character escaped as two halves."""
    asked = GOOD | {"queries": ["\N{GRINNING FACE}" * 99 + "a"] * 8}
    body = json.dumps(asked)
    assert len(body) > 9000
    assert small.post("/localize", content=body, headers=JSON).status_code == 200


def test_a_client_that_falls_silent(serving: Serving) -> None:
    with serving(body_seconds=1) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port)) as slow:
            head = "POST /localize HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n"
            slow.sendall(f"{head}content-type: application/json\r\n\r\n{{".encode())
            slow.settimeout(20)
            answer = b""
            while not answer.endswith(b"}"):
                answer += slow.recv(2**16)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"nothing of the body came for 1 s" in answer


def test_too_many_at_once(serving: Serving) -> None:
    with serving(max_requests=1) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port)) as slow:
            head = "POST /localize HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n"
            slow.sendall(f"{head}content-type: application/json\r\n\r\n{{".encode())
            while client.get("/health").json()["running_requests"] == 0:
                time.sleep(0.01)
            response = client.post("/localize", json=GOOD)
            assert "1 requests wait already" in refused(response, 503, "Busy")
            assert response.headers["retry-after"] == "1"
        while client.get("/health").json()["running_requests"] > 0:  # it has gone away
            time.sleep(0.01)
        assert client.post("/localize", json=GOOD).status_code == 200


def test_uploads_wait_for_one_another(serving: Serving) -> None:
    with serving(max_uploads=1) as client, ThreadPoolExecutor(1) as pool:
        with socket.create_connection((client.base_url.host, client.base_url.port)) as slow:
            head = "POST /videos HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 999\r\n"
            slow.sendall(f"{head}content-type: multipart/form-data; boundary=x\r\n\r\n".encode())
            while client.get("/health").json()["running_requests"] == 0:
                time.sleep(0.01)
            waiting = pool.submit(client.post, "/videos", files={"file": b"x"})
            while client.get("/health").json()["running_requests"] == 1:
                time.sleep(0.01)
            assert client.post("/localize", json=GOOD).status_code == 200
            assert not waiting.done()
        refused(waiting.result(), 422, "FeatureError")  # it was no video


@pytest.mark.parametrize("change", [{"max_videos": 0}, {"body_seconds": float("nan")}])
def test_limits_that_are_none(change: dict[str, Any]) -> None:
    ((name, value),) = change.items()
    with pytest.raises(ConfigError, match=f"{name}={value}: expected a number >= 1"):
        Limits(**change)
