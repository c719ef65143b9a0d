"""How many pairs a second are trained on and answered, beside VSLNet's public code.

    python benchmarks/throughput.py [--quick] [--json FILE] [--vslnet CHECKOUT] [--threads N]
                                    [--device cuda] [--batch N] [--only WORDS]

CHECKOUT is a clone of github.com/26hzhang/VSLNet (3793c62); without it only our own figures are
printed. Both get the same made-up pairs, which lie in memory with their sentences encoded; VSLNet
gets each pair with its video, in batches of its own loader's making. It has 128 positions a video
in its scripts; here it reads as many as we do. Its rival of the same width and layers is
`model=bpnet_paper`; our default has more parts. Everyone works in turn, in random order, in one
process with one number of threads.

- pairs/s, and `x VSLNet`: making the batch is left out; `collated too`: it counts for both. Of a
  training step the moving average of the weights, which VSLNet has not, is left out.
- the first: of the first batch of all, with what is prepared only once
- of GEMM: share of the rate of a 1024 x 1024 matrix product (on a GPU 8192 x 8192 in bfloat16),
  measured before and after, that the work's matrix products, convolutions and LSTMs come to
- activations: what autograd keeps for the gradients of a batch; peak: how far memory grew
- on a GPU: work ends when the GPU has ended it; we train in bfloat16, as is our default there, and
  in float32 as VSLNet; all answer in float32

What goes through `Localizer` counts everything from features and text to moments in seconds; there
VSLNet, whose sentences are encoded and whose answers stay positions, does less. Linux only.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interleaved import RIVAL, Contender, compare, print_figures
from machine import CPU, described, machine, read_rate, spread
from made_up import CHARADES, TACOS, MadeUp, Shape, train_config
from rival import Rival, open_checkout

from bpnet.data.collate import collate
from bpnet.inference.localizer import Localizer
from bpnet.models.grounder import Grounder
from bpnet.ranks import ALONE
from bpnet.training.batches import EpochBatches
from bpnet.training.optim import build_optimizer, build_schedule
from bpnet.training.profile import no_phase
from bpnet.training.step import TrainStep
from bpnet.types import Batch
from bpnet_features import FeatureWriter, open_features

MODELS = {
    "bpnet_paper": ("model=bpnet_paper",),
    "bpnet": ("model=bpnet",),
}
STAGE_ONE = {"bpnet_paper, stage one": ("model=bpnet_paper", "model.stage_two=false")}
FULL_PRECISION = {"bpnet, float32": ("model=bpnet", "trainer.precision=fp32")}
ANSWERING_BATCH = 32
SHARED_BATCH = 64  # of two processes: halves of a small batch leave each little to do at once
NUM_STEPS = 10_000  # of the schedule, so that the rate stays above 0
WHICH = ("alone", "together")
PROCESSES_TITLE = (
    f"training, {CHARADES.name}, batch {SHARED_BATCH}, two processes (gloo) of one thread"
)
PROCESSES = Path(__file__).with_name("processes.py")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where and how it is measured.

    Attributes:
        device: Where the work is done.
        batch: Pairs of a training batch.
        with_rival: VSLNet takes part.
        quick: Less of everything.
    """

    device: str
    batch: int
    with_rival: bool
    quick: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less of everything: under a minute")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--vslnet", type=Path, help="folder of VSLNet's code")
    parser.add_argument("--threads", type=int, help="of torch (all cores)")
    parser.add_argument("--device", default=CPU, help="cpu, cuda or cuda:N")
    parser.add_argument("--batch", type=int, default=16, help="pairs of a training batch")
    parser.add_argument("--only", default="", help="what has these words in its title")
    args = parser.parse_args()
    place = Place(args.device, args.batch, args.vslnet is not None, args.quick)
    torch.set_num_threads(args.threads or len(os.sched_getaffinity(0)))
    if args.vslnet:
        open_checkout(args.vslnet)
    rounds = 2 if args.quick else 11
    results: dict[str, Any] = {
        "machine": machine(args.device),
        "threads": torch.get_num_threads(),
        "load_before": os.getloadavg(),
        "read_bytes_per_second": read_rate(device=args.device),
    }
    print(described(torch.get_num_threads()))
    print(f"memory is read at {results['read_bytes_per_second'] / 1e9:.1f} GB/s")
    for title, contenders in groups(place):
        if args.only not in title:
            continue
        results[title] = compare(contenders(), rounds)
        print_figures(title, results[title])
    if args.device == CPU and args.only in PROCESSES_TITLE:
        results["processes"] = processes(rounds)
    results["load_after"] = os.getloadavg()
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


