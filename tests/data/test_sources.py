"""The table of homes: its form, and its digests against the real files."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pytest

from bpnet.config import DATASETS
from bpnet.data.download import digest
from bpnet.data.inspection import found_parts
from bpnet.data.parts import parts_of
from bpnet.data.sources import SOURCES, RemoteFile, find_source
from bpnet.errors import ConfigError

FILES = [(name, file) for name, source in SOURCES.items() for file in source.files]
# Folders of the development data, where they are not named as the dataset; the second holds the
# durations under another name.
FOLDERS = {"tacos_2dtan": "tacos", "activitynet": "activitynet_captions"}
RENAMED = {"charades.json": "charades_durations.json"}


def test_every_published_dataset_has_a_source() -> None:
    assert set(SOURCES) == set(DATASETS) - {"lighthouse", "jsonl", "csv"}
    for source in SOURCES.values():
        assert source.title and source.licence and source.files


@pytest.mark.parametrize(("name", "file"), FILES, ids=lambda value: getattr(value, "name", value))
def test_each_file_is_pinned(name: str, file: RemoteFile) -> None:
    """By a commit in its address and by a checksum; and it stays in its folder."""
    host = "https://raw\\.githubusercontent\\.com"
    assert re.fullmatch(rf"{host}/[\w-]+/\w+/[0-9a-f]{{40}}/[\w/.-]+", file.url)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}|git:[0-9a-f]{40}", file.digest)
    assert file.digest.startswith("git:") == (file.size is None)
    assert file.size is None or 0 < file.size < 100 * 2**20
    path = PurePosixPath(file.name)
    assert not path.is_absolute() and ".." not in path.parts and str(path) == file.name


@pytest.mark.parametrize("name", SOURCES)
def test_the_reader_finds_every_part_in_the_folder(tmp_path: Path, name: str) -> None:
    for file in SOURCES[name].files:
        path = tmp_path / file.name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found, absent = found_parts(name, tmp_path)
    assert (tuple(found), absent) == (parts_of(name), {})
    if name == "charades_sta":
        assert found_parts(name, tmp_path / "original")[0] == ["train"]


def test_no_name_or_digest_twice() -> None:
    assert len({(name, file.name) for name, file in FILES}) == len(FILES)
    assert len({file.digest for _, file in FILES}) == len(FILES)
    assert len({file.url for _, file in FILES}) == len(FILES)


def test_features_are_by_hand() -> None:
    """One page and one folder each."""
    for source in SOURCES.values():
        assert source.features
        assert len({release.put for release in source.features}) == len(source.features)
        for release in source.features:
            assert re.fullmatch(r"https://[\w.-]+/[\w/.-]+", release.home)
            assert re.fullmatch(r"features/\w+/[\w-]+", release.put)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "file"), FILES, ids=lambda value: getattr(value, "name", value))
def test_the_real_files_have_these_digests(shared_dir: Path, name: str, file: RemoteFile) -> None:
    path = shared_dir / "data" / "annotations" / FOLDERS.get(name, name) / file.name
    path = path.with_name(RENAMED.get(path.name, path.name))
    if name == "didemo" or file.name == "anet_train.json":
        assert not path.exists(), "now it can be compared"
        pytest.skip("not among the development data")
    assert path.stat().st_size == file.size
    assert digest(path, "sha256") == file.digest


def test_an_unknown_name() -> None:
    with pytest.raises(ConfigError, match="dataset 'charades': expected one of charades_sta, "):
        find_source("charades", SOURCES)
