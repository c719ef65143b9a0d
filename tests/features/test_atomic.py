"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpnet_features.atomic import part_of, write_atomically, write_text_atomically


def test_text_is_written_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    write_text_atomically(file, "one")
    write_text_atomically(file, "zwei: größer")
    assert file.read_text(encoding="utf-8") == "zwei: größer"
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_no_character_is_escaped(tmp_path: Path) -> None:
    """Such as half of a surrogate pair, which stands for a byte of a name that is not UTF-8."""
    write_text_atomically(tmp_path / "a.txt", "a \udcff b")
    assert (tmp_path / "a.txt").read_bytes() == b"a \\udcff b"


@pytest.mark.parametrize("name", ["n" * 255, "\N{CJK UNIFIED IDEOGRAPH-65E5}" * 85, "\udcff" * 255])
def test_names_as_long_as_they_may_be(tmp_path: Path, name: str) -> None:
    write_text_atomically(tmp_path / name, "long")
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")

    def fail_half_way(part: Path) -> None:
        part.write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_atomically(file, fail_half_way)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_parts_are_hidden_beside_the_file_and_differ(tmp_path: Path) -> None:
    one, two = part_of(tmp_path / "a.txt"), part_of(tmp_path / "a.txt")
    assert one != two
    assert one.parent == two.parent == tmp_path
    assert one.match(".*.part")  # what a resumed run clears away