def groups(place: Place) -> Iterator[tuple[str, Callable[[], list[Contender]]]]:
    """What is compared, by title; the data of one group at a time are in memory."""
    # First, so that its first answer is the first one of the process.
    yield "one video, one sentence, cold, Localizer", partial(single, place)
    for shape in (CHARADES, TACOS):
        if place.quick:
            fewer = {"num_videos": shape.num_videos // 2, "queries": min(shape.queries, 32)}
            shape = dataclasses.replace(shape, **fewer)
        more = {"num_videos": shape.num_videos * max(1, place.batch // 16)}
        shape = dataclasses.replace(shape, **more)
        yield f"training, {shape.name}, batch {place.batch}", partial(training, shape, place)
    shape = dataclasses.replace(CHARADES, queries=1, num_videos=3 * ANSWERING_BATCH)
    title = f"answers, different videos, batch {ANSWERING_BATCH}"
    yield title, partial(different_videos, shape, place)
    for shape, queries in ((CHARADES, 1000), (TACOS, 100)):
        middle = sum(shape.clips) // 2
        queries = queries // 4 if place.quick else queries
        shape = dataclasses.replace(shape, clips=(middle, middle), queries=queries, num_videos=1)
        title = f"answers, {shape.name}, one video, {queries} sentences, Localizer"
        yield title, partial(one_video, shape, place)


def training(shape: Shape, place: Place) -> list[Contender]:
    """An epoch of training a round."""
    data = MadeUp(shape)
    models = {**STAGE_ONE, **MODELS, **({} if place.device == CPU else FULL_PRECISION)}
    ours = [our_training(data, place, *model) for model in models.items()]
    if not place.with_rival:
        return ours
    rival = Rival(data, device=place.device)
    order = EpochBatches(data.video_ids, place.batch, seed=0)  # all pairs are shuffled
    weights = tuple(rival.model.parameters())
    parts = (epochs(order), rival.training_batch, rival.train, weights, place.device)
    return [Contender(RIVAL, *parts), *ours]


def our_training(data: MadeUp, place: Place, name: str, overrides: Sequence[str]) -> Contender:
    config = train_config(data.shape, f"trainer.batch_size={place.batch}", *overrides)
    device = torch.device(place.device)
    model = data.model(config).to(device)
    optimizer = build_optimizer(model, config.optim)
    schedule = build_schedule(optimizer, config.optim, NUM_STEPS)
    step = TrainStep(model, config, optimizer, device, ALONE)
    sharing = config.trainer.queries_per_video
    order = EpochBatches(data.video_ids, place.batch, config.seed, sharing)

    def work(batch: Batch) -> None:
        step([(batch, None)], no_phase)
        schedule.step()

    weights = tuple(model.parameters())
    return Contender(name, epochs(order), our_collate(data), work, weights, place.device)


def epochs(order: EpochBatches) -> Callable[[], EpochBatches]:
    """Begins the next epoch each time."""
    numbers = itertools.count()

    def batches() -> EpochBatches:
        order.begin(next(numbers), 0)
        return order

    return batches


def our_collate(data: MadeUp) -> Callable[[Sequence[int]], Batch]:
    return lambda pairs: collate([data.samples[number] for number in pairs])


def in_order(size: int, most: int) -> Callable[[], list[range]]:
    """Pairs in batches of at most so many."""
    cuts = [range(first, min(first + most, size)) for first in range(0, size, most)]
    return lambda: cuts


def answering_rival(data: MadeUp, most: int, place: Place) -> list[Contender]:
    if not place.with_rival:
        return []
    rival = Rival(data, device=place.device)
    rival.model.eval()
    batches = in_order(len(data.samples), most)
    return [Contender(RIVAL, batches, rival.batch, rival.answer, device=place.device)]


def different_videos(shape: Shape, place: Place) -> list[Contender]:
    """Each pair has a video of its own."""
    data = MadeUp(shape)
    batches = in_order(len(data.samples), ANSWERING_BATCH)
    rival = answering_rival(data, ANSWERING_BATCH, place)

    def answer(model: Grounder, batch: Batch) -> Any:
        with torch.inference_mode():
            output = model(batch.to(torch.device(place.device)))
            best = output.scores.argmax(dim=1)
            return output.spans[torch.arange(len(best)), best].cpu().numpy()

    def contender(name: str, overrides: Sequence[str]) -> Contender:
        model = data.model(train_config(shape, *overrides)).eval().to(place.device)

        def work(batch: Batch) -> Any:
            return answer(model, batch)

        return Contender(name, batches, our_collate(data), work, device=place.device)

    return rival + [contender(*model) for model in MODELS.items()]


def make_localizer(data: MadeUp, overrides: Sequence[str], place: Place) -> Localizer:
    config = train_config(data.shape, *overrides)
    model = data.model(config).eval().to(place.device)
    return Localizer(model, data.vocabulary, data.spec, config.data.max_clips)


def one_video(shape: Shape, place: Place) -> list[Contender]:
    """One video is opened and asked all sentences."""
    data = MadeUp(shape)
    rival = answering_rival(data, ANSWERING_BATCH, place)
    clips, grid = data.videos[0]
    sentences = [sample.annotation.query for sample in data.samples if sample.annotation]

    def contender(name: str, overrides: Sequence[str]) -> Contender:
        localizer = make_localizer(data, overrides, place)
        everything = in_order(len(sentences), len(sentences))
        return Contender(
            name,
            everything,
            lambda pairs: [sentences[number] for number in pairs],
            lambda asked: localizer.open_video(clips, grid=grid).localize(asked),
            device=place.device,
        )

    return rival + [contender(*model) for model in MODELS.items()]


def single(place: Place) -> list[Contender]:
    """Each video is opened from a feature file, asked one sentence, and forgotten."""
    data = MadeUp(dataclasses.replace(CHARADES, queries=1, num_videos=16))
    rival = answering_rival(data, 1, place)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.h5"
        with FeatureWriter(path, data.spec) as writer:
            for number, (clips, grid) in enumerate(data.videos):
                writer.add(f"v{number}", clips, grid.duration_seconds)
        store = open_features(path)  # what is open stays readable when the folder is gone
        store.read("v0")

    def contender(name: str, overrides: Sequence[str]) -> Contender:
        localizer = make_localizer(data, overrides, place)

        def ask(pair: int) -> None:
            annotation = data.samples[pair].annotation
            assert annotation is not None
            localizer.open_video(store, annotation.video_id).localize(annotation.query)

        batches = in_order(len(data.samples), 1)
        return Contender(name, batches, lambda pairs: pairs[0], ask, device=place.device)

    return rival + [contender(*model) for model in MODELS.items()]


def processes(rounds: int) -> dict[str, Any]:
    """Training in two processes of one thread beside one of them alone."""
    starter = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    line = [sys.executable, *starter, str(PROCESSES), str(rounds), *MODELS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    print(f"\n{PROCESSES_TITLE}")
    print(f"{'median (min to max)':<24}{'alone pairs/s':>24}{'together':>24}{'ratio':>20}", end="")
    print(f"{'of GEMM':>9}{'loss after an epoch':>21}{'together':>11}{'largest difference':>20}")
    for name, row in found.items():
        # Later, a span chosen otherwise after a difference of rounding leads the two apart.
        steps = len(row["alone_losses"]) // (rounds + 1)
        alone, together = (np.array(row[f"{which}_losses"][:steps]) for which in WHICH)
        print(f"{name:<24}{spread(row['alone'], 0):>24}{spread(row['together'], 0):>24}", end="")
        print(f"{spread(row['ratio'], 2):>20}{np.median(row['share_of_gemm']):>9.0%}", end="")
        gap = np.abs(alone - together).max()
        print(f"{alone[-1]:>21.5f}{together[-1]:>11.5f}{gap:>20.1e}", flush=True)
    return found


if __name__ == "__main__":
    main()
