"""The Python of the documentation compiles, and what it imports is there."""

from __future__ import annotations

import ast
import importlib

import pytest
from doc_blocks import Block, blocks


def imported(block: Block) -> list[tuple[str, str | None]]:
    """Modules, and the names that are taken from them."""
    found: list[tuple[str, str | None]] = []
    for node in ast.walk(ast.parse(block.text, str(block))):
        if isinstance(node, ast.Import):
            found += [(one.name, None) for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, block
            found += [(node.module, one.name) for one in node.names]
    return found


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_imports(block: Block) -> None:
    compile(block.text, str(block), "exec")
    for module, name in imported(block):
        found = importlib.import_module(module)
        assert name is None or hasattr(found, name), f"{module} has no {name}"


def test_blocks_are_found() -> None:
    assert sum(bool(imported(block)) for block in blocks("python")) >= 5


def test_no_page_imports_what_is_not_public() -> None:
    """A reader's program would break without a word of warning."""
    taken = [(str(block), *one) for block in blocks("python") for one in imported(block)]
    private = [one for one in taken if (one[2] or "").startswith("_") or "._" in one[1]]
    assert not private
