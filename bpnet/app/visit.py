"""What a visitor has opened and asked, and the room for a few of them at a time."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from bpnet.evaluation.predictions import Prediction
from bpnet.inference.opened import OpenedVideo
from bpnet.types import Moment


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """Sentences with all that the model says of them, and what of that is wanted.

    Attributes:
        queries: The sentences.
        predictions: One each.
        top: Largest number of moments a sentence.
        min_score: Moments with a lower score are not shown.
    """

    queries: Sequence[str]
    predictions: Sequence[Prediction]
    top: int
    min_score: float

    def moments(self) -> list[list[Moment]]:
        """The moments of each sentence that are shown, best first."""
        return [
            [one for one in prediction.moments[: self.top] if one.score >= self.min_score]
            for prediction in self.predictions
        ]


@dataclasses.dataclass(eq=False)
class Visit:
    """One visitor's video.

    Attributes:
        token: Names the visit in addresses; it cannot be guessed.
        folder: Its files; they go when it ends.
        name: What the visitor calls the video; never part of a path.
        video: The file.
        player: The same in a form that browsers play.
        opened: The encoded video.
        frames: Times and JPEG bytes, ascending.
        answers: What was asked last; None: nothing yet.
    """

    token: str
    folder: Path
    name: str
    video: Path
    player: Path
    opened: OpenedVideo
    frames: Sequence[tuple[float, bytes]]
    answers: Answers | None = None


class Visits:
    """The visits at a time, each with a folder of its own.

    Args:
        root: Where the folders are made.
        most: How many are kept.
    """

    def __init__(self, root: Path, most: int) -> None:
        self._root, self._most = root, most
        self._lock = threading.Lock()
        self._visits: OrderedDict[str, Visit] = OrderedDict()  # by session, last used last

    def new_folder(self) -> Path:
        """An empty folder with a random name, which also serves as a token."""
        folder = self._root / secrets.token_urlsafe(18)
        folder.mkdir(parents=True)
        return folder

    def begin(self, session: str, visit: Visit) -> None:
        """Keep a visit in place of the session's former one.

        Args:
            session: Whose it is.
            visit: The new one.
        """
        with self._lock:
            left = [self._visits.pop(session, None)]
            self._visits[session] = visit
            while len(self._visits) > self._most:
                left.append(self._visits.popitem(last=False)[1])
        for one in left:
            if one is not None:
                remove_folder(one.folder)

    def of(self, session: str) -> Visit | None:
        """The visit of a session, which counts as a use of it.

        Args:
            session: Whose.

        Returns:
            The visit; None: it has none, or it had to make room.
        """
        with self._lock:
            if session in self._visits:
                self._visits.move_to_end(session)
            return self._visits.get(session)

    def find(self, token: str) -> Visit | None:
        """The visit of a token, or None."""
        with self._lock:
            return next((one for one in self._visits.values() if one.token == token), None)

    def end(self, session: str) -> None:
        """Forget a session's visit, and remove its files.

        Args:
            session: Whose.
        """
        with self._lock:
            visit = self._visits.pop(session, None)
        if visit is not None:
            remove_folder(visit.folder)


def remove_folder(folder: Path) -> None:
    """Remove a visit's folder; files that are still being written go when the program ends."""
    shutil.rmtree(folder, ignore_errors=True)
