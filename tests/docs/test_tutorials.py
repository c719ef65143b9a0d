"""The notebooks of the documentation run from top to bottom and say what their text says."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import doc_commands
import pytest
from doc_blocks import ROOT

nbformat = pytest.importorskip("nbformat")
import tutorials  # noqa: E402

# What a line of a notebook fills in.
FILLED = {
    "{settings}": "experiment=demo data.root=sample",
    "{change}": "model.stage_two=true",
    "{seed}": "0",
}
names = pytest.mark.parametrize("path", tutorials.NOTEBOOKS, ids=lambda path: path.stem)


def code(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def test_there_are_three() -> None:
    assert [path.stem for path in tutorials.NOTEBOOKS] == [
        *("compare_two_models", "localize_in_your_video", "train_your_own")
    ]


@names
def test_a_notebook_is_whole(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < 50_000
    assert tutorials.printed(notebook), "run `python tests/docs/tutorials.py` to store outputs"
    assert not re.search(r"/(?:tmp|home|root|work)/", path.read_text(encoding="utf-8"))
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (path.parent / link).exists(), link


@names
def test_its_lines_are_read(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python by Python; commands by their own parsers, as those of the pages are."""
    monkeypatch.chdir(tmp_path)
    text = code(path).replace("\\\n", " ")
    ast.parse(re.sub(r"^( *)!.*$", r"\1pass", text, flags=re.MULTILINE))
    lines = re.findall(r"^ *!(bpnet .*)$", text, re.MULTILINE)
    assert len(lines) >= 3
    for line in lines:
        line = re.split(r" 2>| \| ", line)[0]
        for name, value in FILLED.items():
            line = line.replace(name, value)
        if "data=mine" not in line:  # a config that the notebook writes
            doc_commands.check(shlex.split(re.sub(r"\{[^}:]*\}", "x", line)))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of Jupyter are not ours
@names
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("av")
    said = tutorials.printed(tutorials.run(path, tmp_path))
    assert "Error" not in said and "Traceback" not in said, said
    told = {
        "train_your_own": "the best without a look at the video",
        "localize_in_your_video": "score",
        "compare_two_models": "95 % interval",
    }
    assert told[path.stem] in said
    assert (ROOT / "docs" / "tutorials" / path.name).is_file()
