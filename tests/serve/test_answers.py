"""The service answers what the library answers, alone, in batches, and about uploads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tiny_run

from bpnet import Localizer, Moment
from bpnet.errors import AnnotationError
from bpnet.inference.opened import OpenedVideo
from bpnet.serve.batches import PASS_QUERIES, Answers, Batches
from bpnet_features import FeatureStore

QUERIES = [f"the small circle {word}" for word in tiny_run.WORDS]


def assert_same(found: Sequence[Any], expected: Sequence[Sequence[Moment]]) -> None:
    """Equal to 1e-5: a pass with other sentences may round otherwise."""
    assert len(found) == len(expected)
    for answer, moments in zip(found, expected, strict=True):
        expected_rows = [moment.to_dict() for moment in moments]
        assert [list(row) for row in answer] == [list(row) for row in expected_rows]
        rows = [[list(row.values()) for row in one] for one in (answer, expected_rows)]
        np.testing.assert_allclose(*rows, atol=1e-5, rtol=0)


def ask(client: httpx.Client, **asked: Any) -> list[Any]:
    response = client.post("/localize", json=asked)
    assert response.status_code == 200, response.text
    return [answer["moments"] for answer in response.json()["answers"]]


def test_answers_equal_those_of_the_library(
    client: httpx.Client, localizer: Localizer, store: FeatureStore
) -> None:
    for video_id in ("v0", "v3", "v11"):
        video = localizer.open_video(store, video_id)
        body = client.post("/localize", json={"video_id": video_id, "queries": QUERIES}).json()
        assert (body["video_id"], body["duration_seconds"]) == (video_id, video.duration_seconds)
        assert [answer["query"] for answer in body["answers"]] == QUERIES
        assert_same([a["moments"] for a in body["answers"]], video.localize(QUERIES))
    # Alone in its pass it is the same to the last bit, however often it went through JSON.
    (alone,) = ask(client, video_id="v3", queries=QUERIES[1], top=3)
    expected = localizer.open_video(store, "v3").localize(QUERIES[1], top=3)
    assert alone == [moment.to_dict() for moment in expected]


def test_min_score(client: httpx.Client, localizer: Localizer, store: FeatureStore) -> None:
    video, least = localizer.open_video(store, "v3"), localizer.least_score
    assert least is not None
    for given, bound in (("auto", least), (least, least), (2, 2.0)):
        found = ask(client, video_id="v3", queries=QUERIES, min_score=given)
        assert_same(found, video.localize(QUERIES, min_score=bound))


def test_many_clients_at_once(
    client: httpx.Client, localizer: Localizer, store: FeatureStore
) -> None:
    videos = {name: localizer.open_video(store, name) for name in ("v0", "v1", "v3")}

    def one(number: int) -> None:
        name, top = f"v{(0, 1, 3)[number % 3]}", 1 + number % 4
        queries = QUERIES[: 1 + number % len(QUERIES)]
        found = ask(client, video_id=name, queries=queries, top=top)
        assert_same(found, videos[name].localize(queries, top))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(48)))


def test_an_upload(
    serving: Callable[..., Any], grid_localizer: Localizer, video_file: Path, temporary: Path
) -> None:
    with serving(grid_localizer, None) as client, video_file.open("rb") as file:
        opened = client.post("/videos", files={"file": file})
        assert opened.status_code == 201, opened.text
        video = opened.json()
        assert (video["name"], video["source"]) == ("holiday.mp4", "upload")
        expected = grid_localizer.open_video(video_file)
        assert video["duration_seconds"] == expected.duration_seconds == pytest.approx(4)
        found = ask(client, video_id=video["video_id"], queries=["a circle slides"])
        assert_same(found, [expected.localize("a circle slides")])
        assert [path for path in temporary.rglob("*") if path.is_file()] == []
    assert list(temporary.iterdir()) == []


class Counting(ThreadPoolExecutor):
    """One thread, which can be kept busy, and says how often it was given work."""

    def __init__(self) -> None:
        super().__init__(1)
        self.count = 0
        self.free = threading.Event()
        super().submit(self.free.wait)

    def submit(self, *work: Any, **named: Any) -> Future[Any]:
        self.count += 1
        return super().submit(*work, **named)


@pytest.fixture
def video(localizer: Localizer, store: FeatureStore) -> OpenedVideo:
    return localizer.open_video(store, "v0")


def gathered(
    asked: Sequence[tuple[OpenedVideo, Sequence[str], int, float]],
) -> tuple[list[Answers | BaseException], int]:
    """What is answered to those who wait together, and the number of passes."""

    async def run(thread: Counting) -> list[Answers | BaseException]:
        batches = Batches(thread)
        waiting = [asyncio.create_task(batches.ask(*one)) for one in asked]
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.05, thread.free.set)
        return await asyncio.gather(*waiting, return_exceptions=True)

    with Counting() as thread:
        return asyncio.run(run(thread)), thread.count


def test_those_who_wait_share_a_pass(
    video: OpenedVideo, localizer: Localizer, store: FeatureStore
) -> None:
    other = localizer.open_video(store, "v3")
    asked = [
        (video, QUERIES[:1], 5, 0.0),
        (other, QUERIES[:2], 1, 0.0),
        (video, QUERIES[1:3], 2, 0.0),
        (video, QUERIES, 12, 0.5),
    ]
    found, passes = gathered(asked)
    assert passes == 2  # one a video
    for (one, *question), answer in zip(asked, found, strict=True):
        assert not isinstance(answer, BaseException)
        assert_same(
            [[moment.to_dict() for moment in moments] for moments in answer],
            one.localize(*question),
        )


def test_a_question_that_cannot_be_answered_fails_alone(video: OpenedVideo) -> None:
    found, passes = gathered([(video, QUERIES[:1], 5, 0.0), (video, ["?!"], 5, 0.0)])
    assert passes == 1
    assert found[0] == [video.localize(QUERIES[0])]
    assert isinstance(found[1], AnnotationError)


def test_a_pass_has_its_size(video: OpenedVideo, localizer: Localizer, store: FeatureStore) -> None:
    """Whoever asks little about another video waits for one pass of a busy one, not for all."""
    other = localizer.open_video(store, "v3")
    half = [QUERIES[0]] * (PASS_QUERIES // 2)
    found, passes = gathered([*[(video, half, 1, 0.0)] * 6, (other, QUERIES, 1, 0.0)])
    assert passes == 4
    assert [len(answer) for answer in found if isinstance(answer, list)] == [128] * 6 + [4]
