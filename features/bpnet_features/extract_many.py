"""Many video files -> one feature file; an interrupted run goes on where it stopped.

Beside ``OUT`` stands the folder ``.OUT.extract`` with a store for each video that is done. The name
of such a store is made from all that its numbers depend on, so what is there under that name need
not be made again, and nothing else has to be remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path

from tqdm import tqdm

from bpnet_features.backbones.backbone import Backbone, Extraction
from bpnet_features.backbones.choose import load_backbone
from bpnet_features.errors import FeatureError
from bpnet_features.extract import extract_video
from bpnet_features.partfile import LOCK_SECONDS, lock, writing
from bpnet_features.spec import FeatureSpec
from bpnet_features.store import FeatureStore
from bpnet_features.video import stated_seconds
from bpnet_features.workers import run_all
from bpnet_features.writer import FeatureWriter

log = logging.getLogger(__name__)

BAR = "{l_bar}{bar}| {n:.0f} of {total:.0f} s of video [{elapsed}, {remaining} left]"


@dataclass(frozen=True)
class Summary:
    """What became of the videos.

    Attributes:
        num_written: Videos that are in the feature file.
        num_resumed: Those of them that an interrupted run had done.
        failures: A line for each of the others.
        corrupt: Path -> number of frames that could not be decoded and were left out.
    """

    num_written: int
    num_resumed: int
    failures: tuple[str, ...]
    corrupt: dict[str, int]


@dataclass(frozen=True)
class _Job:
    """A video to be done, and the store that its features go to."""

    file: Path
    part: Path


@dataclass(frozen=True)
class _Done:
    """How that went; ``error`` is empty where it went well."""

    error: str
    num_corrupt: int


def extract_videos(
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    extraction: Extraction | None = None,
    *,
    jobs: int = 1,
    dtype: str = "float32",
    progress: bool = True,
) -> Summary:
    """Clip features of many video files, written to one feature file in the order given.

    Videos that cannot be read are left out; the others are written.

    Args:
        paths: The files; a video's id is the name of its file without the suffix.
        out: The feature file to write. It is replaced when all is done, or not at all.
        extraction: What to extract; None: backbone ``grid``.
        jobs: Number of processes, >= 1; each loads the backbone.
        dtype: ``"float16"`` or ``"float32"``, as stored.
        progress: Show a progress bar, in seconds of video, where there is a terminal.

    Returns:
        What became of them.

    Raises:
        FeatureError: No or equally named files, ``jobs`` below 1, a backbone that cannot be loaded,
            a file that cannot be written, or not one video could be extracted.
    """
    target = Path(out)
    files = [Path(path) for path in paths]
    if not files:
        raise FeatureError(f"no videos to extract for {str(target)!r}: give at least one file")
    if jobs < 1:
        raise FeatureError(f"jobs={jobs}: expected an integer >= 1")
    check_stems(files)
    worker = _Worker(extraction or Extraction(), dtype, min(jobs, len(files)))
    backbone = worker.backbone
    folder = target.with_name(f".{target.name}.extract")
    with writing(target):
        FeatureWriter(target, backbone.spec, dtype).discard()  # raises now what it would later
    with writing(target), _locked(folder, target) as descriptor:
        wanted = [_Job(file, folder / _part_name(file, backbone.spec, dtype)) for file in files]
        todo = [job for job in wanted if not _is_done(job.part, backbone.spec)]
        if len(todo) < len(wanted):
            done_before = len(wanted) - len(todo)
            log.info("%s: going on, %d of %d videos are done", target, done_before, len(wanted))
        failures: list[str] = []
        corrupt: dict[str, int] = {}
        for job, done in _do(todo, worker, descriptor, jobs, progress):
            if done.error:
                failures.append(done.error)
            if done.num_corrupt:
                corrupt[str(job.file)] = done.num_corrupt
        parts = [job.part for job in wanted if job.part.exists()]
        if parts:
            _join(parts, target, backbone.spec, dtype)
        shutil.rmtree(folder, ignore_errors=True)
    if not parts:
        raise FeatureError(
            f"none of {len(files)} videos can be extracted, {str(target)!r} was not written:"
            f"{_listed(failures)}"
        )
    return Summary(len(parts), len(wanted) - len(todo), tuple(failures), corrupt)


def check_stems(files: Sequence[Path]) -> None:
    """Ids are file stems, so these must differ."""
    seen: dict[str, Path] = {}
    for file in files:
        if (other := seen.setdefault(file.stem, file)) is not file:
            raise FeatureError(
                f"videos {str(other)!r} and {str(file)!r} would both get the id {file.stem!r}; "
                "rename one"
            )


@contextlib.contextmanager
def _locked(folder: Path, target: Path) -> Iterator[int]:
    """The folder of what is done, made if it is not there, and locked; removed if it is empty."""
    give_up = time.monotonic() + LOCK_SECONDS  # so long the processes of a killed run may take
    while True:
        folder.mkdir(exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            if lock(descriptor):
                # Whoever had the lock may have finished, and removed the folder.
                if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat()):
                    try:
                        yield descriptor
                    finally:
                        with contextlib.suppress(OSError):  # it is not empty, or gone
                            folder.rmdir()
                    return
            elif time.monotonic() > give_up:
                raise FeatureError(
                    f"{str(target)!r}: another process is extracting to it; wait for that one, or "
                    "give another name"
                )
        finally:
            os.close(descriptor)
        time.sleep(0.05)


def _do(
    todo: Sequence[_Job],
    worker: _Worker,
    descriptor: int,
    jobs: int,
    progress: bool,
) -> Iterator[tuple[_Job, _Done]]:
    """Do all jobs; in any order where there are several processes."""
    total = sum(stated_seconds(job.file) for job in todo)
    hidden = None if progress else True
    with tqdm(total=total, desc="extract", bar_format=BAR, disable=hidden) as bar:
        if jobs == 1 or len(todo) == 1:
            for job in todo:
                begun = bar.n

                def show(seconds: float, _: float, begun: float = begun) -> None:
                    bar.update(begun + seconds - bar.n)

                yield job, worker(job, descriptor, show)
        else:
            for job, done in run_all(worker, todo, descriptor, min(jobs, len(todo))):
                bar.update(stated_seconds(job.file))
                yield job, done


class _Worker:
    """Extracts videos into their stores; each process that it is handed to loads the backbone."""

    def __init__(self, extraction: Extraction, dtype: str, jobs: int) -> None:
        self._extraction = extraction
        self._dtype = dtype
        self._jobs = jobs
        self._backbone: Backbone | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_backbone": None}

    @property
    def backbone(self) -> Backbone:
        """The backbone, loaded when it is first asked for."""
        if self._backbone is None:
            self._backbone = load_backbone(self._extraction)
            torch = sys.modules.get("torch")
            if torch is not None and parent_process() is not None:
                torch.set_num_threads(max(1, (os.cpu_count() or 1) // self._jobs))
        return self._backbone

    def __call__(
        self, job: _Job, descriptor: int, show: Callable[[float, float], object] | None = None
    ) -> _Done:
        """Extract a video into its store; what is wrong with the video becomes a line."""
        backbone = self.backbone
        try:
            found = extract_video(job.file, backbone, show)
        except (FeatureError, OSError) as err:
            line = " ".join(str(err).split())
            named = repr(str(job.file)) in line
            return _Done(line if named else f"video {str(job.file)!r}: {line}", 0)
        try:
            with FeatureWriter(job.part, backbone.spec, self._dtype) as writer:
                writer.add(job.file.stem, found.clips, found.duration_seconds)
        except FeatureError as err:  # an id that cannot be stored
            return _Done(f"video {str(job.file)!r}: {' '.join(str(err).split())}", 0)
        except OSError as err:  # a disk that is full ends the run
            raise FeatureError(
                f"{str(job.part)!r} cannot be written ({err}); make room. What is done is kept: "
                "the same command goes on"
            ) from err
        return _Done("", found.num_corrupt)


def _part_name(file: Path, spec: FeatureSpec, dtype: str) -> str:
    """Name of the store of a video: another file, or another way to extract, is another name."""
    source = [os.fsencode(file.stem), spec.to_json().encode(), dtype.encode()]
    with contextlib.suppress(OSError):
        status = file.stat()
        source.append(f"{status.st_size} {status.st_mtime_ns}".encode())
    return hashlib.sha256(b"\0".join(source)).hexdigest()[:32] + ".h5"


def _is_done(part: Path, spec: FeatureSpec) -> bool:
    if not part.exists():
        return False
    try:
        with FeatureStore(part, spec) as store:
            return len(store) == 1
    except FeatureError as err:
        log.warning("%s: %s; extracting this video again", part.name, err)
        part.unlink()
        return False


def _join(parts: Sequence[Path], target: Path, spec: FeatureSpec, dtype: str) -> None:
    with FeatureWriter(target, spec, dtype) as writer:
        for part in parts:
            with FeatureStore(part, spec) as store:
                (name,) = store.video_ids()
                writer.add(name, store.read_clips(name), store.entry(name).duration_seconds)


def _listed(lines: Sequence[str]) -> str:
    more = f"\n  ... and {len(lines) - 5} more" if len(lines) > 5 else ""
    return "".join(f"\n  {line}" for line in lines[:5]) + more
