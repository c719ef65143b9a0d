"""Feature maps -> a map and a score for each class; any backbone may have made the features.

A class's map is its row of the classifier applied at each place, and its score is the mean of the
map, so that maps need no parameters of their own: CAM (Zhou et al., CVPR 2016).
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bpnet.contexts.class_maps import ClassMaps


@dataclasses.dataclass(frozen=True, eq=False)
class MapOutput:
    """What a head says of N pictures.

    Attributes:
        maps: Activation of each class (N, K, H, W).
        scores: Logits of the classes (N, K).
        plain_scores: With `CausalHead`, logits of the branch without maps, which is trained too.
    """

    maps: Tensor
    scores: Tensor
    plain_scores: Tensor | None = None


class CamHead(nn.Module):
    """Class activation maps.

    Args:
        feature_dim: Width C of the features.
        num_classes: Classes K.
    """

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(feature_dim, feature_dim)
        self.classifier = nn.Linear(feature_dim, num_classes)

    def forward(self, features: Tensor) -> MapOutput:
        """Compute maps and scores.

        Args:
            features: (N, H, W, C).

        Returns:
            Both.
        """
        return self.read(F.relu(self.hidden(features)))

    def read(self, hidden: Tensor) -> MapOutput:
        """The same of what the classifier reads (N, H, W, C)."""
        maps = self.classifier(hidden)
        return MapOutput(maps.permute(0, 3, 1, 2), maps.mean(dim=(1, 2)))


class AdjustedHead(nn.Module):
    """Class activation maps, adjusted for what comes with each class (``backdoor``).

    The hidden layer has a term, and each class a score, by context:

        h = ReLU(A x + C_z),  score(k, z) = mean of the map + t_kz.

    The head is trained with the context that each picture is seen to have, and with t_kz told: how
    likely the class is in it (`bpnet.images.context`), so that the pixels of the context need not
    tell it. Asked, it is summed over all contexts by their rates P(z), exactly.

    Args:
        feature_dim: Width C of the features.
        num_classes: Classes K.
        num_contexts: Contexts Z.
    """

    told: Tensor
    prior: Tensor

    def __init__(self, feature_dim: int, num_classes: int, num_contexts: int) -> None:
        super().__init__()
        self.cam = CamHead(feature_dim, num_classes)
        # Zero: with one context the head is the one without any.
        self.contexts = nn.Parameter(torch.zeros(num_contexts, feature_dim))
        self.register_buffer("told", torch.zeros(num_contexts, num_classes))
        self.register_buffer("prior", torch.full((num_contexts,), 1 / num_contexts))

    def forward(self, features: Tensor, contexts: Tensor | None = None) -> MapOutput:
        """Compute maps and scores.

        Args:
            features: (N, H, W, C).
            contexts: That of each picture (N,) int64, in training; None: summed over all of them.

        Returns:
            Both.
        """
        hidden = self.cam.hidden(features)
        if contexts is not None:
            told = self.cam.read(F.relu(hidden + self.contexts[contexts][:, None, None]))
            return MapOutput(told.maps, told.scores + self.told[contexts])
        maps: Tensor = hidden.new_zeros(())
        for rate, term in zip(self.prior, self.contexts, strict=True):
            maps = maps + rate * self.cam.read(F.relu(hidden + term)).maps
        return MapOutput(maps, maps.mean(dim=(2, 3)) + self.prior @ self.told)


class CausalHead(nn.Module):
    """CI-CAM's head: two branches share the classifier; the second sees the causal context pool.

    Shao et al., *Improving Weakly-Supervised Object Localization via Causal Intervention*, ACM MM
    2021. The pool Q keeps a map for each class, without gradient. The map of the class that the
    first branch finds likeliest is put in that class's channel, all others being 0, a 1 x 1
    convolution brings it to the width of the features, and

        F' = F + F * conv(Q).

    Args:
        feature_dim: Width C of the features.
        num_classes: Classes K.
        cells: Height H and width W of the features.
        rate: Share lambda that a batch adds to the pool.
    """

    def __init__(
        self, feature_dim: int, num_classes: int, cells: tuple[int, int], rate: float
    ) -> None:
        super().__init__()
        self.cam = CamHead(feature_dim, num_classes)
        self.enhance = nn.Linear(num_classes, feature_dim)
        # A picture's cells in a row, as the clips of a video are.
        self.pool = ClassMaps(num_classes, cells[0] * cells[1], rate)

    def forward(self, features: Tensor) -> MapOutput:
        """Compute maps and scores of the second branch, and scores of the first one.

        Args:
            features: (N, H, W, C).

        Returns:
            All of them.
        """
        hidden = F.relu(self.cam.hidden(features))
        plain = self.cam.read(hidden)
        likeliest = F.one_hot(plain.scores.argmax(dim=1), plain.scores.shape[1]).to(hidden)
        kept = likeliest @ self.pool.maps  # (N, H W)
        channels = (kept[:, :, None] * likeliest[:, None]).view(*hidden.shape[:3], -1)
        enhanced = self.cam.read(hidden + hidden * self.enhance(channels))
        return MapOutput(enhanced.maps, enhanced.scores, plain.scores)

    @torch.no_grad()
    def update(self, output: MapOutput, labels: Tensor) -> None:
        """Add the maps of the pictures of a batch that the first branch classifies rightly.

        Args:
            output: What it said of them.
            labels: Their classes (N,) int64.
        """
        assert output.plain_scores is not None
        right = output.plain_scores.argmax(dim=1) == labels
        own = output.maps[torch.arange(len(labels)), labels][right].flatten(1)
        classes = F.one_hot(labels[right], output.scores.shape[1]).bool()
        self.pool.update(own, torch.ones_like(own, dtype=torch.bool), classes)
