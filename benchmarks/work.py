"""What a piece of work costs besides time: operations, saved activations, peak memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from machine import CPU, settle, status_bytes
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

aten = torch.ops.aten


def count_flops(work: Callable[[], Any]) -> int:
    """Floating point operations of matrix products, convolutions, LSTMs and attention.

    What is computed element by element does not count, as it does not in the rate that this is
    compared with.
    """
    with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        work()
    total: int = counter.get_total_flops()
    return total


def _lstm(x: Any, of_input: Any, of_state: Any, *rest: Any, **out: Any) -> int:
    """One direction of one layer: both matrices are applied at every place (N, B, D)."""
    return 2 * x[0] * x[1] * (of_input.numel() + of_state.numel())


def _lstm_backward(*args: Any, **out: Any) -> int:
    return 2 * _lstm(*args)


def _cudnn_lstm(x: Any, weights: Any, *rest: Any, **out: Any) -> int:
    """Each matrix of each direction and layer is applied at every place."""
    return 2 * x[:-1].numel() * sum(weight.numel() for weight in weights if len(weight) == 2)


def _cudnn_lstm_backward(*args: Any, **out: Any) -> int:
    return 2 * _cudnn_lstm(*args)


def _convolution_backward(gradient: Any, x: Any, weight: Any, *rest: Any, **out: Any) -> int:
    """Torch's own formula takes a depthwise convolution for a full one."""
    wanted = rest[-1]  # gradients of the input, the weight and the bias
    return 2 * gradient.numel() * weight[1:].numel() * (wanted[0] + wanted[1])


def _attention(query: Any, key: Any, value: Any, *rest: Any, **out: Any) -> int:
    return 2 * query[:-1].numel() * key[-2] * (query[-1] + value[-1])


def _attention_backward(gradient: Any, *args: Any, **out: Any) -> int:
    """The scores once more, and the gradients of both products."""
    return _attention(*args) * 5 // 2


# What torch's counter does not know: most operations of the CPU, and cuDNN's LSTM.
_FORMULAS = {
    aten.mkldnn_rnn_layer: _lstm,
    aten.mkldnn_rnn_layer_backward: _lstm_backward,
    aten._cudnn_rnn: _cudnn_lstm,
    aten._cudnn_rnn_backward: _cudnn_lstm_backward,
    aten.convolution_backward: _convolution_backward,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def activation_bytes(work: Callable[[], Any], parameters: Iterable[Tensor]) -> int:
    """Bytes of the distinct storages, weights aside, that autograd keeps during a training step."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    kept: dict[int, int] = {}

    def pack(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        work()
    return sum(kept.values())


def peak_growth(work: Callable[[], Any], device: str = CPU) -> int:
    """Bytes by which memory grew at its highest: of a GPU, what its tensors take, else what is
    resident. Linux, glibc."""
    if device != CPU:
        settle(device)
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - held
    ctypes.CDLL(None).malloc_trim(0)  # else the work finds what earlier work left free
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    (before,) = status_bytes("VmRSS")
    work()
    (peak,) = status_bytes("VmHWM")
    return peak - before
