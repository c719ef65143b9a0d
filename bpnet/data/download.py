"""Annotation files from their public homes: resumed, checked, and put in place whole or not at all.

A file that is under way is called ``.NAME.download.part``; a later call goes on from there. Only
bytes with the right checksum get the final name: no error page does, nor a part of a file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from tqdm import tqdm

from bpnet.data.sources import LARGEST_BYTES, SOURCES, RemoteFile, Source, find_source
from bpnet.errors import AnnotationError, ConfigError
from bpnet_features.atomic import write_atomically

if TYPE_CHECKING:
    Bar = tqdm[Any]

TRIES = 4
_CONNECT_SECONDS = 10.0
_LONGEST_WAIT_SECONDS = 60.0
_PIECE_BYTES = 2**13  # as much as is lost where a connection breaks


@dataclasses.dataclass(frozen=True)
class Downloaded:
    """What is in the folder now.

    Attributes:
        folder: The folder of the dataset.
        fetched: Files that were downloaded.
        kept: Files that were there already, with the right checksum.
    """

    folder: Path
    fetched: tuple[Path, ...]
    kept: tuple[Path, ...]


def download(
    name: str,
    folder: str | Path | None = None,
    *,
    sources: Mapping[str, Source] = SOURCES,
    url_base: str | None = None,
    progress: bool = True,
    wait_seconds: float = 1.0,
    timeout_seconds: float = 30.0,
) -> Downloaded:
    """Fetch the annotation files of a dataset.

    Proxies and certificates are those that `requests` takes from the environment.

    Args:
        name: The dataset, a key of ``sources``.
        folder: Where to; None: ``annotations/NAME``. Missing folders are made.
        sources: What to fetch, and from where.
        url_base: A mirror, ``http://`` or ``https://``: it takes the place of the scheme and the
            host of every address.
        progress: Show a bar for each file, if the standard error is a terminal.
        wait_seconds: Pause before the second try of a file, >= 0; it doubles with every further
            one of the `TRIES`.
        timeout_seconds: How long a server may be silent, > 0.

    Returns:
        What was fetched and what was there.

    Raises:
        AnnotationError: A file is there with another content (nothing is fetched then), or one
            could not be fetched; the message says which, and how to get it by hand.
        ConfigError: No such dataset, or ``url_base`` is no address of a server.
    """
    source = find_source(name, sources)
    base = None if url_base is None else _checked_base(url_base)
    root = Path("annotations", name) if folder is None else Path(folder)
    faults: dict[str, str] = {}
    try:
        kept, missing = _look(name, source, root)
        with requests.Session() as session:
            session.max_redirects = 5
            for file in missing:
                task = _Task(session, file, root / file.name, base, timeout_seconds)
                try:
                    _fetch(task, progress, wait_seconds)
                except _Failed as err:
                    faults[file.name] = str(err)
                    if err.unreachable:
                        break
    except OSError as err:
        raise AnnotationError(
            f"download of {name!r}: {str(err.filename or root)!r}: {err.strerror or err}: expected "
            "a folder with room and permission; give another one"
        ) from err
    if faults:
        rest = [file for file in missing if not (root / file.name).exists()]
        raise AnnotationError(_by_hand(name, root, faults, rest))
    return Downloaded(root, tuple(root / file.name for file in missing), kept)


def digest(path: Path, kind: str) -> str:
    """The checksum of a file, in the form of `RemoteFile.digest`.

    Args:
        path: The file.
        kind: ``"sha256"`` or ``"git"``.

    Returns:
        The kind, a colon, and hexadecimal digits.
    """
    if kind == "git":
        summed = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        summed = hashlib.sha256()
    with path.open("rb") as content:
        while piece := content.read(_PIECE_BYTES):
            summed.update(piece)
    return f"{kind}:{summed.hexdigest()}"


class _Failed(Exception):
    """A file cannot be fetched; ``unreachable``: neither can others from there."""

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


class _Passing(Exception):
    """Something that may go away by itself; ``wait_seconds``: what the server asked for."""

    def __init__(self, message: str, *, unreachable: bool, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.unreachable = unreachable
        self.wait_seconds = wait_seconds


@dataclasses.dataclass(frozen=True)
class _Task:
    session: requests.Session
    file: RemoteFile
    target: Path
    url_base: str | None
    timeout_seconds: float

    @property
    def url(self) -> str:
        path = urlsplit(self.file.url).path
        return self.file.url if self.url_base is None else self.url_base + path

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def part(self) -> Path:
        return self.target.with_name(f".{self.target.name}.download.part")

    @property
    def largest(self) -> int:
        return LARGEST_BYTES if self.file.size is None else self.file.size


def _checked_base(url_base: str) -> str:
    try:
        parts = urlsplit(url_base)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise ConfigError(f"url_base={url_base!r}: expected http://HOST or https://HOST")
    return url_base.rstrip("/")


def _look(name: str, source: Source, root: Path) -> tuple[tuple[Path, ...], list[RemoteFile]]:
    """Which files are there and which are not; an error where one has another content."""
    kept, missing, others = [], [], []
    for file in source.files:
        path = root / file.name
        if not path.exists():
            missing.append(file)
        elif path.is_file() and _fits(path, file):
            kept.append(path)
        else:
            others.append(file.name)
    if others:
        raise AnnotationError(
            f"download of {name!r}: {len(others)} of {len(source.files)} files are in "
            f"{str(root)!r} with another content: {', '.join(map(repr, others[:5]))}: expected "
            "none, or the published ones; move them away, or choose another folder"
        )
    return tuple(kept), missing


def _fits(path: Path, file: RemoteFile) -> bool:
    return digest(path, file.digest.partition(":")[0]) == file.digest


def _fetch(task: _Task, progress: bool, wait_seconds: float) -> None:
    """Receive a file in as many tries as are allowed, and put it in place."""
    task.target.parent.mkdir(parents=True, exist_ok=True)
    with tqdm(
        desc=task.file.name,
        total=task.file.size,
        unit="B",
        unit_scale=True,
        disable=None if progress else True,  # None: shown on a terminal only
    ) as bar:
        for number in range(1, TRIES + 1):
            try:
                # Meanwhile another process may have fetched it.
                if not (task.target.is_file() and _fits(task.target, task.file)):
                    _receive(task, bar)
                return
            except FileNotFoundError as err:
                text = f"{str(err.filename)!r} is gone; does another process download to there?"
                fault = _Passing(text, unreachable=False)
            except _Passing as err:
                fault = err
            if number == TRIES:
                raise _Failed(f"{fault} ({TRIES} tries)", unreachable=fault.unreachable)
            bar.set_postfix_str(f"try {number + 1} of {TRIES}")
            pause = wait_seconds * 2 ** (number - 1)
            time.sleep(min(max(pause, fault.wait_seconds), _LONGEST_WAIT_SECONDS))


def _receive(task: _Task, bar: Bar) -> None:
    """One try: ask for what is missing, append it, and check the whole."""
    part = task.part
    have = part.stat().st_size if part.exists() else 0
    resumed = True
    if have and _fits(part, task.file):
        bar.update(have - bar.n)  # all had come when an earlier process ended
    else:
        if have >= task.largest:
            part.unlink(missing_ok=True)
            have = 0
        resumed = _request(task, have, bar)
    try:
        write_atomically(task.target, lambda path: _copy_checked(part, path, task.file))
    except _Failed as err:
        part.unlink(missing_ok=True)
        if not resumed:
            raise
        # The first piece may have come from something else: once more, from the beginning.
        raise _Passing(str(err), unreachable=False) from err
    part.unlink(missing_ok=True)


def _copy_checked(part: Path, path: Path, file: RemoteFile) -> None:
    # The copy is what gets the final name: no other process has it open, whoever else downloads.
    shutil.copyfile(part, path)
    if not _fits(path, file):
        found = digest(path, file.digest.partition(":")[0])
        raise _Failed(
            f"what came has {path.stat().st_size} bytes and checksum {found}: expected "
            f"{file.digest}"
        )


def _request(task: _Task, have: int, bar: Bar) -> bool:
    """Ask the server for the bytes from ``have`` on; tell whether it gave only those."""
    # Compressed, neither the length nor a range would be that of the file.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    timeout = (_CONNECT_SECONDS, task.timeout_seconds)
    try:
        with task.session.get(task.url, headers=headers, stream=True, timeout=timeout) as response:
            resumed = _goes_on(task, response, have)
            _append(task, response, have if resumed else 0, bar)
            return resumed
    except requests.exceptions.SSLError as err:
        raise _Failed(
            f"no trusted connection to {task.host}: {_cause(err)}; behind a proxy with its own "
            "certificates, set REQUESTS_CA_BUNDLE to their file",
            unreachable=True,
        ) from err
    except (
        requests.exceptions.ChunkedEncodingError,
        requests.exceptions.ConnectionError,
        requests.exceptions.ContentDecodingError,
        requests.exceptions.Timeout,
    ) as err:
        raise _Passing(
            f"no connection to {task.host}, or it broke: {_cause(err)}", unreachable=True
        ) from err
    except (requests.exceptions.RequestException, ValueError) as err:
        # Too many redirects, or one to another scheme or to what is no address.
        raise _Failed(f"{task.url}: {err}") from err


def _goes_on(task: _Task, response: requests.Response, have: int) -> bool:
    """Look at the head of an answer: does it go on from ``have``, or is it the whole file?"""
    status, url, size = response.status_code, response.url, task.file.size
    plain = "Content-Encoding" not in response.headers
    if status == 429 or status >= 500:
        after = response.headers.get("Retry-After", "")
        seconds = float(after) if re.fullmatch(r"[0-9]+", after) else 0.0
        text = f"{url} answered {status} {response.reason}"
        raise _Passing(text, unreachable=True, wait_seconds=seconds)
    if have and status in (206, 416):
        given = response.headers.get("Content-Range", "")
        total = "[0-9]+" if size is None else str(size)
        if status == 206 and plain and re.fullmatch(rf"bytes {have}-[0-9]+/{total}", given):
            return True
        task.part.unlink(missing_ok=True)
        text = f"{url} does not go on from byte {have}: it answered {status}, range {given!r}"
        raise _Passing(text, unreachable=False)
    if status != 200:
        raise _Failed(f"{url} answered {status} {response.reason}: expected 200")
    offered = _announced(response)
    if offered is not None and (offered > task.largest or size not in (None, offered)):
        wanted = f"at most {LARGEST_BYTES}" if size is None else size
        raise _Failed(f"{url} offers {offered} bytes: expected {wanted}")
    return False


def _announced(response: requests.Response) -> int | None:
    """How many bytes an answer says that it has; None: it does not, or they are compressed."""
    length = response.headers.get("Content-Length", "")
    plain = "Content-Encoding" not in response.headers
    return int(length) if plain and re.fullmatch(r"[0-9]{1,18}", length) else None


def _append(task: _Task, response: requests.Response, have: int, bar: Bar) -> None:
    announced = _announced(response)
    whole = task.file.size if task.file.size is not None else have + (announced or 0)
    bar.update(have - bar.n)
    with task.part.open("ab" if have else "wb") as out:
        for piece in response.iter_content(_PIECE_BYTES):
            have += len(piece)
            if have > task.largest:
                break
            out.write(piece)
            bar.update(len(piece))
    if have > task.largest:
        task.part.unlink(missing_ok=True)
        raise _Failed(f"{response.url} sends more than {task.largest} bytes; it was cut off")
    if have < whole:
        text = f"{response.url} ended after {have} of {whole} bytes"
        raise _Passing(text, unreachable=False)


def _cause(err: requests.exceptions.RequestException) -> str:
    """What went wrong, without the objects that passed it on."""
    inner = err.args[0] if err.args else err
    inner = getattr(inner, "reason", inner)
    text = str(inner.args[0] if getattr(inner, "args", ()) else inner)
    return text.partition("): ")[2] or text


def _by_hand(name: str, root: Path, faults: Mapping[str, str], rest: list[RemoteFile]) -> str:
    shown = "; ".join(f"{file!r}: {fault}" for file, fault in list(faults.items())[:5])
    more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
    lines = [
        f"download of {name!r}: {len(faults)} fault{'s' * (len(faults) > 1)}: {shown}{more}",
        "run the same command again to go on, or fetch what is missing by hand:",
    ]
    for file in rest:
        size = "" if file.size is None else f"{file.size} bytes, "
        lines += [f"  {file.url}", f"    to {root / file.name} ({size}{file.digest})"]
    lines.append(
        "then run it again, which looks at their checksums, and count with: bpnet data check "
        f"--dataset {name} {root}"
    )
    return "\n".join(lines)
