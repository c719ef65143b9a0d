"""Runs the notebooks of docs/tutorials; by hand, also writes what they print into them.

python tests/docs/tutorials.py [NAME ...]
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from doc_blocks import ROOT

FOLDER = ROOT / "docs" / "tutorials"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS_A_CELL = 600


def run(notebook: Path, folder: Path) -> Any:
    """Run a notebook from top to bottom in a fresh kernel of this Python.

    Args:
        notebook: The notebook; it is not changed.
        folder: Working directory of the kernel.

    Returns:
        The notebook with the outputs of this run.

    Raises:
        CellExecutionError: A cell ended with an error.
    """
    from nbclient import NotebookClient
    from traitlets.config import Config

    read = nbformat.read(notebook, as_version=4)
    # `!bpnet` in a notebook is the command of the same environment.
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with tempfile.TemporaryDirectory() as sockets:  # files, that nobody else can listen at
        connection = str(Path(sockets) / "kernel.json")
        client = NotebookClient(
            read,
            config=Config({"KernelManager": {"transport": "ipc", "connection_file": connection}}),
            kernel_name="python3",
            timeout=SECONDS_A_CELL,
            resources={"metadata": {"path": str(folder)}},
        )
        return client.execute(env={**os.environ, "PATH": programs, "OMP_NUM_THREADS": "1"})


def printed(notebook: Any) -> str:
    """What the cells of a notebook printed, without progress bars."""
    return "".join(
        output["text"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "stream" and output["name"] == "stdout"
    )


def _store(notebook: Path) -> None:
    """Run a notebook and keep what a reader should see of its outputs."""
    with tempfile.TemporaryDirectory() as folder:
        done = run(notebook, Path(folder))
    for cell in done.cells:
        cell.metadata.pop("execution", None)  # when it ran
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
            for output in cell.outputs:
                output.text = _without_progress(output.text)
    done.metadata["language_info"] = {"name": "python"}
    nbformat.write(done, notebook)


def _without_progress(text: str) -> str:
    """What stays on a terminal, without colours, progress bars and empty lines."""
    text = re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", text)
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", text)]
    return "".join(f"{line}\n" for line in lines if line and not re.search(r"\d+%\|", line))


if __name__ == "__main__":
    for path in NOTEBOOKS:
        if not sys.argv[1:] or path.stem in sys.argv[1:]:
            _store(path)
