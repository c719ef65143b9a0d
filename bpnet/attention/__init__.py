"""Attention over shared beginnings: a tree of keys and values, and exact attention over it."""

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
