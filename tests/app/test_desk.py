"""What is taken in, what is refused, what is answered, what is left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("av")

from app_parts import QUERIES, SESSION, silent
from made_videos import write_no_videos, write_odd_videos

from bpnet import BPNetError, Localizer
from bpnet.app.desk import Desk
from bpnet.app.limits import Limits
from bpnet.errors import AnnotationError, ConfigError, FeatureError

Make = Callable[..., Desk]
OURS = "one of ours.mp4"


def sent(video: Path, tmp_path: Path, name: str) -> Path:
    """A copy of a video, as a server keeps what was sent."""
    (tmp_path / "sent").mkdir(exist_ok=True)
    return Path(shutil.copy(video, tmp_path / "sent" / name))


def folders(tmp_path: Path) -> list[Path]:
    """Folders of visits."""
    return sorted((tmp_path / "visits").glob("*"))


def test_an_upload_gets_a_name_of_ours(make_desk: Make, video: Path, tmp_path: Path) -> None:
    name = "holiday & <b>.mp4"
    visit = make_desk().open_upload(SESSION, sent(video, tmp_path, "x.mp4"), name, silent)
    assert visit.name == name
    assert list((tmp_path / "sent").iterdir()) == []
    assert visit.video.read_bytes() == video.read_bytes()
    assert [file.relative_to(visit.folder) for file in visit.folder.rglob("*")] == [Path("video")]
    assert visit.player == visit.video and visit.folder.name == visit.token
    assert len(visit.frames) == 10


def test_a_chosen_video_stays_where_it_is(make_desk: Make, video: Path) -> None:
    desk = make_desk()
    visit = desk.open_chosen(SESSION, OURS, silent)
    assert visit.video == visit.player == video
    desk.visits.end(SESSION)
    assert video.is_file() and not visit.folder.exists()


@pytest.mark.parametrize("name", ["", "../secret.mp4", "sample_0001.mp4"])
def test_only_what_is_listed_can_be_chosen(make_desk: Make, name: str) -> None:
    with pytest.raises(ConfigError, match="is not among those that can be chosen"):
        make_desk().open_chosen(SESSION, name, silent)


def test_a_broken_upload_leaves_nothing_and_tells_no_path(make_desk: Make, tmp_path: Path) -> None:
    desk = make_desk()
    before = desk.open_chosen(SESSION, OURS, silent)
    broken = tmp_path / "notes.mp4"
    broken.write_text("this is no video")
    with pytest.raises(FeatureError, match=r"video 'notes.mp4': cannot be read") as caught:
        desk.open_upload(SESSION, broken, "notes.mp4", silent)
    assert str(tmp_path) not in str(caught.value)
    assert desk.visits.of(SESSION) is before  # what was open stays open
    assert folders(tmp_path) == [before.folder] and not broken.exists()


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        ({"megabytes": 0.001}, r"the video has 0\.\d MB: at most 0.001 MB are taken here"),
        ({"minutes": 0.1}, r"the video lasts 0:\d\d\.\d: at most 0.1 minutes are taken here"),
    ],
)
def test_what_is_too_much(
    make_desk: Make, video: Path, tmp_path: Path, limits: dict[str, float], match: str
) -> None:
    upload = sent(video, tmp_path, "long.mp4")
    with pytest.raises(FeatureError, match=match):
        make_desk(**limits).open_upload(SESSION, upload, "long.mp4", silent)
    assert folders(tmp_path) == []


def test_a_playlist_is_no_video(make_desk: Make, video: Path, tmp_path: Path) -> None:
    """FFmpeg would open the file that it names: nothing of this machine is shown so."""
    playlist = tmp_path / "holiday.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile {video.name}\n")
    shutil.copy(video, tmp_path)
    desk = make_desk()
    desk.library = {"holiday": playlist}
    with pytest.raises(FeatureError, match="video 'holiday': cannot be read"):
        desk.open_chosen(SESSION, "holiday", silent)
    assert folders(tmp_path) == []


def test_limits_are_numbers_above_zero() -> None:
    with pytest.raises(ConfigError, match="minutes=0: expected a number > 0"):
        Limits(minutes=0)
    with pytest.raises(ConfigError, match="megabytes=nan"):
        Limits(megabytes=float("nan"))


def test_files_of_strangers(make_desk: Make, tmp_path: Path) -> None:
    """Each is opened, or refused by its own name; nothing of a refused one stays."""
    (tmp_path / "made").mkdir()
    desk = make_desk()
    for name, match in write_no_videos(tmp_path / "made").items():
        upload = sent(tmp_path / "made" / name, tmp_path, name)
        with pytest.raises(FeatureError, match=rf"video '{name}': .*({match})"):
            desk.open_upload(SESSION, upload, name, silent)
        (tmp_path / "made" / name).unlink()
    assert folders(tmp_path) == []
    for name, seconds in write_odd_videos(tmp_path / "made").items():
        visit = desk.open_upload(
            SESSION, sent(tmp_path / "made" / name, tmp_path, "v"), name, silent
        )
        assert visit.opened.duration_seconds == pytest.approx(seconds, abs=0.2), name
        assert visit.frames and visit.player.is_file()
    assert folders(tmp_path) == [visit.folder]


def test_a_page_that_is_closed_gives_up(make_desk: Make, video: Path, tmp_path: Path) -> None:
    """At any moment while its video is being opened: nothing of it stays."""
    desk = make_desk()
    heard: list[float] = []

    def leave_at(moment: float, part: float) -> None:
        heard.append(part)
        if part >= moment:
            desk.leave(SESSION)

    for moment in (0.1, 0.2, 0.7):
        with pytest.raises(FeatureError, match="the page was closed before the video was open"):
            desk.open_chosen(SESSION, OURS, lambda part, _, at=moment: leave_at(at, part))
        assert folders(tmp_path) == [] and desk.visits.of(SESSION) is None
    assert max(heard) == 0.7
    visit = desk.open_chosen(SESSION, OURS, silent)  # who comes back is welcome
    desk.leave(SESSION)
    assert not visit.folder.exists()


def test_answers_are_those_of_the_library(
    make_desk: Make, localizer: Localizer, video: Path
) -> None:
    desk = make_desk()
    desk.open_chosen(SESSION, OURS, silent)
    visit = desk.ask(SESSION, f"\n {QUERIES[0]} \n\n{QUERIES[1]}\n", 3, 0.0, silent)
    assert visit.answers is not None
    assert visit.answers.queries == QUERIES[:2]
    opened = localizer.open_video(video)
    expected = opened.localize(QUERIES[:2], top=3)
    for moments, others in zip(visit.answers.moments(), expected, strict=True):
        starts = [one.start_seconds for one in moments]
        assert starts == pytest.approx([one.start_seconds for one in others], abs=1e-3)
        assert [one.score for one in moments] == pytest.approx([one.score for one in others])

    predictions = visit.answers.predictions
    scores = sorted(one.score for moments in visit.answers.moments() for one in moments)
    least = scores[len(scores) // 2]
    adjusted = desk.adjust(SESSION, 2, least).answers
    assert adjusted is not None and adjusted.predictions is predictions
    kept = [one.score for moments in adjusted.moments() for one in moments]
    assert kept and min(kept) >= least
    assert all(len(moments) <= 2 for moments in adjusted.moments())


@pytest.mark.parametrize(
    ("text", "top", "kind", "match"),
    [
        ("", 3, AnnotationError, "no sentence: type at least one"),
        (" \n\t\n", 3, AnnotationError, "no sentence: type at least one"),
        ("...", 3, AnnotationError, r"query '\.\.\.' has no words"),
        ("spins\n" * 51, 3, AnnotationError, "51 sentences: at most 50 are answered"),
        ("spins", 0, ConfigError, "top=0: expected an integer >= 1"),
    ],
)
def test_questions_that_are_none(
    make_desk: Make, text: str, top: int, kind: type[BPNetError], match: str
) -> None:
    desk = make_desk()
    visit = desk.open_chosen(SESSION, OURS, silent)
    with pytest.raises(kind, match=match):
        desk.ask(SESSION, text, top, 0.0, silent)
    assert visit.answers is None


def test_a_video_comes_first(make_desk: Make) -> None:
    desk = make_desk()
    with pytest.raises(FeatureError, match="no video: drop or choose one first"):
        desk.ask(SESSION, QUERIES[0], 3, 0.0, silent)
    with pytest.raises(FeatureError, match="no video: drop or choose one first"):
        desk.adjust(SESSION, 3, 0.0)


def test_visits_make_room(make_desk: Make, tmp_path: Path) -> None:
    desk = make_desk(visits=2)
    first = desk.open_chosen("first", OURS, silent)
    second = desk.open_chosen("second", OURS, silent)
    assert desk.visits.of("first") is first  # used again
    third = desk.open_chosen("third", OURS, silent)
    assert desk.visits.of("second") is None and desk.visits.find(second.token) is None
    assert folders(tmp_path) == sorted([first.folder, third.folder])
    again = desk.open_chosen("first", OURS, silent)
    assert desk.visits.find(again.token) is again and desk.visits.find(first.token) is None
    assert folders(tmp_path) == sorted([again.folder, third.folder])
    desk.visits.end("first")
    desk.visits.end("never came")
    assert folders(tmp_path) == [third.folder]
