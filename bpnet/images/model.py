"""ImageModel: a trained network with what its input and output mean; a file, and boxes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bpnet.errors import CheckpointError, ConfigError
from bpnet.images.boxes import Box, boxes_above
from bpnet.images.combine import combined_map
from bpnet.images.network import ImageNetwork, build_network
from bpnet.images.settings import ImageConfig
from bpnet.settings import from_dict
from bpnet_features.atomic import write_atomically

FORMAT_NAME = "bpnet-image-model"
FORMAT_VERSION = "1"
Picture = npt.NDArray[np.uint8]

_AT_ONCE = 256  # pictures


@dataclasses.dataclass(frozen=True)
class FoundClass:
    """A class in a picture, and where it is.

    Attributes:
        name: The class.
        probability: Of it among all classes, in [0, 1].
        boxes: Where, in pixels of the picture, the largest first.
    """

    name: str
    probability: float
    boxes: tuple[Box, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)


class ImageModel:
    """A network, ready to be asked.

    Args:
        network: In evaluation mode.
        classes: Names of its classes, K.
        config: How it was trained.
        threshold: Share of the range of a map from which a pixel belongs to a box, in (0, 1].
        weighting: How the maps of the classes are combined, see `bpnet.images.combine`.
    """

    def __init__(
        self,
        network: ImageNetwork,
        classes: Sequence[str],
        config: ImageConfig,
        threshold: float = 0.5,
        weighting: str = "top",
    ) -> None:
        self.network = network
        self.classes = tuple(classes)
        self.config = config
        self.threshold = threshold
        self.weighting = weighting

    @torch.inference_mode()
    def maps(
        self, pictures: Tensor, given: Tensor | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Maps at the size of the pictures, and scores.

        Args:
            pictures: (N, 3, S, S) in [0, 1], S of the config.
            given: The class whose map is wanted (N,) int64; None: the likeliest.

        Returns:
            One map a picture (N, S, S), and the scores of all classes (N, K).
        """
        found, scores = [], []
        for first in range(0, len(pictures), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            output = self.network(pictures[part])
            chosen = combined_map(
                output.maps, output.scores, self.weighting, None if given is None else given[part]
            )
            size = pictures.shape[2:]
            large = F.interpolate(chosen[:, None], size, mode="bilinear", align_corners=False)
            found.append(large[:, 0])
            scores.append(output.scores)
        return torch.cat(found).numpy(), torch.cat(scores).numpy()

    def locate(self, pictures: Sequence[Picture], name: str | None = None) -> list[FoundClass]:
        """Find a class in pictures; class and boxes come from the same view of each.

        Args:
            pictures: RGB (height, width, 3) uint8 of any sizes.
            name: The class; None: in each picture the likeliest one.

        Returns:
            One a picture.

        Raises:
            ConfigError: There is no such class.
        """
        if name is not None and name not in self.classes:
            raise ConfigError(f"class {name!r}: the model knows {', '.join(self.classes)}")
        found = []
        for picture in pictures:
            given = None if name is None else torch.tensor([self.classes.index(name)])
            maps, scores = self.maps(to_input([picture], self.config.size), given)
            probabilities = torch.softmax(torch.from_numpy(scores[0]), dim=0)
            best = int(probabilities.argmax()) if given is None else int(given)
            size = self.config.size
            across, down = picture.shape[1] / size, picture.shape[0] / size
            boxes = [box.scaled(across, down) for box in boxes_above(maps[0], self.threshold)]
            found.append(FoundClass(self.classes[best], float(probabilities[best]), tuple(boxes)))
        return found

    def save(self, path: Path) -> None:
        """Write the file; it appears whole or not at all.

        Args:
            path: Where to; its folder must exist.
        """
        tensors = {name: one.contiguous() for name, one in self.network.state_dict().items()}
        values = {
            "classes": self.classes,
            "config": dataclasses.asdict(self.config),
            "threshold": self.threshold,
            "weighting": self.weighting,
            "num_contexts": self.network.num_contexts,
        }
        metadata = {"format": FORMAT_NAME, "version": FORMAT_VERSION, "model": json.dumps(values)}
        write_atomically(path, lambda part: save_file(tensors, part, metadata=metadata))

    @classmethod
    def load(cls, path: str | Path) -> ImageModel:
        """Read the file.

        Args:
            path: What `save` wrote.

        Returns:
            The model, on the CPU.

        Raises:
            CheckpointError: There is none, or it is damaged or something else.
        """
        file = Path(path)
        try:
            with safe_open(file, framework="pt") as opened:
                metadata = opened.metadata() or {}
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}
            if (metadata.get("format"), metadata.get("version")) != (FORMAT_NAME, FORMAT_VERSION):
                raise CheckpointError(
                    f"image model {str(file)!r}: format {metadata.get('format')!r} version "
                    f"{metadata.get('version')!r}: expected {FORMAT_NAME!r} {FORMAT_VERSION}"
                )
            values = json.loads(metadata["model"])
            config = from_dict(ImageConfig, values["config"], "model")
            network = build_network(config, len(values["classes"]), values["num_contexts"])
            network.load_state_dict(tensors)
        except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as err:
            if isinstance(err, CheckpointError):
                raise
            raise CheckpointError(
                f"image model {str(file)!r}: missing, damaged or no image model ({err}); train one "
                "with `bpnet images train`"
            ) from err
        return cls(
            network.eval(), values["classes"], config, values["threshold"], values["weighting"]
        )


def to_input(pictures: Sequence[Picture], size: int) -> Tensor:
    """Pictures as the network reads them: squares, whatever their shape was.

    Args:
        pictures: RGB (height, width, 3) uint8.
        size: Side S.

    Returns:
        (N, 3, S, S) in [0, 1].
    """
    found = []
    for picture in pictures:
        values = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()
        if values.shape[2:] != (size, size):
            values = F.interpolate(
                values, (size, size), mode="bilinear", align_corners=False, antialias=True
            )
        found.append(values.clamp(0, 255) / 255)
    return torch.cat(found)
