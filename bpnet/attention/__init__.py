"""Attention over shared beginnings: a tree of keys and values, and exact attention over it.

What is stored: `cache.py` (layout, stores), `node.py`, `forest.py` (memory and eviction), `keys.py`
(content keys), `prefix_tree.py` (the tree that users hold), `plan.py` (who sees which part of it).

A call, from `attend` to numbers:

1. `shared.py`: `attend` makes `AttnInputs` (`inputs.py`), which check themselves, takes the backend
   that is named or that `cost.py` expects to be fastest, and gives them to it.
2. The backend: "reference" is `reference.py`, "packed" `packed.py`, "torch" and "expanded"
   `torch_phases.py` (phase one and the merge, `merge.py`) and `torch_sequences.py` (phase two),
   "triton" `triton_call.py` with `triton_tables.py` and the kernels of `triton_ops.py`.
3. `partials.py`: attention over one block of keys, for all but "reference" and "triton".
"""

from bpnet.attention.cache import KVLayout
from bpnet.attention.cost import Costs
from bpnet.attention.keys import chunk_keys, content_key, fingerprint, tensor_bytes
from bpnet.attention.merge import merge_states
from bpnet.attention.node import Node, Sequence
from bpnet.attention.plan import AttnPlan, Segment
from bpnet.attention.prefix_tree import PrefixTree, TreeStats
from bpnet.attention.shared import BACKENDS, attend

__all__ = [
    "BACKENDS",
    "AttnPlan",
    "Costs",
    "KVLayout",
    "Node",
    "PrefixTree",
    "Segment",
    "Sequence",
    "TreeStats",
    "attend",
    "chunk_keys",
    "content_key",
    "fingerprint",
    "merge_states",
    "tensor_bytes",
]
