"""A tiny dataset for the tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_run


@pytest.fixture(scope="session")
def dataset_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny dataset of `tiny_run`: 16 training queries; nothing may write into it."""
    return tiny_run.write_dataset(tmp_path_factory.mktemp("tiny_dataset"))
