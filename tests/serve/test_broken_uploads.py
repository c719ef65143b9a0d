"""Uploads as strangers send them: refused with a reason, or opened; and given up at the end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

pytest.importorskip("av")

from made_videos import write_no_videos, write_odd_videos

from bpnet import Localizer
from bpnet.errors import FeatureError
from bpnet.serve.limits import Limits
from bpnet.serve.service import Service

Serving = Callable[..., AbstractContextManager[httpx.Client]]


def test_files_of_strangers(
    serving: Serving, grid_localizer: Localizer, tmp_path: Path, temporary: Path
) -> None:
    wrong = write_no_videos(tmp_path)
    (tmp_path / "odd").mkdir()
    odd = write_odd_videos(tmp_path / "odd")
    with serving(grid_localizer, None) as client:
        for name, match in wrong.items():
            answer = client.post("/videos", files={"file": (name, (tmp_path / name).read_bytes())})
            assert answer.status_code == 422, name
            message = answer.json()["message"]
            assert re.search(f"the upload.*({match})", message), message
            assert str(temporary) not in message
        for name, seconds in odd.items():
            file = (tmp_path / "odd" / name).read_bytes()
            answer = client.post("/videos", files={"file": (name, file)})
            assert answer.status_code == 201, answer.text
            assert answer.json()["name"] == name[:200]
            assert answer.json()["duration_seconds"] == pytest.approx(seconds, abs=0.2)
            asked = {"video_id": answer.json()["video_id"], "queries": "a circle slides"}
            assert client.post("/localize", json=asked).json()["answers"][0]["moments"]
        assert not list(temporary.rglob("upload-*"))


def test_the_end_gives_up_what_is_decoded(
    grid_localizer: Localizer, video_file: Path, tmp_path: Path
) -> None:
    service = Service(grid_localizer, None, Limits())
    service.videos.end()
    with video_file.open("rb") as file:
        with pytest.raises(FeatureError, match="the service ended before the video was open"):
            asyncio.run(service.videos.upload(file, "a.mp4", tmp_path, 100.0))
    assert list(tmp_path.iterdir()) == []
    service.close()
