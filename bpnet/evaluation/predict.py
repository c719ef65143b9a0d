"""Model + queries -> predictions, in one process or shared out among several."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from bpnet.data.collate import collate
from bpnet.data.dataset import Samples
from bpnet.distributed import from_all
from bpnet.evaluation.calibration import Calibration
from bpnet.evaluation.predictions import Prediction, read_output
from bpnet.models.grounder import Grounder
from bpnet.ranks import ALONE, Ranks
from bpnet.types import Batch


def predict(
    model: Grounder,
    dataset: Samples,
    *,
    batch_size: int,
    num_workers: int = 0,
    device: torch.device,
    progress: bool = False,
    calibration: Calibration | None = None,
    which: range | None = None,
) -> Iterator[Prediction]:
    """Answer every query of a dataset, in its order; none is dropped.

    Args:
        model: The network; it is put in evaluation mode and left in the mode it was in.
        dataset: The queries.
        batch_size: Pairs a step; changes no answer.
        num_workers: Processes that load data.
        device: Where the model is.
        progress: Whether to show a progress bar.
        calibration: What turns its scores into probabilities, or None.
        which: The queries to answer, where it is only some of them; may be empty.

    Yields:
        Prediction: One a query.
    """
    loader: DataLoader[Batch] = DataLoader(
        dataset,  # type: ignore[arg-type]  # collate turns samples into a batch
        batch_size=batch_size,
        sampler=which,
        collate_fn=collate,
        num_workers=num_workers,
        # A generator of its own: drawing a seed for workers must not disturb dropout's.
        generator=torch.Generator(),
    )
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in tqdm(loader, desc="evaluate", disable=None if progress else True):
                yield from read_output(model(batch.to(device)), batch.samples, calibration)
    finally:
        model.train(was_training)


def share(count: int, ranks: Ranks) -> range:
    """The queries that a process answers: neighbours, since they are often about one video."""
    return range(count * ranks.rank // ranks.size, count * (ranks.rank + 1) // ranks.size)


def predict_all(
    model: Grounder,
    dataset: Samples,
    *,
    batch_size: int,
    num_workers: int = 0,
    device: torch.device,
    progress: bool = False,
    calibration: Calibration | None = None,
    ranks: Ranks = ALONE,
) -> list[Prediction]:
    """`predict`, shared out among the processes: each query is answered once, by one of them.

    Args:
        model: As there.
        dataset: As there.
        batch_size: As there.
        num_workers: As there.
        device: As there.
        progress: As there; only the first process shows it.
        calibration: As there.
        ranks: Who this process is.

    Returns:
        The predictions of all queries, in their order, in every process.
    """
    found = predict(
        model,
        dataset,
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
        progress=progress and ranks.first,
        calibration=calibration,
        which=share(len(dataset), ranks) if ranks.size > 1 else None,
    )
    return [prediction for part in from_all(list(found), ranks) for prediction in part]
