"""Open videos: by id, bounded in number, the least recently used closed first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
import tiny_run

from bpnet import Localizer

Serving = Callable[..., AbstractContextManager[httpx.Client]]


@pytest.fixture
def three(serving: Serving) -> Iterator[httpx.Client]:
    """A client of a service that keeps three videos."""
    with serving(max_videos=3) as client:
        yield client


def opened(client: httpx.Client) -> list[str]:
    body = client.get("/videos").json()
    assert body["max_videos"] == 3
    return [video["video_id"] for video in body["videos"]]


def test_the_least_recently_used_is_closed(three: httpx.Client) -> None:
    assert opened(three) == []
    for name in ("v0", "v1", "v2"):
        response = three.post("/videos", json={"video_id": name})
        assert response.status_code == 201
        expected = {"video_id": name, "name": name, "source": "store", "duration_seconds": 8.0}
        assert response.json() == expected
    assert opened(three) == ["v2", "v1", "v0"]
    three.post("/localize", json={"video_id": "v0", "queries": "spins"})
    assert opened(three) == ["v0", "v2", "v1"]
    three.post("/videos", json={"video_id": "v2"})
    three.post("/localize", json={"video_id": "v3", "queries": "spins"})  # needs no opening before
    assert opened(three) == ["v3", "v2", "v0"]
    assert three.get("/health").json()["open_videos"] == 3


def test_videos_that_leave_no_room_are_closed(serving: Serving, run_dir: Path) -> None:
    """Not the next video is refused, but the one that was not used for longest is closed."""
    room = Localizer.from_pretrained(run_dir, device="cpu")
    video = room.open_video(tiny_run.trained()[0] / "features.h5", "v0")
    each = room.session.stats().pinned_bytes
    assert video.duration_seconds == 8.0 and each > 0
    small = Localizer.from_pretrained(run_dir, device="cpu", budget_bytes=5 * each)
    with serving(small, max_videos=100) as client:
        for number in range(8):
            response = client.post("/videos", json={"video_id": f"v{number}"})
            assert response.status_code == 201
            assert 1 <= client.get("/health").json()["open_videos"] <= 3


def test_closing(three: httpx.Client) -> None:
    three.post("/videos", json={"video_id": "v0"})
    response = three.delete("/videos/v0")
    assert (response.status_code, response.content) == (204, b"")
    assert opened(three) == []
    assert three.delete("/videos/v0").status_code == 404


def test_a_video_that_many_want_is_opened_once(three: httpx.Client, localizer: Localizer) -> None:
    encoded: list[int] = []
    hook = localizer.judge.model.encoder.video_projection.register_forward_hook(
        lambda *_: encoded.append(1)
    )
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(
                pool.map(lambda _: three.post("/videos", json={"video_id": "v4"}), range(16))
            )
    finally:
        hook.remove()
    assert {response.status_code for response in found} == {201}
    assert len(encoded) == 1


def test_an_upload_that_was_closed_is_gone(
    serving: Serving, grid_localizer: Localizer, video_file: Path
) -> None:
    with serving(grid_localizer, None, max_videos=1) as client:
        ids = [
            client.post("/videos", files={"file": video_file.read_bytes()}).json()["video_id"]
            for _ in range(2)
        ]
        asked = [client.post("/localize", json={"video_id": i, "queries": "a"}) for i in ids]
        assert [response.status_code for response in asked] == [404, 200]
        assert "an upload that was closed must be sent again" in asked[0].json()["message"]
        # Who asks a service without features for one of them is told the same.
        assert client.post("/videos", json={"video_id": "v0"}).status_code == 404
