"""Desk: takes a visitor's video and sentences and gives answers; knows no web framework."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from bpnet.app.intake import check_video, playable, take_upload
from bpnet.app.limits import Limits
from bpnet.app.visit import Answers, Visit, Visits, remove_folder
from bpnet.errors import BPNetError, ConfigError, FeatureError
from bpnet.inference.localizer import Localizer
from bpnet.inference.opened import check_wanted
from bpnet.report.answers import film_strip

Told = Callable[[float, str], object]  # part of the work that is done, in [0, 1]; what comes next


class Desk:
    """Opens videos and answers sentences about them.

    Args:
        localizer: The model.
        visits: Who is here.
        limits: How much is taken.
        library: Video files that can be chosen, by the name that is shown.
    """

    def __init__(
        self,
        localizer: Localizer,
        visits: Visits,
        limits: Limits,
        library: Mapping[str, Path],
    ) -> None:
        self.localizer, self.visits, self.limits = localizer, visits, limits
        self.library = library
        self._opening: dict[str, threading.Event] = {}  # by session; set: it has left meanwhile

    def open_upload(self, session: str, upload: Path, name: str, told: Told) -> Visit:
        """Open a file that was sent.

        Args:
            session: Whose.
            upload: The file; it is moved into the visit's folder.
            name: What the visitor calls it.
            told: Hears how far it is.

        Returns:
            The visit.

        Raises:
            BPNetError: The file is no video, too large, or too long; it has been removed.
        """
        folder = self.visits.new_folder()
        return self._open(session, take_upload(upload, folder), name, folder, told)

    def open_chosen(self, session: str, name: str, told: Told) -> Visit:
        """Open a video of the library.

        Args:
            session: Whose.
            name: A name of the library.
            told: Hears how far it is.

        Returns:
            The visit.

        Raises:
            BPNetError: There is no such name, or the file cannot be read.
        """
        if name not in self.library:
            raise ConfigError(f"video {name!r} is not among those that can be chosen here")
        return self._open(session, self.library[name], name, self.visits.new_folder(), told)

    def ask(self, session: str, text: str, top: int, min_score: float, told: Told) -> Visit:
        """Answer sentences about the session's video.

        Args:
            session: Whose.
            text: One sentence a line.
            top: Largest number of moments a sentence, >= 1.
            min_score: Moments with a lower score are not shown.
            told: Hears how far it is.

        Returns:
            The visit, with its answers.

        Raises:
            BPNetError: There is no video, no sentence, or one without words.
        """
        visit = self._visit(session)
        queries = self.limits.sentences_of(text)
        check_wanted(top, min_score)
        predictions = []
        for number, query in enumerate(queries):
            told(number / len(queries), f"sentence {number + 1} of {len(queries)}")
            predictions += visit.opened.predict([query])
        visit.answers = Answers(queries, predictions, top, min_score)
        return visit

    def adjust(self, session: str, top: int, min_score: float) -> Visit:
        """Show more or fewer of the answers that are there.

        Args:
            session: Whose.
            top: Largest number of moments a sentence, >= 1.
            min_score: Moments with a lower score are not shown.

        Returns:
            The visit.

        Raises:
            BPNetError: There is no video, or ``top`` is out of range.
        """
        visit = self._visit(session)
        check_wanted(top, min_score)
        if visit.answers is not None:
            visit.answers = dataclasses.replace(visit.answers, top=top, min_score=min_score)
        return visit

    def leave(self, session: str) -> None:
        """Forget a session: its files go, and a video that is being opened for it is given up.

        Args:
            session: Whose page was closed.
        """
        if (left := self._opening.get(session)) is not None:
            left.set()
        self.visits.end(session)

    def _visit(self, session: str) -> Visit:
        visit = self.visits.of(session)
        if visit is None:
            raise FeatureError(
                "no video: drop or choose one first (one that was open for long may have had to "
                "make room)"
            )
        return visit

    def _open(self, session: str, video: Path, name: str, folder: Path, told: Told) -> Visit:
        left = self._opening[session] = threading.Event()

        def check_here() -> None:
            if left.is_set():
                raise FeatureError("the page was closed before the video was open")

        def read(done: float, total: float) -> None:
            check_here()
            told(0.2 + 0.5 * done / total, "reading the video")

        try:
            told(0.1, "looking at the video")
            info = check_video(video, self.limits)
            opened = self.localizer.open_video(video, progress=read)
            told(0.7, "preparing the player")
            player = playable(info, folder)
            frames = film_strip(video, opened.duration_seconds)
            check_here()
        except BPNetError as err:
            remove_folder(folder)
            # Where the file lies on this machine is nobody's business.
            raise type(err)(str(err).replace(repr(str(video)), repr(name))) from err
        except BaseException:
            remove_folder(folder)
            raise
        finally:
            self._opening.pop(session, None)
        visit = Visit(folder.name, folder, name, video, player, opened, frames)
        self.visits.begin(session, visit)
        return visit
