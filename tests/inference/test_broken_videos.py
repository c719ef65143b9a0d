"""Video files as strangers have them, from the file to the moments: a clear error, or an answer."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av")

from made_videos import squares, write_no_videos, write_odd_videos, write_video

from bpnet import Localizer
from bpnet.errors import ConfigError, FeatureError
from bpnet_features.backbones.grid import GRID_SPEC

QUERY = "the small circle spins"


@pytest.fixture(scope="module")
def reads_files(tmp_path_factory: pytest.TempPathFactory) -> Localizer:
    """A model of `grid` features; it has learned next to nothing, and need not."""
    import tiny_run

    from bpnet.training.run import train
    from bpnet_features.extract_many import extract_videos

    root, run_dir = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("run")
    tiny_run.write_dataset(root)
    steps = [number % 48 for number in range(64)]
    videos = [write_video(root / f"v{number}.mp4", squares(steps)) for number in range(12)]
    extract_videos(videos, root / "features.h5", progress=False)
    train(tiny_run.config(root, trainer__max_steps=1, trainer__calibrate=False), run_dir)
    return Localizer.from_pretrained(run_dir, "cpu")


def test_what_is_no_video(reads_files: Localizer, tmp_path: Path) -> None:
    assert reads_files.feature_spec == GRID_SPEC
    wrong = write_no_videos(tmp_path)
    (tmp_path / "folder.mp4").mkdir()
    wrong |= {"folder.mp4": "a folder; give a video file", "gone.mp4": "no such file"}
    for name, match in wrong.items():
        with pytest.raises(FeatureError, match=rf"{re.escape(name)}'?: .*({match})"):
            reads_files.open_video(tmp_path / name)


def test_odd_videos(
    reads_files: Localizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, seconds in write_odd_videos(tmp_path).items():
        video = reads_files.open_video(str(tmp_path / name))
        assert video.duration_seconds == pytest.approx(seconds, abs=0.2), name
        for moment in video.localize(QUERY):
            assert 0 <= moment.start_seconds < moment.end_seconds <= video.duration_seconds
    told = [record.getMessage() for record in caplog.records if "corrupt" in record.getMessage()]
    assert told == [f"{tmp_path / 'hurt.avi'}: 2 corrupt frames were skipped"]


@pytest.mark.parametrize("source", [None, 3, b"v.mp4"])
def test_what_is_no_source(reads_files: Localizer, source: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{source!r}: expected a video file, features, or an"):
        reads_files.open_video(source)


def test_progress_of_an_extraction(reads_files: Localizer, tmp_path: Path) -> None:
    """It is told again and again, from none to all; what it raises ends the work at once."""
    path = write_video(tmp_path / "long.mp4", squares([number % 48 for number in range(400)]))
    told: list[tuple[float, float]] = []
    video = reads_files.open_video(path, progress=lambda *now: told.append(now))
    seconds = [done for done, _ in told]
    assert {total for _, total in told} == {video.duration_seconds}
    assert seconds[0] == 0 and seconds[-1] == pytest.approx(50.0)
    assert len(seconds) > 4 and seconds == sorted(seconds)

    def stop(done: float, _: float) -> None:
        if done > 10:
            raise InterruptedError(done)

    with pytest.raises(InterruptedError, match="16"):  # the third block of 8 seconds is not begun
        reads_files.open_video(path, progress=stop)
    again = reads_files.open_video(path)
    assert again.localize(QUERY) == video.localize(QUERY)


def test_words_that_nobody_taught(
    reads_files: Localizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video = reads_files.open_video(write_video(tmp_path / "v.mp4", squares(range(40))))
    with caplog.at_level(logging.WARNING):
        assert len(video.localize([QUERY, "маленький круг"])) == 2
    (record,) = caplog.records
    assert record.getMessage() == (
        "1 of 2 queries of words that the model does not know: expect little ('маленький круг' ...)"
    )


@pytest.mark.slow
def test_ten_thousand_sentences(reads_files: Localizer, tmp_path: Path) -> None:
    """Each is answered, in the order asked, as it is alone; and somebody hears of it meanwhile."""
    video = reads_files.open_video(write_video(tmp_path / "v.mp4", squares(range(40))))
    some = [f"the small circle {word}" for word in ("spins", "jumps", "slides to it", "blinks")]
    told: list[int] = []
    answers = video.localize(some * 2500, top=2, progress=lambda done, _: told.append(done))
    assert len(answers) == told[-1] == 10_000 and len(told) > 10
    for place, query in enumerate(some):
        alone = [one.to_dict() for one in video.localize(query, top=2)]
        for answer in answers[place :: 1111 * len(some)]:
            assert [one.to_dict() for one in answer] == [
                pytest.approx(one, abs=1e-4) for one in alone
            ]
