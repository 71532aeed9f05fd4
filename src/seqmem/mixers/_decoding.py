"""Decoding: one token through a whole layer without gradients, by the layer's ``step(x, state)``.

``forward`` of a layer that has a step begins with ``if decodes(self, x, state, mask, reset, form): return
self.step(x, state)``. A step computes what ``forward`` computes, with a kernel between the projections
(:mod:`seqmem.mixers._step_kernels`) in place of some thirty calls of torch. Kernels read addresses, so whatever they
are to touch is looked at first; where anything is unusual (hooks or another class in place of a projection, a state
of another shape, autocast, ...), ``forward`` goes on as ever.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from seqmem.mixers._rotary import half_frequencies
from seqmem.mixers._shared import ShortConv
from seqmem.mixers._softmax import HeadNorms
from seqmem.mixers.state import State, tensors
from seqmem.ops._dispatch import KERNEL_DTYPES, PLAIN, jit_disabled, numba_missing

if TYPE_CHECKING:
    from seqmem.mixers.base import Mixer

PARTS = (nn.Linear, nn.RMSNorm, ShortConv, HeadNorms)  # what a step may read the weights of


def decodes(
    mixer: Mixer, x: Tensor, state: State, mask: Tensor | None, reset: Tensor | None, form: str
) -> bool:
    """Whether this call of ``mixer.forward`` is its ``step(x, state)``, x being (batch, 1, width)."""
    return (
        state is not None
        and x.ndim == 3
        and x.shape[1] == 1
        and mask is None
        and reset is None
        and form == "auto"
        and not torch.is_grad_enabled()
        and x.shape[2] == mixer.width
        and x.dtype in KERNEL_DTYPES
        and _plain(x, x.dtype)
        and "step" in type(mixer).__dict__  # a subclass may compute something else
        and kernels_run()
        and _weights_are_plain(mixer, x.dtype)
        and _state_is_plain(mixer, state, x)
    )


def kernels_run() -> bool:
    """Whether kernels may run on the addresses of plain CPU tensors: nothing traces, transforms or recasts the call."""
    return (
        os.environ.get("SEQMEM_BACKEND", "auto") in ("auto", "numba")
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and forward_ad._current_level < 0
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._get_tracing_state() is None
        and numba_missing() is None
        and not jit_disabled()
    )


def _plain(x: Tensor, dtype: torch.dtype) -> bool:
    return x.dtype is dtype and x.is_cpu and type(x) in PLAIN


def _weights_are_plain(module: nn.Module, dtype: torch.dtype) -> bool:
    for p in (*module._parameters.values(), *module._buffers.values()):
        if p is not None and not (_plain(p, dtype) and p.is_contiguous()):
            return False
    for child in module._modules.values():
        if child is not None and (
            type(child) not in PARTS
            or child._forward_hooks
            or child._forward_pre_hooks
            or not _weights_are_plain(child, dtype)
        ):
            return False
    return True


def _state_is_plain(mixer: Mixer, state: State, x: Tensor) -> bool:
    """Whether the state has the shapes of ``mixer.initial_state``, its numbers in the dtype of ``x``."""
    expected = mixer.__dict__.get("_state_layout")
    if expected is None:
        empty = mixer.initial_state(1)
        expected = type(empty), [(t.shape[1:], t.dtype.is_floating_point, t.dtype) for t in tensors(empty)]
        mixer.__dict__["_state_layout"] = expected
    kind, layout = expected
    if type(state) is not kind:
        return False
    for t, (shape, floating, dtype) in zip(state, layout, strict=True):
        if t.shape[1:] != shape or t.shape[0] != x.shape[0] or not t.is_contiguous():
            return False
        if not _plain(t, x.dtype if floating else dtype):
            return False
    return True


@functools.cache
def rotary_frequencies(size: int, base: float) -> Tensor:
    """(size / 2,) float64, radians per position."""
    return torch.tensor(half_frequencies(size, base), dtype=torch.float64)


@functools.cache
def _machinery() -> tuple[Any, Any, Any]:
    """What needs Numba, imported when it is first called for."""
    from seqmem.mixers import _step_kernels
    from seqmem.ops import _launch, _step

    return _launch.run_serially, _step_kernels, _step


def run_kernel(kernel: str, arrays: tuple[Tensor | None, ...], *numbers: float) -> None:
    """Call a kernel of :mod:`seqmem.mixers._step_kernels` with the arrays' addresses, 0 for None, and the numbers. The
    first array is in the dtype of the computation."""
    run, kernels, step = _machinery()
    first = arrays[0]
    zero = step.ZERO[first.dtype]  # type: ignore[union-attr]
    run(getattr(kernels, kernel), *[0 if a is None else a.data_ptr() for a in arrays], *numbers, zero)


def linear(module: nn.Module, x: Tensor) -> Tensor:
    """``module(x)`` for an nn.Linear that :func:`decodes` has looked at; x: (batch, inputs)."""
    weights = module._parameters
    result: Tensor = _machinery()[2].linear_step(x, weights["weight"], weights["bias"])
    return result
