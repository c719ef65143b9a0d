"""The wheel: everything is in it, and it works where nothing else of the project is."""

from __future__ import annotations

import ast
import fnmatch
import importlib.metadata
import json
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"bpnet": ROOT / "bpnet", "bpnet_features": ROOT / "features" / "bpnet_features"}


@pytest.fixture(scope="module")
def setuptools_table() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib")
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return table["tool"]["setuptools"]


def test_the_list_of_packages_is_that_of_the_folders(setuptools_table: dict[str, Any]) -> None:
    found = {"bpnet.conf"}
    for name, folder in SOURCES.items():
        for init in folder.rglob("__init__.py"):
            found.add(".".join([name, *init.parent.relative_to(folder).parts]))
        # A folder with code and without __init__.py would be forgotten.
        for file in folder.rglob("*.py"):
            assert (file.parent / "__init__.py").is_file(), file
    assert sorted(setuptools_table["packages"]) == sorted(found)


def test_every_other_file_is_package_data(setuptools_table: dict[str, Any]) -> None:
    data: dict[str, list[str]] = setuptools_table["package-data"]
    for name, folder in {**SOURCES, "bpnet.conf": ROOT / "conf"}.items():
        for file in folder.rglob("*"):
            if not file.is_file() or file.suffix in (".py", ".pyc"):
                continue
            inner = file.relative_to(folder)
            # Globs count from the package that they are given for; "*" does not cross folders.
            patterns = [
                f"{package.removeprefix(name).strip('.').replace('.', '/')}/{pattern}".lstrip("/")
                for package, given in data.items()
                if package == name or package.startswith(f"{name}.")
                for pattern in given
            ]
            assert any(
                len(Path(pattern).parts) == len(inner.parts)
                and fnmatch.fnmatch(inner.as_posix(), pattern)
                for pattern in patterns
            ), f"{file} is in no wheel"


def test_versions_agree() -> None:
    import bpnet

    assert importlib.metadata.version("bpnet-nlvl") == bpnet.__version__


def test_the_oldest_python_reads_everything() -> None:
    """Syntax that a newer Python knows would be seen only by its users."""
    for folder in (*SOURCES.values(), ROOT / "conf", ROOT / "scripts"):
        for file in folder.rglob("*.py"):
            ast.parse(file.read_text(encoding="utf-8"), str(file), feature_version=(3, 10))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution, and the wheel that is built from it alone.

    From a copy of the checkout, so that nothing is left there, or taken from its remains.
    """
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "local", ".*", "runs", "site")
    for entry in ROOT.iterdir():
        if entry.is_file():
            shutil.copy(entry, source)
    for name in ("bpnet", "features", "conf", "tests", "benchmarks", "docs", "scripts"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source],
        capture_output=True,
        text=True,
        timeout=300,
        env={
            name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
        },
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    warned = [line for line in said.splitlines() if re.search("warn|deprecat|ignored", line, re.I)]
    assert not warned
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.mark.slow
def test_content_of_the_source_distribution(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tops = {name.split("/")[0] for name in names if name} - {"PKG-INFO", "setup.cfg"}
    assert tops - {top for top in tops if top.endswith(".egg-info")} == {
        *("bpnet", "conf", "features", "pyproject.toml", "MANIFEST.in"),
        *("README.md", "LICENSE", "NOTICE", "CHANGELOG.md", "CITATION.cff", "SECURITY.md"),
    }


@pytest.mark.slow
def test_content_of_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"bpnet", "bpnet_features"}
    inside = {name.removeprefix("bpnet/conf/") for name in names if name.startswith("bpnet/conf/")}
    expected = {
        path.relative_to(ROOT / "conf").as_posix() for path in (ROOT / "conf").rglob("*.yaml")
    }
    assert inside - {"__init__.py"} == expected
    assert {"bpnet/py.typed", "bpnet_features/py.typed"} <= set(names)
    licences = {name.rpartition("/licenses/")[2] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}
    assert not [name for name in names if "test" in name.lower() or "benchmark" in name.lower()]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console script in an environment that has the wheel, and of this one the dependencies.

    Downloading PyTorch again would take minutes; instead the packages of this environment are
    found through a .pth file. Its own .pth files, among them that of the editable install of this
    checkout, are not read from there.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([python, "-c", query], capture_output=True, text=True, check=True)
    target = Path(done.stdout.strip())
    dependencies = "".join(f"{path}\n" for path in site.getsitepackages())
    (target / "dependencies.pth").write_text(dependencies, encoding="utf-8")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps"]
    done = subprocess.run(
        [*install, "--no-index", "--ignore-installed", wheel],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "bin" / "bpnet"


@pytest.mark.slow
def test_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    """Help, sample, a short training, evaluation and an answer, in an empty folder."""
    pytest.importorskip("av")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def bpnet(*arguments: str) -> str:
        done = subprocess.run(
            [installed, *arguments],
            cwd=tmp_path,
            env={**environment, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    where = "import bpnet, bpnet_features; print(bpnet.__file__, bpnet_features.__file__)"
    python = installed.parent / "python"
    done = subprocess.run([python, "-c", where], cwd=tmp_path, capture_output=True, text=True)
    for file in done.stdout.split():
        assert Path(file).is_relative_to(installed.parents[1]), done
    assert len(done.stdout.split()) == 2

    assert "trainer: default" in bpnet("train", "--help")
    assert "data.root=sample" in bpnet("features", "sample", "sample", "--videos", "6")
    line = ["data=sample", "data.root=sample", "trainer.max_steps=3", "run_dir=run"]
    small = ["model.hidden_dim=16", "model.num_conv_layers=1", "trainer.device=cpu"]
    result = json.loads(bpnet("train", *line, *small).splitlines()[-1])
    assert "mIoU" in result["validation"]
    assert "two stages" in bpnet("evaluate", "checkpoint=run", "split=test", "device=cpu")
    video = sorted((tmp_path / "sample").rglob("*.mp4"))[0]
    queries = ["a red circle appears", "something spins"]
    options = ["--checkpoint", "run", "--json", "--device", "cpu"]
    by_id = bpnet("localize", video.stem, *queries, "--features", "sample/features.h5", *options)
    answers = json.loads(by_id)
    assert [len(answer) for answer in answers] == [5, 5]
    by_file = json.loads(bpnet("localize", str(video), *queries, *options))
    for answer, other in zip(answers, by_file, strict=True):
        for moment, again in zip(answer, other, strict=True):
            assert moment == pytest.approx(again, abs=1e-5)
