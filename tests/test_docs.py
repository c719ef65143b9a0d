"""The documentation names what there is: files, datasets, layouts, releases, protocols, counts."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from bpnet.config import DATASETS
from bpnet.contexts.pool_config import INTERVENTIONS, PoolConfig
from bpnet.data.published import counts_table
from bpnet.evaluation.protocols import PROTOCOLS
from bpnet_features import FeatureSpec
from bpnet_features.backbones.choose import NAMES
from bpnet_features.backbones.grid import GRID_SPEC
from bpnet_features.confounder import SPLITS
from bpnet_features.confounder_knobs import Confounder
from bpnet_features.known import LAYOUTS, find_layout

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "features" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def first_column(text: str, heading: str) -> list[str]:
    """Code in the first cells of the rows of the table with this heading."""
    table = text.split(f"\n| {heading} |")[1].split("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    return [name for cell in cells for name in re.findall("`([^`]+)`", cell)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_datasets() -> None:
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    assert first_column(text, "name") == [*DATASETS[:-2], "jsonl", "csv"]
    assert counts_table() in text


def test_backbones() -> None:
    text = (ROOT / "docs" / "extract.md").read_text(encoding="utf-8")
    assert first_column(text, "backbone") == list(NAMES)
    assert f"| {GRID_SPEC.feature_dim}; 0.5 |" in text


def test_layouts_and_releases() -> None:
    text = (ROOT / "features" / "README.md").read_text(encoding="utf-8")
    assert sorted(first_column(text, "layout")) == sorted(LAYOUTS)
    table = text.split("\n| layout |")[1].split("\n\n")[0]
    for line in table.splitlines()[2:]:
        _, layout, _, releases, _ = line.split("|")
        for name in re.findall("`([^`]+)`", releases):
            assert layout.strip(" `") in find_layout(name).layouts, name


def test_protocols() -> None:
    text = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    assert first_column(text, "name")[: len(PROTOCOLS)] == [one.name for one in PROTOCOLS]


def test_entries_of_the_feature_spec() -> None:
    text = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
    names = [field.name for field in dataclasses.fields(FeatureSpec)]
    assert sorted(first_column(text, "entry")) == sorted(names)


def test_weak_settings_and_knobs() -> None:
    text = (ROOT / "docs" / "weak.md").read_text(encoding="utf-8")
    for heading, kind, more in (
        ("setting (`PoolConfig`)", PoolConfig, []),
        ("knob", Confounder, ["rich"]),
    ):
        names = [field.name for field in dataclasses.fields(kind)] + more
        assert first_column(text, f"{heading} | default") == names
    assert first_column(text, "`intervention`") and set(
        first_column(text, "`intervention`")
    ) == set(INTERVENTIONS)
    named = {name.strip("`") for name in first_column(text, "part")}
    assert named == set(SPLITS)
