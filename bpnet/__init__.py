"""bpnet: natural-language video localization. A sentence in, the moment of a video out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpnet.errors import BPNetError
from bpnet.types import Moment
from bpnet.version import __version__

if TYPE_CHECKING:
    from bpnet.inference.localizer import Localizer

__all__ = ["BPNetError", "Localizer", "Moment", "__version__"]


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to import; `bpnet --help` must not pay for it.
    if name == "Localizer":
        from bpnet.inference.localizer import Localizer

        return Localizer
    raise AttributeError(f"module 'bpnet' has no attribute {name!r}")
