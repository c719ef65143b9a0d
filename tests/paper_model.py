"""The settings of ``model=bpnet_paper``: a plain network, which no default of ours changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

PATH = Path(__file__).parent.parent / "conf" / "model" / "bpnet_paper.yaml"
SETTINGS = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(PATH)))
