"""Which files hold a part of a dataset: names as their authors publish them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from bpnet.config import DATASETS
from bpnet.errors import AnnotationError, ConfigError

_CD_PARTS = ("train", "val", "test_iid", "test_ood")

# Parts by dataset, and the names that the file of each goes by, the preferred one first.
_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "charades_sta": {part: (f"charades_sta_{part}.txt",) for part in ("train", "test")},
    "charades_cd": {part: (f"charades_{part}.json",) for part in _CD_PARTS},
    "tacos_2dtan": {part: (f"{part}.json",) for part in ("train", "val", "test")},
    # SCDM's json, which says the durations; TALL's lists, also under the names of CBP; and SCDM's
    # json under its own name, which is also the one of 2D-TAN's files.
    "tacos_tall": {
        part: (f"scdm_{part}.json", f"TACoS_{part}_samples.txt", raw, f"{part}.json")
        for part, raw in (
            ("train", "tacos_train_0_74.txt"),
            ("val", "tacos_val_100_126.txt"),
            ("test", "tacos_test_75_99.txt"),
        )
    },
    "activitynet": {
        "train": ("train.json",),
        "val_1": ("val_1.json",),
        "val_2": ("val_2.json",),
        "val_merged": (),
        "val": ("val.json", "val_1.json"),
        "test": ("test.json", "val_2.json"),
    },
    "activitynet_cd": {part: (f"anet_{part}.json",) for part in _CD_PARTS},
    "qvhighlights": {
        "train": ("highlight_train_release.jsonl",),
        "val": ("highlight_val_release.jsonl",),
        "test": ("highlight_test_with_gt.jsonl", "highlight_test_release.jsonl"),
    },
    "didemo": {part: (f"{part}_data.json",) for part in ("train", "val", "test")},
}
# Parts of these have the names that their files, or their lines, give them.
FREE_DATASETS = ("lighthouse", "jsonl", "csv")

_SAME_PART = {"training": "train", "valid": "val", "validation": "val", "dev": "val"}
_COMMON_PARTS = ("train", "val", "test")


class PartFiles(NamedTuple):
    """The files of one part.

    Attributes:
        annotations: The annotation file; two where a part is two files merged.
        durations: The file that says how long the videos are, where it is another one.
    """

    annotations: tuple[Path, ...]
    durations: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files, the annotations first."""
        return self.annotations + ((self.durations,) if self.durations is not None else ())


def check_dataset(dataset: str) -> None:
    """Make sure that there is a reader of this name.

    Args:
        dataset: Name of the dataset.

    Raises:
        ConfigError: There is none; of ``"tacos"`` alone there are two.
    """
    if dataset == "tacos":
        raise ConfigError(
            "dataset='tacos': there are two, whose scores do not compare: expected 'tacos_2dtan' "
            "(2D-TAN; 9,790 training pairs) or 'tacos_tall' (TALL, \"org\"; 10,146)"
        )
    if dataset not in DATASETS:
        raise ConfigError(f"dataset={dataset!r}: expected one of {', '.join(DATASETS)}")


def parts_of(dataset: str) -> tuple[str, ...]:
    """Names of the parts that a dataset has wherever it is complete.

    Args:
        dataset: Name of the dataset.

    Returns:
        The names, the training part first; none where the files name their parts.

    Raises:
        ConfigError: There is no such dataset.
    """
    check_dataset(dataset)
    names = tuple(_NAMES.get(dataset, ()))
    # These two are other names for val_1 and val_2.
    return tuple(n for n in names if dataset != "activitynet" or n not in ("val", "test"))


def opposite_parts(dataset: str, split: str) -> tuple[str, ...]:
    """The parts with which a test part is to be compared, where the dataset is made for that.

    Args:
        dataset: Name of the dataset.
        split: Name of the part.

    Returns:
        Of Charades-CD and ActivityNet-CD the other one of test_iid and test_ood, whose moments lie
        elsewhere; of all else none.
    """
    pair = ("test_iid", "test_ood")
    if _NAMES.get(dataset, {}).keys() >= set(pair) and split in pair:
        return tuple(name for name in pair if name != split)
    return ()


def find_part(dataset: str, path: Path, split: str) -> PartFiles:
    """Find the files of a part.

    Args:
        dataset: Name of the dataset.
        path: The folder as the dataset publishes it, or the file of that part alone.
        split: Name of the part.

    Returns:
        The files.

    Raises:
        AnnotationError: A file is missing or there are several, or the dataset has no such part.
        ConfigError: There is no such dataset.
    """
    check_dataset(dataset)
    try:
        if dataset in FREE_DATASETS:
            return _find_free(dataset, path, split)
        return _find_named(dataset, path, split)
    except OSError as err:
        raise AnnotationError(f"annotations {str(path)!r}: cannot be read: {err}") from err


def part_in_name(name: str, split: str) -> str | None:
    """The part that a file name speaks of.

    Args:
        name: The name, such as ``"tacos_val_release.jsonl"``.
        split: The part that is looked for.

    Returns:
        ``split`` where its words are in the name, in whatever case and between whatever signs;
        otherwise the first of train, val and test that is (``valid``, ``validation``, ``dev``
        count as val, ``training`` as train); None where there is none.
    """
    words = _words(name)
    wanted = _words(split)
    if wanted and f"_{'_'.join(wanted)}_" in f"_{'_'.join(words)}_":
        return split
    return next((part for part in _COMMON_PARTS if part in words), None)


