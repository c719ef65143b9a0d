"""The service of soak.py, and a client that asks it all the time, rightly and wrongly."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import requests
from soak_jobs import ENVIRONMENT, QUERIES, Bench

JSON = {"Content-Type": "application/json"}
# Body and content type of a bad request, its path, and the status that it must get.
BROKEN: tuple[tuple[str, bytes, dict[str, str], int], ...] = (
    ("/localize", b'{"video_id": "gone", "queries": ["red"]}', JSON, 404),
    ("/localize", b'{"video_id": "sample_0003", "queries": ["?!"]}', JSON, 422),
    ("/localize", b'{"video_id": "sample_0003", "que', JSON, 422),
    ("/localize", b"\xff" * 5000, JSON, 400),
    ("/localize", b" " * 4_000_000, JSON, 413),
    ("/videos", b"x", {"Content-Type": "text/plain"}, 415),
)


class Service:
    """``bpnet serve`` in a process of its own, asked by a thread, until its block ends.

    Args:
        bench: Where its checkpoint and features lie, and what the right answers are.
        rng: Decides what is asked.

    Attributes:
        statuses: How many answers there were, by status.
        faults: What went wrong, a line each.
    """

    def __init__(self, bench: Bench, rng: random.Random) -> None:
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []
        self._bench, self._rng = bench, rng
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask_on)

    def __enter__(self) -> Service:
        words = ("serve", "--checkpoint", "run", "--features", "all.h5", "--port", "0")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bpnet.cli.main", *words, "--device", "cpu"],
            cwd=self._bench.folder,
            env=ENVIRONMENT,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        if not line.startswith("serving on "):
            raise RuntimeError(line + self._process.stderr.read())
        self._url = line.split()[2].rstrip(",")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._process.terminate()
        error = self._process.communicate(timeout=120)[1]
        if self._process.returncode != 0:
            self.faults.append(f"the service ended with {self._process.returncode}: {error}")

    def settle(self) -> None:
        """Wait until the client has asked some more."""
        wanted = self.statuses.total() + 20
        while self._thread.is_alive() and self.statuses.total() < wanted:
            self._stop.wait(0.1)

    def resident_mb(self) -> float:
        """Memory of the service."""
        text = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        (line,) = (line for line in text.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024

    def _ask_on(self) -> None:
        with requests.Session() as session:
            while not self._stop.is_set():
                try:
                    self._ask(session)
                except Exception as err:
                    self.faults.append(f"service: {type(err).__name__}: {err}")
                    if len(self.faults) > 20:
                        return

    def _ask(self, session: requests.Session) -> None:
        """One request; what it must get is known."""
        kind = self._rng.random()
        if kind < 0.6:
            asked = {"video_id": "sample_0003", "queries": QUERIES}
            answer = session.post(f"{self._url}/localize", json=asked, timeout=300)
            status = 200
            self._compare(answer)
        elif kind < 0.8:
            path, body, headers, status = self._rng.choice(BROKEN)
            answer = session.post(f"{self._url}{path}", data=body, headers=headers, timeout=300)
        else:
            film = self._rng.choice(self._bench.videos).read_bytes()
            whole = kind < 0.9
            sent = film if whole else film[: self._rng.randrange(200)]
            status = 201 if whole else 422
            files = {"file": ("../film.mp4", sent)}
            answer = session.post(f"{self._url}/videos", files=files, timeout=300)
        self.statuses[answer.status_code] += 1
        if answer.status_code != status:
            raise AssertionError(f"status {answer.status_code}, not {status}: {answer.text[:300]}")

    def _compare(self, answer: requests.Response) -> None:
        for moments, row in zip(self._bench.answers, answer.json()["answers"], strict=True):
            for moment, one in zip(moments, row["moments"], strict=True):
                if abs(moment.start_seconds - one["start_seconds"]) > 1e-4:
                    raise AssertionError(f"another answer: {one}, not {moment}")
