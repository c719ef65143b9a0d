"""How an image model is trained."""

from __future__ import annotations

import dataclasses

from bpnet.contexts.pool_config import INTERVENTIONS
from bpnet.settings import in_range, one_of, raise_faults


@dataclasses.dataclass(frozen=True)
class ImageConfig:
    """One training.

    Attributes:
        intervention: ``none``: class activation maps, as they are. ``cicam``: CI-CAM's head, whose
            pool keeps a map a class. ``backdoor``: the loss is told how likely each class is in the
            context that the picture is seen to have, so that the network need not learn it from
            the context's pixels. ``stratified``: pictures are weighted so that the context of a
            class is as frequent with it as without it.
        size: Side S of the pictures; others are scaled to it.
        width: Channels of the first convolution.
        epochs: Passes over the pictures.
        first_epochs: Passes that first train another network with ``none``, on whose features
            contexts are found (``backdoor``, ``stratified``).
        batch_size: Pictures a step.
        lr: Highest learning rate.
        cicam_rate: Share lambda that a batch adds to the maps of ``cicam``.
        seed: Of the weights and of the order of the pictures.
    """

    intervention: str = "backdoor"
    size: int = 64
    width: int = 16
    epochs: int = 20
    first_epochs: int = 6
    batch_size: int = 32
    lr: float = 4e-3
    cicam_rate: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        raise_faults(
            [
                one_of("intervention", self.intervention, INTERVENTIONS),
                in_range("size", self.size, 16, 1024),
                in_range("width", self.width, 1, 1024),
                in_range("epochs", self.epochs, 1),
                in_range("first_epochs", self.first_epochs, 1),
                in_range("batch_size", self.batch_size, 2),
                in_range("lr", self.lr, 1e-12),
                in_range("cicam_rate", self.cicam_rate, 0, 1),
                in_range("seed", self.seed, 0, 2**63 - 1),
            ]
        )
