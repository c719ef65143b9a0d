"""A progress bar for work that takes a while."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from tqdm import tqdm

DELAY_SECONDS = 1.0  # what is done by then needs no bar


@contextlib.contextmanager
def progress_bar(what: str, unit: str) -> Iterator[Callable[[float, float], None]]:
    """A bar on a terminal, gone when the work is done; elsewhere nothing.

    Args:
        what: The work.
        unit: What is counted.

    Yields:
        A function that is told how much is done, and of how much.
    """
    form = f"{{l_bar}}{{bar}}| {{n:.0f}} of {{total:.0f}} {unit} [{{elapsed}}, {{remaining}} left]"
    with tqdm(
        total=1, desc=what, bar_format=form, delay=DELAY_SECONDS, leave=False, disable=None
    ) as bar:

        def progress(done: float, total: float) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
