"""Ids of videos: the same video has several names in the releases and in the annotation files."""

from __future__ import annotations

from collections.abc import Iterable

from bpnet_features.errors import FeatureError

# 2D-TAN writes TACoS videos with ".avi", R2-Tuning with "-cam-002", everybody else with neither.
_SUFFIXES = (".avi", "-cam-002")
# ActivityNet ids are YouTube ids behind this; some files leave it out.
_PREFIX = "v_"
MAX_ID_BYTES = 255


def plain_id(name: str) -> str:
    """An id without what some releases append, as annotation files write it."""
    for suffix in (*_SUFFIXES, *_SUFFIXES):  # in any order
        if len(name) > len(suffix):
            name = name.removesuffix(suffix)
    return name


def shared_id(name: str) -> str:
    """What all names of one video have in common."""
    name = plain_id(name)
    return name.removeprefix(_PREFIX) or name


class VideoIndex:
    """The names that a file or folder lists, found by any of the names of a video.

    No name is ever made from an id: what is not listed is not there.

    Args:
        names: Listed names.
        where: The file or folder, for the message.
        exact: The names are the ids themselves, as in our own format: they are given unchanged, and
            may be as alike as ``"7"`` and ``"v_7"``.

    Raises:
        FeatureError: Two names stand for the same video, and they are not ``exact``.
    """

    def __init__(self, names: Iterable[str], where: str, *, exact: bool = False) -> None:
        self._names = set(names)
        self._exact = exact
        self._shared: dict[str, str] = {}
        doubles: dict[str, str] = {}
        for name in sorted(self._names):
            key = shared_id(name)
            if self._shared.setdefault(key, name) != name:
                doubles[key] = f"{self._shared[key]!r} and {name!r}"
        if doubles and not exact:
            more = f" and {len(doubles) - 5} more" if len(doubles) > 5 else ""
            raise FeatureError(
                f"{where}: {len(doubles)} videos are there twice: "
                f"{', '.join(list(doubles.values())[:5])}{more}; remove one of each"
            )
        for key in doubles:  # only their exact names find them
            del self._shared[key]

    def ids(self) -> list[str]:
        """Ids of all videos, sorted, as annotation files write them."""
        return sorted(self._names if self._exact else map(plain_id, self._names))

    def find(self, video_id: str) -> str | None:
        """The listed name of a video, or None."""
        if video_id in self._names:
            return video_id
        found = self._shared.get(shared_id(video_id))
        # A YouTube id may itself begin like the prefix.
        return found if found is not None else self._shared.get(plain_id(video_id))

    def __len__(self) -> int:
        return len(self._names)


def check_id(video_id: str) -> None:
    """Make sure that an id can stand in a store.

    Args:
        video_id: The id; it may come from a file of a stranger.

    Raises:
        FeatureError: It is empty, ``"."``, has a ``"/"``, NUL or half of a surrogate pair, or is
            longer than `MAX_ID_BYTES`.
    """
    try:
        num_bytes = len(video_id.encode())
    except UnicodeEncodeError:
        num_bytes = 0
    bad = video_id == "." or "/" in video_id or "\0" in video_id
    if bad or not 0 < num_bytes <= MAX_ID_BYTES:
        shown = video_id if len(video_id) <= MAX_ID_BYTES else video_id[:40] + "..."
        raise FeatureError(
            f"video {shown!r}: expected an id that is not empty, not '.', has no '/' and no NUL, "
            f"and at most {MAX_ID_BYTES} bytes of UTF-8; rename it"
        )
