"""Files that somebody made to do harm, by name; and what they would like to reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hostile_arrays
import hostile_bounds
import hostile_folders
import hostile_hdf5
import hostile_tensors
import hostile_text
import numpy as np
from exercise import SECRET
from subject import Subject

CASES: dict[str, Callable[[Path], Subject]] = {
    **hostile_arrays.cases(),
    **hostile_tensors.cases(),
    **hostile_hdf5.cases(),
    **hostile_text.cases(),
    **hostile_folders.cases(),
}
LARGEST = hostile_bounds.cases()
BEYOND_US = hostile_hdf5.beyond_us()
CASES |= LARGEST | BEYOND_US


def write_outside(folder: Path) -> None:
    """Files that no subject may show, beside the folder of the subjects."""
    np.save(folder / "secret.npy", np.full((4, 3), SECRET, np.float32))
    hostile_hdf5.write_outside(folder, SECRET)
