"""What stands around the code agrees with it: citation, notices, licence, promises of security."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import bpnet

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib")
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return table["project"]


def test_the_citation(project: dict[str, Any]) -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert cited["version"] == bpnet.__version__
    assert cited["license"] == project["license"]
    assert {"authors", "message", "title"} <= set(cited)
    titles = [reference["title"] for reference in cited["references"]]
    assert titles[0].startswith("Boundary Proposal Network for Two-Stage Natural Language Video")
    for reference in cited["references"]:
        assert {"type", "title", "authors", "year", "collection-title"} <= set(reference)


def test_the_notice_names_every_package(project: dict[str, Any]) -> None:
    """Those that users install; tools of development are not told of."""
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    extras = project["optional-dependencies"]
    used = [each for name, each in extras.items() if name not in ("dev", "docs")]
    wanted = [*project["dependencies"], *(one for each in used for one in each)]
    names = {re.split(r"[\[<>=~ ]", one)[0] for one in wanted}
    assert len(names) > 20
    assert not {name for name in names if not re.search(rf"\b{re.escape(name)} \(", notice)}


def test_licence_files(project: dict[str, Any]) -> None:
    assert sorted(project["license-files"]) == ["LICENSE", "NOTICE"]
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_promises_of_security_name_tests_that_are_there() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    told = re.findall(r"`((?:tests|bpnet_features)/[\w/.]+)`", text)
    assert len(told) >= 10
    for path in told:
        folder = ROOT / "features" if path.startswith("bpnet_features") else ROOT
        assert (folder / path).exists(), path
    assert (ROOT / "tests/security/test_videos_that_name_addresses.py").exists()
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / link).exists(), link


def test_torch_is_new_enough_for_weights_only(project: dict[str, Any]) -> None:
    """Before 2.6 it could be bypassed, see SECURITY.md."""
    (bound,) = (one for one in project["dependencies"] if one.startswith("torch>"))
    found = re.fullmatch(r"torch>=(\d+)\.(\d+)", bound)
    assert found is not None
    assert (int(found[1]), int(found[2])) >= (2, 6)
