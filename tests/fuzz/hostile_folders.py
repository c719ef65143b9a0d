"""Hostile folders: links, pipes, devices and names where files should be."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hostile_arrays import CLIPS, SPEC, npy, zipped
from subject import Subject

SOUND = {
    "npy": ("npy", npy()),
    "vslnet": ("npy", npy()),
    "lgi": ("npy", npy("(4, 1, 1, 3)")),
    "tall": ("npy", npy("(12,)")),
    "npz": ("npz", zipped(("features.npy", npy()))),
    "csv": ("csv", b"f0,f1,f2\n1,2,3\n"),
}


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        # Its path may not be long.
        here = Path.cwd()
        os.chdir(path.parent)
        one.bind(path.name)
        os.chdir(here)


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _unreadable(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0)


# What stands where a file should be.
THINGS: dict[str, Callable[[Path], object]] = {
    "a pipe": _pipe,
    "a socket": _socket,
    "a folder": lambda path: path.mkdir(),
    "a link to itself": _loop,
    "a link to nothing": lambda path: path.symlink_to("gone"),
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a link to /dev/stdin": lambda path: path.symlink_to("/dev/stdin"),
    "a link to /proc/self/mem": lambda path: path.symlink_to("/proc/self/mem"),
    "a link to /proc/self/maps": lambda path: path.symlink_to("/proc/self/maps"),
    "a link to a text": lambda path: path.symlink_to("/etc/hostname"),
    "a link to a folder": lambda path: path.symlink_to("/etc"),
    "a link to its own folder": lambda path: path.symlink_to("."),
    "an unreadable file": _unreadable,
    "nothing in it": lambda path: path.write_bytes(b""),
}
# Names of a file that is sound.
NAMES: dict[str, str] = {
    "a newline": "a\nb",
    "an escape": "a\x1b[2J",
    "no text": "a\udcff",
    "two dots": "..",
    "dots": "...",
    "a backslash": "..\\a",
    "a colon": "C:a",
    "a minus": "-rf",
    "a star": "*",
    "braces": "{0}{x}%s",
    "a space": " ",
    "an ending twice": "a.npy",
    "the prefix alone": "v_",
    "the ending alone": ".avi",
    "the same video": "v_b",
    "the same video again": "b.avi",
    "250 letters": "x" * 250,
    "combining letters": "a\u0301",
    "from right to left": "\u202efdp",
}


def _folder(layout: str) -> tuple[Callable[[Path, str], Path], bytes]:
    """Where the file of a video stands, and a sound one."""
    suffix, data = SOUND[layout]

    def file(folder: Path, name: str) -> Path:
        return folder / (f"{name}_1_65.{suffix}" if layout == "tall" else f"{name}.{suffix}")

    return file, data


def _with(layout: str, name: str, write: Callable[[Path], object]) -> Callable[[Path], Subject]:
    file, data = _folder(layout)

    def make(folder: Path) -> Subject:
        path = folder / "release"
        path.mkdir()
        file(path, "b").write_bytes(data)
        if layout == "vslnet":
            (path / "feature_shapes.json").write_text('{"b": 4, "a": 4}', encoding="ascii")
        write(file(path, name))
        return Subject("features", path, layout, SPEC)

    return make


def _beside(name: str, write: Callable[[Path], object]) -> Callable[[Path], Subject]:
    """Something beside sound files of VSLNet."""

    def make(folder: Path) -> Subject:
        path = folder / "release"
        path.mkdir()
        for video_id in "ab":
            (path / f"{video_id}.npy").write_bytes(npy())
        write(path / name)
        return Subject("features", path, "vslnet", SPEC)

    return make


def _in_video(write: Callable[[Path], object], name: str) -> Callable[[Path], Subject]:
    """Something among the text files of a video."""

    def make(folder: Path) -> Subject:
        path = folder / "release"
        for video_id in "ab":
            (path / video_id).mkdir(parents=True)
            (path / video_id / "1.txt").write_text("1 2 3", encoding="ascii")
        write(path / "a" / name)
        return Subject("features", path, "text-vectors", SPEC)

    return make


def _itself(kind: str, name: str, write: Callable[[Path], object]) -> Callable[[Path], Subject]:
    """Something in place of the file that is opened."""

    def make(folder: Path) -> Subject:
        write(folder / name)
        return Subject(kind, folder / name, "jsonl" if kind == "annotations" else "auto")

    return make


def _one_of_many(
    kind: str, name: str, write: Callable[[Path], object]
) -> Callable[[Path], Subject]:
    """Something in place of a file in the folder that is opened."""

    def make(folder: Path) -> Subject:
        path = folder / "clip_text_features"
        path.mkdir()
        if kind == "queries":
            hidden = zipped(("last_hidden_state.npy", npy()), ("pooler_output.npy", npy("(12,)")))
            (path / "qid12.npz").write_bytes(hidden)
        write(path / name)
        return Subject(kind, path, "lighthouse")

    return make


def _tall(*names: str) -> Callable[[Path], Subject]:
    def make(folder: Path) -> Subject:
        path = folder / "release"
        path.mkdir()
        for name in names:
            np.save(path / f"{name}.npy", CLIPS.ravel())
        return Subject("features", path, "tall", SPEC)

    return make


def _streams(*streams: str) -> Callable[[Path], Subject]:
    def make(folder: Path) -> Subject:
        path = folder / "release"
        for name in "ab":
            (path / name).mkdir(parents=True)
            np.save(path / name / "v.npy", CLIPS)
        return Subject("features", path, "npy", SPEC, streams)

    return make


def _path(kind: str, path: str) -> Callable[[Path], Subject]:
    return lambda folder: Subject(kind, Path(path), "jsonl" if kind == "annotations" else "auto")


def cases() -> dict[str, Callable[[Path], Subject]]:
    """All of them by name."""
    found: dict[str, Callable[[Path], Subject]] = {}
    for thing, write in THINGS.items():
        if thing == "an unreadable file" and os.geteuid() == 0:
            continue  # root reads it
        for layout in SOUND:
            found[f"folder: {layout}: {thing}"] = _with(layout, "a", write)
        found[f"folder: shapes: {thing}"] = _beside("feature_shapes.json", write)
        found[f"folder: beside: {thing}"] = _beside("x", write)
        found[f"folder: vectors: {thing}"] = _in_video(write, "2.txt")
        found[f"folder: beside vectors: {thing}"] = _in_video(write, "x")
        for kind in ("features", "annotations", "predictions", "durations", "queries"):
            found[f"folder: {kind}: {thing}"] = _itself(kind, "a.jsonl", write)
        found[f"folder: durations.json: {thing}"] = _itself("durations", "d.json", write)
        found[f"folder: a query: {thing}"] = _one_of_many("queries", "qid7.npz", write)
        found[f"folder: lighthouse: {thing}"] = _one_of_many(
            "annotations", "x_val_release.jsonl", write
        )
    for what, name in NAMES.items():
        for layout in ("npy", "npz", "csv"):
            data = SOUND[layout][1]
            found[f"name: {layout}: {what}"] = _with(
                layout,
                name,
                lambda path, data=data: path.write_bytes(data),  # type: ignore[misc]
            )
    found |= {
        "tall: far frames": _tall("a_999999925_999999989", "b_1_65"),
        "tall: frames alone": _tall("_1_65", "b_1_65"),
        "tall: zeros before": _tall("a_000000001_65", "b_1_65"),
        "tall: the same frames twice": _tall("a_1_65_1_65", "a_1_65_01_65", "b_1_65"),
        "tall: other digits": _tall("a_\u0661_\u0666\u0665", "b_1_65"),
        "tall: backwards": _tall("a_65_1", "b_1_65"),
        "tall: many digits": _tall("a_1_" + "9" * 200, "b_1_65"),
        "streams: above": _streams("a", "../release/b"),
        "streams: absolute": _streams("a", "/etc"),
        "streams: the same": _streams("a", "a"),
        "streams: none": _streams("a", ""),
        "streams: NUL": _streams("a", "b\0"),
        "streams: long": _streams("a", "x" * 5000),
        "streams: itself": _streams(".", "a"),
    }
    for kind in ("features", "annotations", "predictions", "durations", "queries"):
        for what, path in {
            "a long path": "x/" * 3000,
            "a long name": "x" * 300,
            "NUL": "a\0b",
            "no text": "\udcff",
            "the root": "/",
            "/dev/zero": "/dev/zero",
            "/proc/self/mem": "/proc/self/mem",
            "/proc/self/environ": "/proc/self/environ",
        }.items():
            found[f"path: {kind}: {what}"] = _path(kind, path)
    return found
