"""Sizes that a graph, while it is traced for export, leaves open within declared ranges."""

from __future__ import annotations

import torch


def is_open(size: int) -> bool:
    """Whether a size is left open."""
    return isinstance(size, torch.SymInt)


def possibly(condition: bool) -> bool:
    """Whether a comparison of sizes holds or, where they are open, holds for some of them.

    Args:
        condition: The comparison.

    Returns:
        The comparison itself; of open sizes False only where their ranges rule it out.
    """
    if not isinstance(condition, torch.SymBool):
        return condition
    from torch.fx.experimental.symbolic_shapes import statically_known_true  # slow to import

    return not statically_known_true(torch.sym_not(condition))
