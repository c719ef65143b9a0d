"""The public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import bpnet
import bpnet_features


def test_public_names() -> None:
    assert set(bpnet.__all__) == {"BPNetError", "Localizer", "Moment", "__version__"}
    assert all(hasattr(bpnet, name) for name in bpnet.__all__)
    expected = {
        "BPNetError",
        "ClipGrid",
        "FeatureError",
        "FeatureSource",
        "FeatureSpec",
        "FeatureStore",
        "FeatureWriter",
        "MissingVideoError",
        "QueryFeatureStore",
        "open_features",
    }
    assert set(bpnet_features.__all__) == expected
    assert all(hasattr(bpnet_features, name) for name in expected)
    assert bpnet.BPNetError is bpnet_features.BPNetError


def test_nothing_else_is_public() -> None:
    """What stands in the packages besides ``__all__`` are their modules, and what is imported."""
    for package in (bpnet, bpnet_features):
        modules = {name for name in vars(package) if f"{package.__name__}.{name}" in sys.modules}
        public = {name for name in vars(package) if not name.startswith("_")} - modules
        assert public - set(package.__all__) <= {"annotations", "TYPE_CHECKING", "Any"}


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'bpnet' has no attribute 'Localiser'"):
        bpnet.Localiser  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import bpnet", ("torch", "hydra", "omegaconf", "torchtext", "av")),
        ("from bpnet import BPNetError, Moment", ("torch", "hydra", "omegaconf")),
        ("import bpnet_features", ("torch", "hydra", "bpnet", "av")),
        ("from bpnet import Localizer", ("hydra", "omegaconf", "av", "bpnet.training")),
    ],
)
def test_importing_is_light_and_silent(statement: str, absent: tuple[str, ...]) -> None:
    code = f"import sys\n{statement}\nassert not set({absent!r}) & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