def _find_named(dataset: str, path: Path, split: str) -> PartFiles:
    parts = _NAMES[dataset]
    if dataset == "charades_sta" and split == "val":
        raise AnnotationError(
            "split='val': charades_sta has no validation part, only train and test; carve one out "
            "of train by video (carve_validation)"
        )
    if split not in parts:
        raise AnnotationError(f"split={split!r}: {dataset} has {', '.join(parts)}")
    if split == "val_merged":
        return _find_merged(path)
    names = parts[split]
    # A file of another name would be another part, and a test on the training pairs goes unnoticed.
    if path.is_file() and path.name not in names:
        raise AnnotationError(
            f"annotation file {str(path)!r}: expected {_either(names)} for split {split!r} of "
            f"{dataset}; give that file, or the folder"
        )
    _check_exists(path, _either(names), dataset, split)
    folder = path if path.is_dir() else path.parent
    file = path if path.is_file() else _first_of(names, [folder], dataset, split)
    if dataset == "charades_sta":
        durations = (f"Charades_v1_{split}.csv", "charades_durations.json", "charades.json")
        places = [folder, folder.absolute().parent]
        return PartFiles((file,), _first_of(durations, places, dataset, split))
    if dataset == "tacos_tall" and file.suffix == ".txt":
        return PartFiles((file,), _tacos_durations(file, folder, split))
    return PartFiles((file,))


def _words(name: str) -> list[str]:
    words = re.findall("[a-z0-9]+", name.lower())
    return [_SAME_PART.get(word, word) for word in words]


def _find_merged(path: Path) -> PartFiles:
    """ActivityNet's val_1 and val_2 together, as LGI and SCDM evaluate."""
    for names in (("val_1.json", "val_2.json"), ("val.json", "test.json")):
        files = tuple(path / name for name in names)
        if all(file.is_file() for file in files):
            return PartFiles(files)
    raise AnnotationError(
        f"annotations {str(path)!r}: expected the folder that holds 'val_1.json' and 'val_2.json' "
        "for split 'val_merged' of activitynet"
    )


def _tacos_durations(file: Path, folder: Path, split: str) -> Path:
    for name in (f"scdm_{split}.json", f"{split}.json"):
        if (folder / name).is_file():
            return folder / name
    raise AnnotationError(
        f"annotation file {str(file)!r}: it does not say how long the videos are: put "
        f"'scdm_{split}.json' beside it (SCDM's data/TACOS/datasplit_info/{split}.json, which is "
        f"the same part with durations), or 2D-TAN's '{split}.json'"
    )


def _find_free(dataset: str, path: Path, split: str) -> PartFiles:
    if not split or not split.isprintable() or "/" in split or "\\" in split:
        raise AnnotationError(f"split={split!r}: expected the name of a part")
    names: tuple[str, ...]
    match dataset:
        case "lighthouse":
            names = (f"*_{split}_release.jsonl", f"{split}.jsonl")
        case "csv":
            names = (f"{split}.csv", "annotations.csv")
        case _:
            names = (f"{split}.jsonl", "annotations.jsonl", f"{split}.json")
    _check_exists(path, _either(names), dataset, split)
    if path.is_dir() and dataset != "lighthouse":
        return PartFiles((_first_of(names, [path], dataset, split),))
    if path.is_dir():
        found = [f for f in sorted(path.iterdir()) if f.suffix == ".jsonl" and f.is_file()]
        found = [file for file in found if part_in_name(file.stem, split) == split]
        if not found:
            raise _nothing_of(names, path, dataset, split)
        if len(found) > 1:
            shown = ", ".join(file.name for file in found[:8])
            raise AnnotationError(
                f"annotation folder {str(path)!r}: {len(found)} files for split {split!r} "
                f"({shown}): expected one; give the file itself"
            )
        return PartFiles((found[0],))
    # The lines of this dialect do not say which part they are of.
    if dataset == "lighthouse" and part_in_name(path.stem, split) != split:
        raise AnnotationError(
            f"annotation file {str(path)!r}: expected a name with {split!r} in it, such as "
            f"{_either(names)}, for split {split!r} of lighthouse"
        )
    return PartFiles((path,))


def _check_exists(path: Path, expected: str, dataset: str, split: str) -> None:
    if not (path.is_file() or path.is_dir()):
        raise AnnotationError(
            f"annotations {str(path)!r}: no such file or folder: expected {expected} for "
            f"split {split!r} of {dataset}, or the folder that holds it"
        )


def _first_of(names: tuple[str, ...], folders: list[Path], dataset: str, split: str) -> Path:
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise _nothing_of(names, folders[0], dataset, split)


def _nothing_of(names: tuple[str, ...], folder: Path, dataset: str, split: str) -> AnnotationError:
    there = [file.name for file in sorted(folder.iterdir())]
    return AnnotationError(
        f"annotation folder {str(folder)!r}: expected {_either(names)} for split {split!r} of "
        f"{dataset}, but it holds {', '.join(there[:8]) or 'nothing'}"
        + (f" and {len(there) - 8} more" if len(there) > 8 else "")
    )


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(repr(name) for name in names)
