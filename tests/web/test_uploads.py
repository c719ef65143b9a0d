"""What of a stranger's file is refused before it is decoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpnet.errors import FeatureError
from bpnet.web import uploads
from bpnet.web.uploads import check_upload
from bpnet_features.sample import render_sample
from bpnet_features.video import probe

pytest.importorskip("av")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (made,) = render_sample(tmp_path_factory.mktemp("sample"), 1, progress=False)
    return made


def test_a_video_passes(video: Path) -> None:
    check_upload(video)


def test_a_list_of_files_does_not(video: Path) -> None:
    """FFmpeg would open the file that it names, and show it."""
    playlist = video.parent / "holiday.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile {video.name}\n")
    assert probe(playlist).width == probe(video).width
    with pytest.raises(FeatureError, match=r"holiday.mp4'.*expected one of mov, matroska, "):
        check_upload(playlist)


def test_neither_do_frames_that_fill_the_memory(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = probe(video)
    monkeypatch.setattr(uploads, "MAX_PIXELS", info.width * info.height)
    check_upload(video)
    monkeypatch.setattr(uploads, "MAX_PIXELS", info.width * info.height - 1)
    with pytest.raises(FeatureError, match=f"frames of {info.width} x {info.height} pixels"):
        check_upload(video)
