"""The networks that can be trained, evaluated and asked; `bpnet.models.build` makes them."""

from __future__ import annotations

from typing import TypeAlias

from bpnet.models.bpnet import BPNet
from bpnet.models.prefix_grounder import PrefixGrounder

Grounder: TypeAlias = BPNet | PrefixGrounder
