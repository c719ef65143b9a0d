"""Which backend is fastest: launches · t0 + copies + bytes / bandwidth + flops / peak."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch

from bpnet.attention.packed import keeps_packed
from bpnet.attention.plan import AttnPlan
from bpnet.attention.torch_phases import split_phases
from bpnet.errors import AttentionError


@dataclasses.dataclass(frozen=True)
class Costs:
    """How fast a machine is, as measured by `benchmarks/calibrate_attention.py`.

    Attributes:
        launch_seconds: One call into PyTorch with the small operations around it, > 0.
        bytes_per_second: Reading keys and values, > 0.
        copied_bytes_per_second: Copying keys and values side by side, > 0.
        flash_flops_per_second: Attention by the tiled kernel, > 0; 0 where there is none.
        bmm_flops_per_second: Attention by two matrix products and a softmax, > 0.
    """

    launch_seconds: float
    bytes_per_second: float
    copied_bytes_per_second: float
    flash_flops_per_second: float
    bmm_flops_per_second: float

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            least = name == "flash_flops_per_second"
            if not (value > 0 or (least and value == 0)):
                raise AttentionError(
                    f"Costs.{name}={value!r}: expected a number > 0; run "
                    "benchmarks/calibrate_attention.py"
                )

    @property
    def flops_per_second(self) -> float:
        """Of the faster kernel."""
        return max(self.flash_flops_per_second, self.bmm_flops_per_second)

    @classmethod
    def load(cls, path: Path | str) -> Costs:
        """Read what the calibration wrote.

        Args:
            path: JSON file with one number for each attribute.

        Returns:
            The costs.

        Raises:
            AttentionError: The file is none of these.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(
                **{field.name: float(values[field.name]) for field in dataclasses.fields(cls)}
            )
        except (OSError, ValueError, KeyError, TypeError) as err:
            raise AttentionError(
                f"costs in {path}: {err!r}; expected a file written by "
                "benchmarks/calibrate_attention.py"
            ) from err

    def save(self, path: Path | str) -> None:
        """Write them as JSON."""
        text = json.dumps(dataclasses.asdict(self), indent=2)
        Path(path).write_text(text + "\n", encoding="utf-8")


# Of benchmarks/calibrate_attention.py on one core of an AMD EPYC server.
CPU_COSTS = Costs(
    launch_seconds=1.3e-05,
    bytes_per_second=7.1e10,
    copied_bytes_per_second=3.6e10,
    flash_flops_per_second=8.8e10,
    bmm_flops_per_second=7.8e10,
)
# From data sheets and common launch times, not measured; asked for only where Triton is missing.
CUDA_COSTS = Costs(
    launch_seconds=2e-5,
    bytes_per_second=1.5e12,
    copied_bytes_per_second=1e12,
    flash_flops_per_second=2e14,
    bmm_flops_per_second=5e13,
)


def default_costs(device: torch.device) -> Costs:
    """Those of a device for which none were measured."""
    return CPU_COSTS if device.type == "cpu" else CUDA_COSTS


@dataclasses.dataclass(frozen=True)
class Work:
    """What a backend has to do.

    Attributes:
        launches: Calls.
        flops: Multiplications and additions.
        read_bytes: Bytes read by the attention.
        copied_bytes: Bytes copied before it.
    """

    launches: int
    flops: float
    read_bytes: float
    copied_bytes: float

    def seconds(self, costs: Costs) -> float:
        """Expected time."""
        # A core does one after the other: of 1 to 64 rows over the same keys, each takes as long
        # as the last, on top of what reading takes.
        reading = self.read_bytes / costs.bytes_per_second
        copying = self.copied_bytes / costs.copied_bytes_per_second
        computing = self.flops / costs.flops_per_second
        return self.launches * costs.launch_seconds + copying + reading + computing


def estimate(plan: AttnPlan, num_heads: int, has_own: bool, kept: bool = False) -> dict[str, Work]:
    """Work of each backend that runs on PyTorch's own kernels.

    Args:
        plan: The plan.
        num_heads: Query heads H.
        has_own: Whether the new tokens are among the keys.
        kept: Whether the plan has been used before, so that the copies which it keeps are there.

    Returns:
        ``"torch"``, ``"packed"`` and ``"expanded"`` with their work.
    """
    layout = plan.layout
    pair = 4 * num_heads * layout.head_dim  # flops of a row and a key
    token = 2 * layout.num_kv_heads * layout.head_dim * layout.dtype.itemsize
    state = 8 * num_heads * (layout.head_dim + 1)  # a row's partial result, written and read
    seen = [0] * plan.num_sequences
    for one in plan.segments:
        for place in range(one.first, one.last):
            seen[place] += one.num_tokens
    own = sum(plan.rows) if has_own else 0
    pairs = sum(
        (tokens + (rows if has_own else 0)) * rows
        for tokens, rows in zip(seen, plan.rows, strict=True)
    )
    unique = sum(one.num_tokens for one in plan.segments) + own
    levels, short = plan.keep("phases", lambda: split_phases(plan))
    pieces = [one.num_tokens for several in short for one in several]
    batched = has_own or bool(pieces)
    merges = max(0, len(levels) - (not batched))
    each = sum(one.num_tokens * one.num_sequences for one in plan.segments) + own
    parts = len(plan.segments) + has_own
    mask = 4 * plan.num_rows * unique if plan.num_sequences > 1 and unique else 0
    launches = sum(len(level) for level in levels) + merges + batched
    merged = state * plan.num_rows * merges
    filled = 0 if kept else token * sum(pieces)
    beside = token * (own if kept and keeps_packed(plan) else unique) if parts > 1 else 0
    return {
        "torch": Work(launches, pair * pairs, token * unique + merged, filled),
        "expanded": Work(launches, pair * pairs, token * each + merged, filled),
        "packed": Work(1, pair * plan.num_rows * unique, token * unique + mask, beside),
    }


def cheapest(
    plan: AttnPlan, num_heads: int, has_own: bool, costs: Costs, kept: bool = False
) -> str:
    """The backend with the smallest expected time; see `estimate`."""
    work = estimate(plan, num_heads, has_own, kept)
    return min(work, key=lambda name: work[name].seconds(costs))
