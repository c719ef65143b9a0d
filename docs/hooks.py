"""mkdocs hooks: pages that stand elsewhere in the repository, and links to them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "features.md": ROOT / "features" / "README.md",
    "security.md": ROOT / "SECURITY.md",
    "changelog.md": ROOT / "CHANGELOG.md",
}


def on_files(files: Files, config: Any) -> Files:
    """Add the format of feature files, which stands beside its code, and pages of the root."""
    for name, path in PAGES.items():
        text = re.sub(r"\]\((?:\.\./)?docs/", "](", path.read_text(encoding="utf-8"))
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links to the repository's files to the pages made of them."""
    markdown = markdown.replace("](../SECURITY.md", "](security.md")
    return markdown.replace("](../features/README.md", "](features.md")
