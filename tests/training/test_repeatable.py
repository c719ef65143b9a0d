"""Training on a CPU gives the same numbers again, with several threads too."""

from __future__ import annotations

import torch

from bpnet.training.repeatable import repeatable


def test_the_setting_holds_inside_and_on_cpus_alone() -> None:
    for device, inside in (("cpu", True), ("cuda", False)):
        with repeatable(torch.device(device)):
            assert torch.are_deterministic_algorithms_enabled() == inside
        assert not torch.are_deterministic_algorithms_enabled()


def test_gradients_of_indexing_with_several_threads() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    rows = torch.randint(0, 4, (20_000,), generator=torch.Generator().manual_seed(0))
    weights = torch.randn(20_000, 64, generator=torch.Generator().manual_seed(1))
    found = []
    try:
        with repeatable(torch.device("cpu")):
            for _ in range(5):
                table = torch.zeros(4, 64, requires_grad=True)
                (table[rows] * weights).sum().backward()
                found.append(table.grad)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, found[0]) for one in found)
