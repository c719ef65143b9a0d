"""Which layout is this? Told from the inside of a file or folder, or not at all."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import h5py

from bpnet_features import npy, npz, tensor_file, text
from bpnet_features.bounds import reading
from bpnet_features.errors import FeatureError
from bpnet_features.hdf5 import MAGIC, HDF5File
from bpnet_features.hdf5_reader import refuse_projection
from bpnet_features.known import LAYOUTS
from bpnet_features.readers import SHAPES_NAME, list_names
from bpnet_features.tall import NAME

NUM_LOOKED_AT = 8
_SUFFIXES = (".npy", ".npz", ".pt", ".csv", ".hdf5", ".h5", ".pth", ".pkl", ".pickle")


@dataclasses.dataclass(frozen=True)
class Recognised:
    """What a file or folder was found to be.

    Attributes:
        layout: A name of `known.LAYOUTS`.
        reasons: What was seen.
    """

    layout: str
    reasons: tuple[str, ...]


def recognise(path: Path) -> Recognised:
    """Tell the layout of a file or folder by looking inside.

    Args:
        path: The file or folder.

    Returns:
        The layout, and why.

    Raises:
        FeatureError: It is not there, fits no layout or several, or is known to be something else.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise FeatureError(f"feature file {str(path)!r}: no such file or folder")
    with reading(f"feature file {str(path)!r}"), path.open("rb") as file:
        head = file.read(len(MAGIC))
    if head == MAGIC:
        return _hdf5(path)
    what = "a single npy array" if head[:6] == b"\x93NUMPY" else f"a file that begins with {head!r}"
    if head[:4] == b"PK\x03\x04":
        what = "a single npz or pt file"
    raise FeatureError(
        f"feature file {str(path)!r} ({path.stat().st_size} bytes): {what}, not an HDF5 file: "
        "expected an HDF5 file, or the folder that holds a file for each video; a failed download "
        "often leaves a web page under the name of the file"
    )


def _hdf5(path: Path) -> Recognised:
    where = f"feature file {str(path)!r}"
    file = HDF5File(path)
    try:
        with reading(where):
            if "format" in file.root.attrs:
                return Recognised("bpnet", ("an HDF5 file with the attribute 'format'",))
        names = file.names()
        if not names:
            raise FeatureError(f"{where}: an HDF5 file without a video; download it again")
        kinds: Counter[str] = Counter()
        examples: dict[str, str] = {}
        for name in names[:NUM_LOOKED_AT]:
            found = file.find(name, where)
            if isinstance(found, h5py.Group):
                kind = "groups"
                refuse_projection(file.members(found, where), name, where)
            elif isinstance(found, h5py.Dataset):
                kind = f"datasets of {found.ndim} axes"
            else:
                kind = "named types"
            kinds[kind] += 1
            examples.setdefault(kind, f"{kind} such as {name!r}")
        seen = f"of the first {kinds.total()} of {len(names)} names are " + _listed(
            {examples[kind]: number for kind, number in kinds.items()}
        )
        match list(kinds):
            case ["groups"]:
                return Recognised("hdf5-group", (f"an HDF5 file, {seen}",))
            case ["datasets of 2 axes"]:
                return Recognised("hdf5", (f"an HDF5 file, {seen}",))
        raise _unsure(where, f"an HDF5 file, {seen}", "hdf5", "hdf5-group")
    finally:
        file.close()


def _folder(path: Path) -> Recognised:
    where = f"folder {str(path)!r}"
    files: Counter[str] = Counter()
    folders = []
    with reading(where), os.scandir(path) as items:
        for item in items:
            if item.is_dir():
                folders.append(item.name)
            elif item.is_file() and not item.name.startswith("."):
                suffix = Path(item.name).suffix
                known = suffix in _SUFFIXES or item.name == SHAPES_NAME
                files[suffix if known else ""] += 1
    folders = sorted(name for name in folders if not name.startswith("."))
    num_others = files.pop("", 0)
    files.pop(".json", None)
    counts = {f"*{suffix}": number for suffix, number in sorted(files.items())}
    seen = _listed(counts | ({"folders": len(folders)} if folders else {}))
    if len(counts) + bool(folders) > 1:
        raise _unsure(where, seen, *LAYOUTS[3:])
    if folders:
        return _folders(path, folders, where)
    if not counts:
        raise FeatureError(f"{where}: no feature file in it, but {num_others} of other kinds")
    if num_others:
        seen += f"; {num_others} files of other kinds are left out"
    match list(counts):
        case ["*.npy"]:
            return _npy(path, seen)
        case ["*.npz"]:
            return _npz(path, seen)
        case ["*.pt"]:
            for name in list_names(path, ".pt")[:NUM_LOOKED_AT]:
                tensor_file.check_file(path / f"{name}.pt", f"{where}, {name!r}")
            return Recognised("pt", (f"{seen}, each one tensor",))
        case ["*.csv"]:
            for name in list_names(path, ".csv")[:NUM_LOOKED_AT]:
                text.csv_entry(path / f"{name}.csv", f"{where}, {name!r}")
            return Recognised("csv", (f"{seen}, each with a row of column names",))
        case ["*.h5" | "*.hdf5"]:
            raise _unsure(f"{where}: {seen}: name one of these files", seen)
    raise _unsure(where, seen, *LAYOUTS[3:])


