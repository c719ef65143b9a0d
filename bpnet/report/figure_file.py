"""What all our figures share: their style, and how they reach a file. matplotlib is an extra."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bpnet.errors import ConfigError
from bpnet_features.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")

INK, SOFT, LINE = "#1d1f24", "#5b606b", "#dcdde0"
_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a word or a name may hold dollar signs
    "font.size": 11,
    "text.color": INK,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 10.5,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.frameon": False,
    "svg.fonttype": "none",
}


def check_suffix(path: str | os.PathLike[str]) -> str:
    """Refuse a name that does not say what kind of picture it is.

    Args:
        path: The picture.

    Returns:
        Its kind: ``png``, ``svg`` or ``pdf``.

    Raises:
        ConfigError: The suffix is another one.
    """
    kind = Path(path).suffix.lower()
    if kind not in SUFFIXES:
        raise ConfigError(f"picture {str(path)!r}: expected a name in {', '.join(SUFFIXES)}")
    return kind[1:]


def check_matplotlib() -> None:
    """Refuse to draw without matplotlib.

    Raises:
        ConfigError: It is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("this picture needs `pip install 'bpnet-nlvl[plots]'`")


@contextlib.contextmanager
def _styled_figure() -> Iterator[Figure]:
    """An empty figure in our style, which the settings of the machine do not change."""
    check_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield Figure(facecolor="white")


def save_figure(
    path: str | os.PathLike[str], draw: Callable[[Figure], None], *, dots_an_inch: int
) -> None:
    """Draw a figure into a file, in one step.

    Args:
        path: The picture; its suffix chooses png, svg or pdf. Missing folders are made.
        draw: Draws into an empty figure.
        dots_an_inch: Of a png.

    Raises:
        ConfigError: The suffix is another one, matplotlib is missing, or the picture cannot be
            written.
    """
    kind, target = check_suffix(path), Path(path)
    with _styled_figure() as figure:
        draw(figure)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(
                target, lambda part: figure.savefig(part, format=kind, dpi=dots_an_inch)
            )
        except OSError as err:
            raise ConfigError(
                f"picture {str(path)!r}: cannot be written: {err.strerror}; give another name"
            ) from err


def figure_image(draw: Callable[[Figure], None], *, dots_an_inch: int) -> npt.NDArray[np.uint8]:
    """Draw a figure into memory.

    Args:
        draw: Draws into an empty figure.
        dots_an_inch: Of the image.

    Returns:
        The image (height, width, 3).

    Raises:
        ConfigError: matplotlib is missing.
    """
    with _styled_figure() as figure:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        draw(figure)
        figure.set_dpi(dots_an_inch)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()
