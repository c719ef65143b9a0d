"""The page of the architecture is true: its picture, its rooms, its tables; and so are names."""

from __future__ import annotations

import importlib
import itertools
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SCRIPT = "scripts/draw_architecture.py"
TEXTS = [
    *(ROOT / "bpnet").rglob("*.py"),
    *(ROOT / "features").rglob("*.py"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
]


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the rows of the first table behind a heading."""
    lines = text[text.index(heading) :].splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("|"))
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[first + 2 :])
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    pytest.importorskip("grimp")
    return runpy.run_path(str(ROOT / SCRIPT))


def test_the_picture_is_of_this_code(script: dict[str, Any]) -> None:
    drawn = script["picture"](script["rooms"]())
    assert script["PICTURE"].read_text(encoding="utf-8") == drawn, f"run: python {SCRIPT}"


def test_what_a_longer_way_says_is_left_out(script: dict[str, Any]) -> None:
    graph = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set(), "e": {"d"}}
    assert script["reduced"](graph) == {**graph, "a": {"b"}}
    ordered, lines = script["rows"](script["reduced"](graph))
    assert [{name for name in row if "->" not in name} for row in ordered] == [
        *({"a", "e"}, {"b"}, {"c"}, {"d"})
    ]
    assert sorted(line for line in lines if line[0].startswith("e")) == [
        ("e", "e->d@1"),
        ("e->d@1", "e->d@2"),
        ("e->d@2", "d"),
    ]


def test_every_room_has_its_duty(script: dict[str, Any]) -> None:
    named = [name for row in table(PAGE, "| room |") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(name.removeprefix("bpnet.") for name in script["rooms"]())


def test_contributing_has_the_same_query() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert table(contributing, "**One query") == table(PAGE, "## One query")


@pytest.mark.parametrize("way", ["One query", "One training", "One evaluation", "One request"])
def test_the_steps_are_there(way: str) -> None:
    rows = table(PAGE, f"## {way}")
    assert [row[0] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
    for _, files, calls, gives in rows:
        path, *beside = re.findall(r"`([\w/]+\.py)`", f"{files} {calls} {gives}")
        code = (ROOT / path).read_text(encoding="utf-8")
        for name in re.findall(r"\w+", re.match(r"`([\w.]+)", calls)[1]):  # type: ignore[index]
            assert re.search(rf"(class|def) {name}\b", code), f"{path}: {name}"
        for name in beside:
            assert (ROOT / name).is_file() or ((ROOT / path).parent / name).is_file(), name


def test_names_in_texts_exist() -> None:
    """`bpnet.module.name` in a docstring or a page is one that there is."""
    named = {
        name: path.relative_to(ROOT)
        for path in TEXTS
        for name in re.findall(
            r"`(bpnet(?:_features)?(?:\.\w+)+)[`(]", path.read_text(encoding="utf-8")
        )
    }
    assert len(named) > 50
    assert {name: path for name, path in named.items() if not exists(name)} == {}


def exists(name: str) -> bool:
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:depth]))
        except ModuleNotFoundError:
            continue
        for part in parts[depth:]:
            fields = getattr(found, "__dataclass_fields__", {})
            if not hasattr(found, part):
                return part in fields
            found = getattr(found, part)
        return True
    return False