def _npy(path: Path, seen: str) -> Recognised:
    where = f"folder {str(path)!r}"
    names = list_names(path, ".npy")[:NUM_LOOKED_AT]
    shapes = [npy.file_shape(path / f"{name}.npy", f"{where}, {name!r}") for name in names]
    axes = {_axes(shape) for shape in shapes}
    has_json = (path / SHAPES_NAME).is_file()
    seen += f"; the first {len(shapes)} arrays are {', '.join(sorted(axes))}"
    if has_json:
        seen += f"; {SHAPES_NAME} stands beside them"
    is_tall = all(NAME.fullmatch(name) for name in names)
    match sorted(axes), has_json:
        case ["(T, C)"], True:
            return Recognised("vslnet", (seen,))
        case ["(T, C)"], False:
            return Recognised("npy", (seen,))
        case ["(T, 1, 1, C)"], False:
            return Recognised("lgi", (seen,))
        case ["(C,)"], False if is_tall:
            return Recognised("tall", (f"{seen}, named {{id}}_{{first frame}}_{{end}}",))
    hints = sorted({npy.axes_hint(shape) for shape in shapes if len(shape) == 4} - {""})
    raise _unsure(where, seen + "".join(hints), "npy", "vslnet", "lgi", "tall")


def _axes(shape: tuple[int, ...]) -> str:
    if len(shape) == 4 and shape[1:3] == (1, 1):
        return "(T, 1, 1, C)"
    return {1: "(C,)", 2: "(T, C)"}.get(len(shape), f"of {len(shape)} axes")


def _npz(path: Path, seen: str) -> Recognised:
    where = f"folder {str(path)!r}"
    for name in list_names(path, ".npz")[:NUM_LOOKED_AT]:
        arrays = npz.array_names(path / f"{name}.npz", f"{where}, {name!r}")
        if npz.VIDEO_KEY not in arrays:
            hint = (
                ": features of queries, not of videos" if set(arrays) & set(npz.QUERY_KEYS) else ""
            )
            raise _unsure(where, f"{seen}; {name!r} holds {arrays[:5]}{hint}", "npz")
    return Recognised("npz", (f"{seen} with the array {npz.VIDEO_KEY!r}",))


def _folders(path: Path, folders: list[str], where: str) -> Recognised:
    suffixes: Counter[str] = Counter()
    for name in folders[:NUM_LOOKED_AT]:
        with reading(where), os.scandir(path / name) as items:
            found = {Path(item.name).suffix for item in items if item.is_file()}
        suffixes.update(found & {".txt", *_SUFFIXES} or {"nothing"})
    seen = f"{len(folders)} folders, in the first of them {_listed(suffixes, '*{}')}"
    if set(suffixes) == {".txt"}:
        return Recognised("text-vectors", (seen,))
    raise FeatureError(
        f"{where}: {seen}: not one file or folder of features. Name one of {folders[:8]}, or "
        "several, in the order of their columns, as streams (data.features.streams, --streams "
        f"{','.join(folders[:2])})"
    )


def _listed(counts: Mapping[str, int], form: str = "{}") -> str:
    return ", ".join(f"{number} {form.format(what)}" for what, number in counts.items())


def _unsure(where: str, seen: str, *layouts: str) -> FeatureError:
    names = f": name the layout (data.features.layout, --layout): {', '.join(layouts)}"
    return FeatureError(f"{where}: not sure which layout this is: {seen}{names if layouts else ''}")
