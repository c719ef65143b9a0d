"""2,000 requests of 32 clients: no failure of the service, right answers, memory that stays."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import tiny_run
from service_process import serve_process

from bpnet import Localizer
from bpnet_features import FeatureWriter
from bpnet_features.backbones.grid import GRID_SPEC

NUM_VIDEOS = 10
KEPT = 6  # so that videos are closed and opened again all the time
MAX_GROWTH_MB = 12.0  # of several hundred: what an allocator may keep
QUERIES = [f"the {colour} circle {word}" for colour in ("red", "blue") for word in tiny_run.WORDS]
JSON = {"content-type": "application/json"}

Send = Callable[[httpx.Client, random.Random], "tuple[httpx.Response, int]"]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stored videos of several lengths."""
    path = tmp_path_factory.mktemp("load") / "features.h5"
    with FeatureWriter(path, GRID_SPEC) as writer:
        for number in range(NUM_VIDEOS):
            shape = (8 + number, GRID_SPEC.feature_dim)
            clips = np.random.default_rng(number).normal(size=shape).astype(np.float32)
            writer.add(f"v{number}", clips, duration_seconds=shape[0] / 2)
    return path


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads memory from /proc")
def test_2000_requests_of_32_clients(
    grid_run: Path,
    grid_localizer: Localizer,
    features: Path,
    video_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = {}
    for number in range(NUM_VIDEOS):
        video = grid_localizer.open_video(features, f"v{number}")
        for query, moments in zip(QUERIES, video.localize(QUERIES, top=12), strict=True):
            rows = [(one.start_seconds, one.end_seconds, one.score) for one in moments]
            expected[f"v{number}", query] = np.array(rows)
    film = video_file.read_bytes()
    answered = Counter[str]()

    def question(client: httpx.Client, rng: random.Random) -> tuple[httpx.Response, int]:
        video_id = f"v{rng.randrange(NUM_VIDEOS)}"
        queries = rng.sample(QUERIES, rng.randint(1, len(QUERIES)))
        top = rng.randint(1, 12)
        asked = {"video_id": video_id, "queries": queries, "top": top}
        response = client.post("/localize", json=asked)
        for query, answer in zip(queries, response.json()["answers"], strict=True):
            assert answer["query"] == query
            rows = [
                (one["start_seconds"], one["end_seconds"], one["score"])
                for one in answer["moments"]
            ]
            truth = expected[video_id, query][:top]
            np.testing.assert_allclose(rows, truth, atol=1e-5, rtol=0)
            answered["sentences"] += 1
        return response, 200

    def upload(client: httpx.Client, rng: random.Random) -> tuple[httpx.Response, int]:
        whole = rng.random() < 0.5
        data = film if whole else film[: rng.randrange(200)]
        response = client.post("/videos", files={"file": ("../a.mp4", data)})
        if whole:
            asked = {"video_id": response.json()["video_id"], "queries": "red"}
            # Other clients may have closed it since, by opening theirs.
            assert client.post("/localize", json=asked).status_code in (200, 404)
        return response, 201 if whole else 422

    def close(client: httpx.Client, rng: random.Random) -> tuple[httpx.Response, int]:
        response = client.delete(f"/videos/v{rng.randrange(NUM_VIDEOS)}")
        return response, response.status_code if response.status_code in (204, 404) else 204

    def broken(
        status: int, method: str, path: str, content: bytes = b"", headers: object = None
    ) -> Send:
        return lambda client, _: (
            client.request(method, path, content=content, headers=headers or JSON),  # type: ignore[arg-type]
            status,
        )

    sends: list[tuple[float, Send]] = [
        (50, question),
        (6, upload),
        (4, close),
        (4, lambda client, _: (client.post("/videos", json={"video_id": "v1"}), 201)),
        (3, lambda client, _: (client.get("/videos"), 200)),
        (3, lambda client, _: (client.get("/health"), 200)),
        (4, broken(404, "POST", "/localize", b'{"video_id": "gone", "queries": ["red"]}')),
        (4, broken(422, "POST", "/localize", b'{"video_id": "v0", "queries": ["?!"]}')),
        (4, broken(422, "POST", "/localize", b'{"video_id": "v0", "queries": ["red", ""]}')),
        (3, broken(422, "POST", "/localize", b'{"video_id": "v0", "queries": ["red"], "top": 0}')),
        (3, broken(422, "POST", "/localize", b'{"video_id": "v0", "que')),
        (3, broken(400, "POST", "/localize", b"\xff" * 5000)),
        (2, broken(413, "POST", "/localize", b" " * 4_000_000)),
        (2, broken(415, "POST", "/videos", b"x", {"content-type": "text/plain"})),
        (2, broken(404, "GET", "/../../etc/passwd")),
        (2, broken(405, "PUT", "/videos")),
        (1, broken(403, "GET", "/videos", headers={"origin": "https://evil.example"})),
    ]

    def one(number: int) -> tuple[int, int]:
        rng = random.Random(number)
        (send,) = rng.choices([send for _, send in sends], [weight for weight, _ in sends])
        response, status = send(clients[number % 32], rng)
        if response.status_code >= 400:
            assert set(response.json()) == {"error", "message"}
        return response.status_code, status

    options = ["--features", str(features), "--max-videos", str(KEPT)]
    with serve_process(grid_run, *options) as service, ThreadPoolExecutor(32) as pool:
        clients = [httpx.Client(base_url=service.url, timeout=120) for _ in range(32)]
        list(pool.map(one, range(10_000, 11_000)))  # warm-up
        before = resident_mb(service.process.pid)
        found = list(pool.map(one, range(2_000)))
        after = resident_mb(service.process.pid)
        for client in clients:
            client.close()
    wrong = [pair for pair in found if pair[0] != pair[1]]
    counts = dict(sorted(Counter(status for status, _ in found).items()))
    with capsys.disabled():
        print(f"\n{counts}, {answered['sentences']} sentences, {before:.1f} -> {after:.1f} MB")
    assert not wrong
    assert max(counts) < 500
    assert after - before < MAX_GROWTH_MB


def resident_mb(process_id: int) -> float:
    """Memory of a process that is in use, in megabytes."""
    status = Path(f"/proc/{process_id}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
