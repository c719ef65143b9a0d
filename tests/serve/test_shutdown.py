"""`bpnet serve` as a process of its own: what is finished when it is told to end."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import tiny_run
from service_process import serve_process

from bpnet_features import FeatureStore

QUERIES = [f"the small circle {word}" for word in tiny_run.WORDS]


def test_sigterm_finishes_what_was_accepted(
    run_dir: Path, store: FeatureStore, tmp_path: Path
) -> None:
    """32 clients have asked, most of them wait: each gets its whole answer, then status 0."""
    options = ["--features", store.path, "--drain-seconds", "600"]  # however busy the machine
    temporary = {"TMPDIR": str(tmp_path)}
    with serve_process(run_dir, *options, **temporary) as service:
        ready = threading.Barrier(33)

        def one(number: int) -> int:
            asked = {"video_id": f"v{number % 4}", "queries": QUERIES * 32, "top": 12}
            with httpx.Client(base_url=service.url, timeout=600) as client:
                client.get("/health")
                ready.wait(600)
                answer = client.post("/localize", json=asked)
            assert answer.status_code == 200, answer.text
            return len(answer.json()["answers"])

        with (
            ThreadPoolExecutor(32) as pool,
            httpx.Client(base_url=service.url, timeout=600) as watcher,
        ):
            # Longer than the model reads, of which the log is to say nothing.
            long = {"video_id": "v0", "queries": "spins " * 50}
            assert watcher.post("/localize", json=long).status_code == 200
            found = [pool.submit(one, number) for number in range(32)]
            ready.wait(600)
            while watcher.get("/health").json()["running_requests"] < 24:
                assert not all(one.done() for one in found), "too quick to be watched"
            waiting = sum(not one.done() for one in found)
            service.process.send_signal(signal.SIGTERM)
            assert [one.result() for one in found] == [128] * 32
        assert waiting >= 24
        assert service.end() == (0, "")
    assert list(tmp_path.iterdir()) == []  # of temporary files


@pytest.mark.slow
def test_sigterm_between_requests(run_dir: Path, store: FeatureStore) -> None:
    """Clients that ask on and on: what is answered is whole, then nobody listens any more."""
    with serve_process(run_dir, "--features", store.path) as service:
        answered: list[int] = []

        def one(number: int) -> str:
            asked = {"video_id": f"v{number}", "queries": QUERIES}
            with httpx.Client(base_url=service.url, timeout=600) as client:
                while True:
                    try:
                        response = client.post("/localize", json=asked)
                    except (httpx.ConnectError, httpx.ReadError, httpx.WriteError):
                        return "gone"
                    except httpx.RemoteProtocolError as err:
                        return str(err)
                    assert response.status_code == 200, response.text
                    answered.append(len(response.json()["answers"]))

        with ThreadPoolExecutor(8) as pool:
            ends = [pool.submit(one, number) for number in range(8)]
            while len(answered) < 40:
                time.sleep(0.01)
            service.process.send_signal(signal.SIGTERM)
            # Not one answer was cut off in the middle, which httpx calls an incomplete one.
            without = "Server disconnected without sending a response."
            assert {end.result() for end in ends} <= {"gone", without}
        assert set(answered) == {4}
        assert service.end() == (0, "")
