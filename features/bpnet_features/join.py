"""Several stores of the same kind -> one, as many processes have written them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from bpnet_features.errors import FeatureError
from bpnet_features.store import FeatureStore
from bpnet_features.writer import FeatureWriter


def join_stores(paths: Iterable[str | os.PathLike[str]], out: str | os.PathLike[str]) -> int:
    """Write all videos of some stores into one; memory does not grow with them.

    Args:
        paths: The stores, in the order in which their videos are to lie; of a folder its ``*.h5``,
            by name.
        out: The store to write; it appears when all is done, or not at all.

    Returns:
        Number of videos.

    Raises:
        FeatureError: There is no store, one of them cannot be read or is of another kind than the
            first, a video is in two of them, or ``out`` is there already.
    """
    target = Path(out)
    if target.exists():
        raise FeatureError(f"{str(target)!r} is there already: give another name, or remove it")
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(path.glob("*.h5")) if path.is_dir() else [path]
    if not files:
        raise FeatureError(f"no store to join for {str(target)!r}: give at least one file")
    with FeatureStore(files[0]) as first:
        spec = first.spec
    count = 0
    with FeatureWriter(target, spec, _dtype(files)) as writer:
        for file in files:
            with FeatureStore(file, spec) as store:
                for name in store.video_ids():
                    entry = store.entry(name)
                    if entry.resampled_from is not None:
                        raise FeatureError(
                            f"video {name!r} in {file}: was pooled to {entry.num_clips} clips when "
                            "it was converted; convert the release once, as a whole"
                        )
                    writer.add(
                        name,
                        store.read_clips(name),
                        entry.duration_seconds,
                        stride_seconds=entry.stride_seconds,
                        start_seconds=entry.start_seconds,
                    )
                count += len(store)
    return count


def _dtype(files: Iterable[Path]) -> str:
    """The type of the first video; a store may be empty, where none of its videos could be read."""
    for file in files:
        with FeatureStore(file) as store:
            for name in store.video_ids()[:1]:
                return store.entry(name).dtype
    return "float32"
